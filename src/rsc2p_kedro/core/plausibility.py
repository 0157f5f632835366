"""Ranges that facts of a recording can lie in, and the slips that lead out of them.

A value in the wrong unit is a number like any other, and most algorithms run on it. Two ranges are told apart. In the
*usual* one lie the microscopes and indicators of the literature; a value outside deserves a question. Outside of the
*possible* one nothing but a slip can be meant, and the value is refused.

- Pixels: two-photon microscopes resolve about 0.3 um, which spines are sampled with a few times (0.05 um); mesoscopes
  sample fields of 5 mm with several um (Sofroniew et al. 2016, doi 10.7554/eLife.14472).
- Frames: 3000 Hz have been reached (Wu et al. 2020, doi 10.1038/s41592-020-0762-7); volumes of many planes take
  seconds.
- Decay: from tens of ms (GCaMP8f, Zhang et al. 2023, doi 10.1038/s41586-023-05828-9) to seconds (GCaMP6s after bursts,
  Chen et al. 2013, doi 10.1038/nature12354).
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Slip:
    """A mistake that puts a value out of its range.

    Attributes:
        question: what may have happened.
        meant: the value that was meant, from the one that was given.
    """

    question: str
    meant: Callable[[float], float]


@dataclass(frozen=True)
class Range:
    """Range of a fact of a recording.

    Attributes:
        unit: of the values.
        usual: smallest and largest value that raise no question.
        possible: smallest and largest value that are accepted.
        slips: mistakes that are tried as an explanation, in this order.
    """

    unit: str
    usual: tuple[float, float]
    possible: tuple[float, float]
    slips: tuple[Slip, ...]

    def describe(self, value: float) -> str:
        """Describes a value outside of the usual range.

        Args:
            value: in `unit`.

        Returns:
            The value, what it usually is, and the slip that would explain it; "" for a usual value.
        """
        low, high = self.usual
        if low <= value <= high:
            return ""
        causes = [
            f"; {slip.question}, write {slip.meant(value):.4g}"
            for slip in self.slips
            if low <= slip.meant(value) <= high
        ]
        return f"{value:g} {self.unit} is unusual, expected are {low:g} to {high:g} {self.unit}{''.join(causes[:1])}"

    def is_possible(self, value: float) -> bool:
        """Whether a value can be meant as it is.

        Args:
            value: in `unit`.

        Returns:
            False if it must be a slip.
        """
        return self.possible[0] <= value <= self.possible[1]


RANGES: dict[str, Range] = {
    "frame_rate_hz": Range(
        "Hz",
        (0.5, 4000),
        (0.01, 10_000),
        (Slip("if it is the time between frames in s", lambda s: 1 / s),
         Slip("if it is the time between frames in ms", lambda ms: 1e3 / ms)),
    ),
    "pixel_size_um": Range(
        "um",
        (0.05, 20),
        (0.01, 100),
        (Slip("if it is in mm", lambda mm: 1e3 * mm),
         Slip("if it is in m", lambda m: 1e6 * m),
         Slip("if it is in nm", lambda nm: 1e-3 * nm)),
    ),
    "decay_time_s": Range("s", (0.02, 10), (0.001, 60), (Slip("if it is in ms", lambda ms: 1e-3 * ms),)),
}  # fmt: skip
"""Range by field of a recording."""


def check_possible(field: str, *values: float) -> None:
    """Refuses values that can only be slips.

    Args:
        field: of the recording.
        *values: above 0.

    Raises:
        ValueError: a value is outside of what is possible; names the likely cause.
    """
    for value in values:
        if not RANGES[field].is_possible(value):
            raise ValueError(RANGES[field].describe(value))


def questions(field: str, *values: float) -> list[str]:
    """Finds values that are unusual.

    Args:
        field: of the recording.
        *values: above 0.

    Returns:
        One line for each of them, with the likely cause.
    """
    return [f"{field}: {text}." for text in dict.fromkeys(map(RANGES[field].describe, values)) if text]
