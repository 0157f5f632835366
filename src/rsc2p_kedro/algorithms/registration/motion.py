"""Estimating the motion of a movie, and taking it out."""

import logging
from dataclasses import replace

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, run
from rsc2p_kedro.algorithms.registration.estimation import Estimates, Estimator, estimate
from rsc2p_kedro.algorithms.registration.field import FieldGrid, patch_grid, rigid_grid
from rsc2p_kedro.algorithms.registration.frames import check_movie, read_centred
from rsc2p_kedro.algorithms.registration.piecewise import limit_deviation
from rsc2p_kedro.algorithms.registration.smoothing import smooth_fields
from rsc2p_kedro.algorithms.registration.template import Template, estimator_for, make_template
from rsc2p_kedro.algorithms.registration.warp import round_to, seen_mask, warp_frames
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters
from rsc2p_kedro.core.results import MotionCorrection

Float = NDArray[np.float32]
log = logging.getLogger(__name__)

CORRECTED_CHUNK_FRAMES = 64


def field_grid(shape: tuple[int, int], parameters: MotionCorrectionParameters) -> FieldGrid:
    """The nodes of the fields of frames of a shape: one node, with a warning, where patches exceed the frame."""
    if not parameters.piecewise:
        return rigid_grid(shape)
    grid = patch_grid(shape, stride=parameters.patch_stride_px, overlap=parameters.patch_overlap_px)
    if grid.n_nodes == 1:
        log.warning(
            "Patches of %d px are as large as the frame of %s px: motion is estimated rigidly. "
            "Lower patch_stride_px or patch_overlap_px for motion that differs by place.",
            parameters.patch_stride_px + parameters.patch_overlap_px,
            "x".join(map(str, shape)),
        )
    return grid


def join(parts: list[Estimates]) -> Estimates:
    """Estimates of consecutive blocks of frames as one."""
    names = Estimates.__dataclass_fields__
    return Estimates(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def fill_gaps(fields: Float, registered: NDArray[np.bool_]) -> Float:
    """Fields (T, ...) in which those of frames that are not registered are interpolated over time, or 0 if none is."""
    good = np.flatnonzero(registered)
    if len(good) in (0, len(fields)):
        return fields if len(good) else np.zeros_like(fields)
    bad = np.flatnonzero(~registered)
    after = np.clip(np.searchsorted(good, bad), 0, len(good) - 1)
    before = np.clip(np.searchsorted(good, bad) - 1, 0, len(good) - 1)
    left, right = good[before], good[after]
    share = np.clip((bad - left) / np.maximum(right - left, 1), 0, 1).reshape(-1, *[1] * (fields.ndim - 1))
    filled = fields.copy()
    filled[bad] = (1 - share) * fields[left] + share * fields[right]
    return filled


def settle(
    estimates: Estimates, against: Estimator, parameters: MotionCorrectionParameters
) -> tuple[Float, NDArray[np.bool_]]:
    """Final fields (T, 2, Py, Px) of all frames, with respect to the template, and which frames are registered."""
    registered = estimates.peak_quality >= parameters.min_peak_quality
    if parameters.smoothing == "none" or not registered.any():
        fields = fill_gaps(estimates.fields, registered)
    else:
        measured = fill_gaps(estimates.measured, registered)
        flat = smooth_fields(measured.reshape(len(measured), -1), against.fine.noise_covariance, against.grid.centres)
        fields = fill_gaps(flat.reshape(measured.shape), registered)
    return fields, registered


def recentre(fields: Float, registered: NDArray[np.bool_], image: Float, grid: FieldGrid) -> tuple[Float, Float]:
    """Fields less their mean over the registered frames, and the template in that mean position and shape."""
    if not registered.any():
        return fields, image
    mean = fields[registered].mean(0, dtype=np.float64).astype(np.float32)
    return fields - mean, warp_frames(image[None], -mean[None], grid)[0]


def estimate_motion(movie: Movie, parameters: MotionCorrectionParameters, *, compute: Compute) -> MotionCorrection:
    """Motion of a movie with respect to the mean position and shape of the tissue.

    Args:
        movie: (T, H, W), integers or floats.
        parameters: of the stage.
        compute: what the machine may use; no part of it changes a bit of the result.

    Returns:
        Shifts to apply in px (minus the displacement of the content): of each frame's mean motion and, if piecewise, at
        the centres of the patches. Frames that could not be registered are flagged, their shifts interpolated over
        time.

    Raises:
        ValueError: the movie is not (T, H, W), smaller than 32 px, or of another kind of dtype.
    """
    check_movie(movie)
    grid = field_grid(movie.shape[1:], parameters)
    template = make_template(movie, grid, parameters, compute=compute)
    against = estimator_for(template, grid, parameters)
    blocks = frame_blocks(len(movie), compute.block_frames)
    parts = run(
        lambda block: estimate(read_centred(movie, block), against),
        blocks,
        compute=compute,
        description="estimating motion",
        unit="frame",
        sizes=[block.stop - block.start for block in blocks],
    )
    estimates = join(parts)
    fields, registered = settle(estimates, against, parameters)
    fields, image = recentre(fields, registered, template.image, grid)
    limits = {"max_shift": parameters.max_shift_px, "max_deviation": parameters.max_deviation_px}
    fields = limit_deviation(fields, grid, **limits)
    if not registered.all():
        log.warning("%d of %d frames could not be registered.", int((~registered).sum()), len(registered))
    return motion_record(fields, registered, estimates, replace(template, image=image), grid)


def motion_record(
    fields: Float, registered: NDArray[np.bool_], estimates: Estimates, template: Template, grid: FieldGrid
) -> MotionCorrection:
    """The result of fields (T, 2, Py, Px) on a grid."""
    T = len(fields)
    by_node = -fields.reshape(T, 2, -1).transpose(0, 2, 1)
    shifts = np.einsum("tpc,p->tc", by_node, grid.mean_weights)
    piecewise = grid.n_nodes > 1
    return MotionCorrection(
        template=template.image + np.float32(template.level),
        shifts=shifts.astype(np.float32),
        patch_shifts=np.ascontiguousarray(by_node, np.float32) if piecewise else np.zeros((T, 0, 2), np.float32),
        patch_centres=grid.centres if piecewise else np.zeros((0, 2), np.float32),
        valid_mask=seen_mask(fields[registered], grid),
        peak_quality=estimates.peak_quality,
        registered=registered,
    )


def fields_of(motion: MotionCorrection) -> tuple[Float, FieldGrid]:
    """Fields (T, 2, Py, Px), displacement of the content in px, of a result, and their grid.

    Raises:
        ValueError: the patch centres are not a grid.
    """
    shape = motion.template.shape
    if not motion.piecewise:
        return -motion.shifts[:, :, None, None], rigid_grid(shape)
    nodes = [np.unique(motion.patch_centres[:, axis].astype(np.float64)) for axis in (0, 1)]
    grid = FieldGrid.of(shape, *nodes)
    order = np.lexsort((motion.patch_centres[:, 1], motion.patch_centres[:, 0]))
    if grid.n_nodes != len(order) or not np.allclose(motion.patch_centres[order], grid.centres):
        raise ValueError(
            f"patch_centres should be all crossings of some rows and columns; {len(order)} centres came with "
            f"{len(nodes[0])} rows and {len(nodes[1])} columns. Apply the rigid shifts instead."
        )
    fields = -motion.patch_shifts[:, order].transpose(0, 2, 1).reshape(motion.n_frames, 2, *map(len, nodes))
    return np.ascontiguousarray(fields, np.float32), grid


def apply_motion(movie: Movie, motion: MotionCorrection, parameters: MotionCorrectionParameters) -> da.Array:
    """The corrected movie, lazy: each frame interpolated once along its field.

    Args:
        movie: (T, H, W), the movie that the motion was estimated from.
        motion: its motion.
        parameters: of the stage; `corrected_dtype` says which numbers come out.

    Returns:
        (T, H, W) in chunks of 64 whole frames, without missing values: pixels without source take the nearest seen one.

    Raises:
        ValueError: the shapes of movie and motion differ.
    """
    if movie.shape != (motion.n_frames, *motion.template.shape):
        raise ValueError(
            f"The motion is of a movie of shape {(motion.n_frames, *motion.template.shape)}, the movie has shape "
            f"{movie.shape}; give the movie that the motion was estimated from."
        )
    fields, grid = fields_of(motion)
    dtype = movie.dtype if parameters.corrected_dtype == "raw" else np.dtype(np.float32)
    chunks = (CORRECTED_CHUNK_FRAMES, *movie.shape[1:])
    lazy_movie = movie.rechunk(chunks) if isinstance(movie, da.Array) else da.from_array(movie, chunks=chunks)

    def corrected(frames: NDArray, block_fields: NDArray) -> NDArray:
        return round_to(warp_frames(frames, block_fields[:, 0, 0], grid), dtype)

    lazy_fields = da.from_array(fields[:, None, None], chunks=(CORRECTED_CHUNK_FRAMES, -1, -1, -1, -1, -1))
    return da.blockwise(
        corrected, "tyx", lazy_movie, "tyx", lazy_fields, "tabcde", dtype=dtype, concatenate=True, align_arrays=False
    )
