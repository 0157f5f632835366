"""Motion correction of a movie: estimation of the motion, and interpolation of the corrected movie."""

import logging
from dataclasses import replace

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, read, run
from rsc2p_kedro.algorithms.registration.estimation import Estimates, Estimator, Template, estimate_fields
from rsc2p_kedro.algorithms.registration.field import FieldGrid, patch_grid, rigid_grid
from rsc2p_kedro.algorithms.registration.frames import check_movie, subtract_frame_means
from rsc2p_kedro.algorithms.registration.gauss_newton import clip_fields
from rsc2p_kedro.algorithms.registration.smoothing import smooth_fields
from rsc2p_kedro.algorithms.registration.template import make_template, template_estimator
from rsc2p_kedro.algorithms.registration.warp import round_to, valid_mask, warp_frames
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters
from rsc2p_kedro.core.results import MotionCorrection

Float = NDArray[np.float32]
log = logging.getLogger(__name__)

CORRECTED_CHUNK_FRAMES = 64
"""Frames of a chunk of the corrected movie."""


def field_grid(shape: tuple[int, int], parameters: MotionCorrectionParameters) -> FieldGrid:
    """Grid of the fields; warns if patches are as large as the frame, so that motion is estimated rigidly.

    Args:
        shape: (H, W) of the frames.
        parameters: of motion correction.

    Returns:
        A grid of one node if motion is rigid.
    """
    if not parameters.piecewise:
        return rigid_grid(shape)
    grid = patch_grid(shape, stride=parameters.patch_stride_px, overlap=parameters.patch_overlap_px)
    if grid.n_nodes == 1:
        log.warning(
            "Patches of %d px are as large as the frame of %s px: motion is estimated rigidly. "
            "Decrease patch_stride_px or patch_overlap_px to estimate non-rigid motion.",
            parameters.patch_stride_px + parameters.patch_overlap_px,
            "x".join(map(str, shape)),
        )
    return grid


def interpolate_unregistered(fields: Float, registered: NDArray[np.bool_]) -> Float:
    """Replaces the fields of frames that could not be registered by linear interpolation over time.

    Args:
        fields: (T, ...), in px.
        registered: (T,).

    Returns:
        (T, ...), in px; before the first and after the last registered frame its field is repeated; 0 if no frame is
        registered.
    """
    if registered.all():
        return fields
    if not registered.any():
        return np.zeros_like(fields)
    known, missing = np.flatnonzero(registered), np.flatnonzero(~registered)
    line = make_interp_spline(known, fields[known], k=min(1, len(known) - 1))
    filled = fields.copy()
    filled[missing] = line(np.clip(missing, known[0], known[-1]))
    return filled


def smooth_and_interpolate(
    estimates: Estimates,
    estimator: Estimator,
    parameters: MotionCorrectionParameters,
    *,
    neuron_half_width_px: float = 4,
) -> tuple[Float, NDArray[np.bool_]]:
    """Final fields of all frames with respect to the template.

    Args:
        estimates: of all frames.
        estimator: that made them.
        parameters: of motion correction; `smoothing` and `min_peak_quality` are used.
        neuron_half_width_px: half-width of a neuron in px, the unit of length of the smoothing.

    Returns:
        Fields (T, 2, Py, Px) float32 in px, and which frames are registered (T,).
    """
    registered = estimates.peak_quality >= parameters.min_peak_quality
    if parameters.smoothing == "none" or not registered.any():
        return interpolate_unregistered(estimates.fields, registered), registered
    fields = interpolate_unregistered(estimates.unregularized_fields, registered)
    smooth = smooth_fields(
        fields.reshape(len(fields), -1),
        estimator.fine.noise_covariance,
        estimator.grid.centres,
        neuron_half_width_px=neuron_half_width_px,
    )
    return interpolate_unregistered(smooth.reshape(fields.shape), registered), registered


def recentre(fields: Float, registered: NDArray[np.bool_], image: Float, grid: FieldGrid) -> tuple[Float, Float]:
    """Refers fields to the mean position and shape of the tissue over the registered frames.

    Args:
        fields: (T, 2, Py, Px), in px with respect to the template.
        registered: (T,).
        image: (H, W) float32, the template.
        grid: nodes of the fields.

    Returns:
        Fields (T, 2, Py, Px) less their mean, and the template (H, W) in that mean position and shape.
    """
    if not registered.any():
        return fields, image
    mean = fields[registered].mean(0, dtype=np.float64).astype(np.float32)
    return fields - mean, warp_frames(image[None], -mean[None], grid)[0]


def estimate_motion(
    movie: Movie, parameters: MotionCorrectionParameters, *, compute: Compute, neuron_half_width_px: float = 4
) -> MotionCorrection:
    """Estimates the motion of a movie with respect to the mean position and shape of the tissue.

    Args:
        movie: (T, H, W), integers or floats.
        parameters: of motion correction.
        compute: resources of the machine; the result does not depend on them.
        neuron_half_width_px: half-width of a neuron in px; the length over which fields are smoothed scales with it.

    Returns:
        Shifts to apply in px (minus the displacement of the content): of each frame's mean motion and, if piecewise, at
        the centres of the patches. Frames that could not be registered are flagged, their shifts interpolated over
        time.

    Raises:
        ValueError: the movie is not (T, H, W), frames are smaller than 32 px, or pixels are no integers or floats.
    """
    check_movie(movie)
    grid = field_grid(movie.shape[1:], parameters)
    template = make_template(movie, grid, parameters, compute=compute)
    estimator = template_estimator(template, grid, parameters)
    blocks = frame_blocks(len(movie), compute.block_frames)
    parts = run(
        lambda block: estimate_fields(subtract_frame_means(read(movie, block)), estimator),
        blocks,
        compute=compute,
        description="estimating motion",
        unit="frame",
        sizes=[block.stop - block.start for block in blocks],
    )
    names = Estimates.__dataclass_fields__
    estimates = Estimates(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
    fields, registered = smooth_and_interpolate(
        estimates, estimator, parameters, neuron_half_width_px=neuron_half_width_px
    )
    fields, image = recentre(fields, registered, template.image, grid)
    limits = {"max_shift": parameters.max_shift_px, "max_deviation": parameters.max_deviation_px}
    fields = clip_fields(fields, grid, **limits)
    if not registered.all():
        log.warning("%d of %d frames could not be registered.", int((~registered).sum()), len(registered))
    return motion_record(fields, registered, estimates.peak_quality, replace(template, image=image), grid)


def motion_record(
    fields: Float, registered: NDArray[np.bool_], peak_quality: Float, template: Template, grid: FieldGrid
) -> MotionCorrection:
    """Converts final fields to the record of motion correction.

    Args:
        fields: (T, 2, Py, Px), displacement of the content in px.
        registered: (T,).
        peak_quality: (T,) float32.
        template: in the position that the fields refer to.
        grid: nodes of the fields.

    Returns:
        Shifts to apply in px, minus the fields, and the template with its mean brightness.
    """
    T = len(fields)
    by_node = -fields.reshape(T, 2, -1).transpose(0, 2, 1)
    shifts = np.einsum("tpc,p->tc", by_node, grid.mean_weights)
    piecewise = grid.n_nodes > 1
    return MotionCorrection(
        template=template.image + np.float32(template.level),
        shifts=shifts.astype(np.float32),
        patch_shifts=np.ascontiguousarray(by_node, np.float32) if piecewise else np.zeros((T, 0, 2), np.float32),
        patch_centres=grid.centres if piecewise else np.zeros((0, 2), np.float32),
        valid_mask=valid_mask(fields[registered], grid),
        peak_quality=peak_quality,
        registered=registered,
    )


def fields_from_record(motion: MotionCorrection) -> tuple[Float, FieldGrid]:
    """Converts a record of motion correction to fields, the inverse of :func:`motion_record`.

    Args:
        motion: shifts of a movie; patch centres in any order.

    Returns:
        Fields (T, 2, Py, Px) float32, displacement of the content in px, and their grid.

    Raises:
        ValueError: the patch centres are not a grid.
    """
    shape = motion.template.shape
    if not motion.piecewise:
        return -motion.shifts[:, :, None, None], rigid_grid(shape)
    nodes = [np.unique(motion.patch_centres[:, axis].astype(np.float64)) for axis in (0, 1)]
    grid = FieldGrid.from_nodes(shape, *nodes)
    order = np.lexsort((motion.patch_centres[:, 1], motion.patch_centres[:, 0]))
    if grid.n_nodes != len(order) or not np.allclose(motion.patch_centres[order], grid.centres):
        raise ValueError(
            f"patch_centres should form a grid, but there are {len(order)} centres in {len(nodes[0])} rows and "
            f"{len(nodes[1])} columns. Apply the rigid shifts instead."
        )
    fields = -motion.patch_shifts[:, order].transpose(0, 2, 1).reshape(motion.n_frames, 2, *map(len, nodes))
    return np.ascontiguousarray(fields, np.float32), grid


def apply_motion(movie: Movie, motion: MotionCorrection, parameters: MotionCorrectionParameters) -> da.Array:
    """Corrects the motion of a movie: each frame is interpolated once along its field.

    Args:
        movie: (T, H, W), the movie that the motion was estimated from.
        motion: its motion.
        parameters: of motion correction; `corrected_dtype` sets the dtype of the result.

    Returns:
        Lazy (T, H, W) in chunks of 64 whole frames, without missing values: pixels whose source is beyond the frame
        take the nearest pixel of the frame.

    Raises:
        ValueError: the shapes of movie and motion differ.
    """
    if movie.shape != (motion.n_frames, *motion.template.shape):
        raise ValueError(
            f"The motion was estimated from a movie of shape {(motion.n_frames, *motion.template.shape)}, this movie "
            f"has shape {movie.shape}. Apply the motion to the movie that it was estimated from."
        )
    fields, grid = fields_from_record(motion)
    dtype = movie.dtype if parameters.corrected_dtype == "raw" else np.dtype(np.float32)
    chunks = (CORRECTED_CHUNK_FRAMES, *movie.shape[1:])
    lazy_movie = movie.rechunk(chunks) if isinstance(movie, da.Array) else da.from_array(movie, chunks=chunks)

    def corrected(frames: NDArray, block_fields: NDArray) -> NDArray:
        return round_to(warp_frames(frames, block_fields[:, 0, 0], grid), dtype)

    lazy_fields = da.from_array(fields[:, None, None], chunks=(CORRECTED_CHUNK_FRAMES, -1, -1, -1, -1, -1))
    return da.blockwise(
        corrected, "tyx", lazy_movie, "tyx", lazy_fields, "tabcde", dtype=dtype, concatenate=True, align_arrays=False
    )
