"""Results of the frames that are kept, and of all frames: what is excluded is taken out before the numerical work.

Engines see a movie without the excluded frames, as if they had never been recorded. Afterwards their results are
extended to all frames, so that frame numbers and times remain those of the recording: shifts and fluorescence are
interpolated linearly between the kept frames before and after (at the ends, the nearest one), and there are no spikes.
Where all frames are kept, everything is returned as it is.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.results import Components, DeltaFOverF, MotionCorrection, SpikeInference

Kept = NDArray[np.bool_]


def take_frames(movie: da.Array, kept: Kept) -> da.Array:
    """The kept frames of a movie.

    Args:
        movie: (T, H, W), lazy.
        kept: (T,).

    Returns:
        (n kept, H, W), lazy; the same array if all are kept.
    """
    return movie if kept.all() else movie[np.flatnonzero(kept)]


def interpolate(values: NDArray, kept: Kept) -> NDArray:
    """Extends values of the kept frames to all frames, by linear interpolation.

    Args:
        values: (..., n kept), time last.
        kept: (T,), at least one true.

    Returns:
        (..., T) in the same dtype.
    """
    known, every = np.flatnonzero(kept), np.arange(len(kept))
    right = np.clip(np.searchsorted(known, every), 0, len(known) - 1)
    left = np.clip(np.searchsorted(known, every, side="right") - 1, 0, len(known) - 1)
    gap = known[right] - known[left]
    weight = np.divide(every - known[left], gap, out=np.zeros(len(every)), where=gap > 0)
    weight = np.clip(weight, 0, 1).astype(values.dtype)
    return values[..., left] + weight * (values[..., right] - values[..., left])


def insert_zeros(values: NDArray, kept: Kept) -> NDArray:
    """Extends values of the kept frames to all frames, by zeros.

    Args:
        values: (..., n kept), time last.
        kept: (T,).

    Returns:
        (..., T) in the same dtype.
    """
    full = np.zeros((*values.shape[:-1], len(kept)), values.dtype)
    full[..., kept] = values
    return full


def extend_motion(motion: MotionCorrection, kept: Kept) -> MotionCorrection:
    """Extends the motion of the kept frames to all frames.

    Args:
        motion: of the kept frames.
        kept: (T,).

    Returns:
        Motion of all frames; excluded ones have interpolated shifts and count as not registered.
    """
    if kept.all():
        return motion
    return replace(
        motion,
        shifts=np.ascontiguousarray(interpolate(motion.shifts.T, kept).T),
        patch_shifts=np.ascontiguousarray(interpolate(motion.patch_shifts.transpose(1, 2, 0), kept).transpose(2, 0, 1)),
        peak_quality=insert_zeros(motion.peak_quality, kept),
        registered=insert_zeros(motion.registered, kept),
    )


def take_components(components: Components, kept: Kept) -> Components:
    """The components with the kept frames only.

    Args:
        components: with traces (N, T).
        kept: (T,).

    Returns:
        The components with traces (N, n kept).
    """
    if kept.all():
        return components
    names = ("traces", "spikes", "residual_traces", "background_traces")
    traces: dict[str, Any] = {name: np.ascontiguousarray(getattr(components, name)[:, kept]) for name in names}
    return replace(components, **traces)


def extend_components(components: Components, kept: Kept) -> Components:
    """Extends the traces of components to all frames.

    Args:
        components: with traces (N, n kept).
        kept: (T,).

    Returns:
        Traces (N, T), interpolated where frames are excluded; spikes are 0 there.
    """
    if kept.all():
        return components
    names = ("traces", "residual_traces", "background_traces")
    traces: dict[str, Any] = {name: interpolate(getattr(components, name), kept) for name in names}
    return replace(components, spikes=insert_zeros(components.spikes, kept), **traces)


def extend_dff(dff: DeltaFOverF, kept: Kept) -> DeltaFOverF:
    """Extends dF/F to all frames, by interpolation.

    Args:
        dff: (N, n kept).
        kept: (T,).

    Returns:
        (N, T).
    """
    if kept.all():
        return dff
    neuropil = None if dff.neuropil_f0 is None else interpolate(dff.neuropil_f0, kept)
    return replace(dff, dff=interpolate(dff.dff, kept), f0=interpolate(dff.f0, kept), neuropil_f0=neuropil)


def extend_spikes(spikes: SpikeInference, kept: Kept) -> SpikeInference:
    """Extends inferred spikes to all frames; there are none in excluded ones.

    Args:
        spikes: (N, n kept).
        kept: (T,).

    Returns:
        (N, T).
    """
    if kept.all():
        return spikes
    names = ("rates", "event_probability")
    return replace(spikes, **{name: insert_zeros(getattr(spikes, name), kept) for name in names})


def join_dff(parts: Sequence[DeltaFOverF]) -> DeltaFOverF:
    """Joins dF/F of consecutive parts of a recording.

    Args:
        parts: (N, T_i) each, at least one, of the same dark level.

    Returns:
        (N, T); a component is guarded if it is in any part. Neuropil fractions are the means of those of the parts.
    """
    fractions = [part.neuropil_fraction for part in parts if part.neuropil_fraction is not None]
    taken = [part.neuropil_f0 for part in parts if part.neuropil_f0 is not None]
    return replace(
        parts[0],
        neuropil_fraction=np.mean(fractions, axis=0, dtype=np.float32) if fractions else None,
        neuropil_f0=np.concatenate(taken, axis=1) if taken else None,
        dff=np.concatenate([part.dff for part in parts], axis=1),
        f0=np.concatenate([part.f0 for part in parts], axis=1),
        guarded=np.any([part.guarded for part in parts], axis=0),
    )
