"""Times of frames, in the form that NWB's time series require."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EQUAL_STEPS_S = 2e-9
"""Steps that differ by less count as equal: nwbinspector rounds them to nine decimals before it demands a rate instead
of timestamps."""


@dataclass(frozen=True, eq=False)
class Timing:
    """Times at which frames were taken, in s from the start of the session.

    Attributes:
        frame_rate_hz: frames per second.
        first_frame: number of frames of the session before the first one that is used.
        frame_times_s: (n,) float64, times of all frames of the session, strictly increasing; None where frames are
            evenly spaced at the frame rate.
        delay_s: added to all times: the time from the start of a volume to the frame of this plane.
    """

    frame_rate_hz: float
    first_frame: int = 0
    frame_times_s: NDArray[np.float64] | None = None
    delay_s: float = 0.0

    def series_fields(self, n_frames: int, *, n_before: int = 0) -> dict[str, Any]:
        """Gives the fields of an NWB time series that hold its times.

        Args:
            n_frames: number of frames in the series.
            n_before: how many of them lie before the first frame that is used.

        Returns:
            `starting_time` in s and `rate` in Hz where frames are evenly spaced, else `timestamps` (n_frames,) in s.

        Raises:
            ValueError: there are fewer times than frames.
        """
        first = self.first_frame - n_before
        if self.frame_times_s is None:
            return {"starting_time": first / self.frame_rate_hz + self.delay_s, "rate": self.frame_rate_hz}
        times = self.frame_times_s[first : first + n_frames] + self.delay_s
        if len(times) < n_frames:
            raise ValueError(
                f"Times of frames {first} to {first + n_frames} are needed, but the table under `frame_times` has "
                f"{len(self.frame_times_s)} rows: it should have one row for each frame on disk."
            )
        steps = np.diff(times)
        if np.ptp(steps) < _EQUAL_STEPS_S:
            return {"starting_time": float(times[0]), "rate": float(1 / steps.mean())}
        return {"timestamps": times}
