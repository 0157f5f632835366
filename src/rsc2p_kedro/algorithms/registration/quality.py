"""Quality of motion correction: three measures of a movie before and after, as in NoRMCorre and Suite2p.

The measures are the mean correlation of frames with the template; the crispness of the mean image, the norm of its
gradient without the share of noise; and the residual motion. Each change has a standard error. Frames that could not be
registered, and pixels beyond the frame or at a border without tissue, are left out. For the residual motion, frames are
averaged in time bins, and for each of the first principal components of these averages the mean images of the bins of
lowest and highest score are registered to each other: where a component is motion, they are displaced. The displacement
is estimated by :mod:`.estimation` on a separate patch grid, which scales with the size of neurons.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, read, run
from rsc2p_kedro.algorithms.registration.estimation import Template, estimate_fields, make_estimator
from rsc2p_kedro.algorithms.registration.field import patch_grid
from rsc2p_kedro.algorithms.registration.frames import check_movie, high_pass, subtract_frame_means
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import MotionCorrection, MotionQuality

Float = NDArray[np.float32]

MAX_TIME_BINS = 256
"""Maximum number of time bins that frames are averaged in; limits memory and the size of the eigenvalue problem. Not
tuned."""

N_COMPONENTS = 5
"""Principal components whose two ends are compared. Not tuned."""

END_SHARE = 0.1
"""Share of the time bins that is averaged at each end of a component. Not tuned."""

GROUP_FRAMES = 64
"""Frames that are read at once. Reading them in groups as they are stored, and not bin by bin, takes a third of the
time."""

STRIDE_HALF_WIDTHS = 12
"""Distance of patches of the grid of residual motion in half-widths of a neuron: 48 px at the default of 4 px, the
default grid of motion correction."""

OVERLAP_HALF_WIDTHS = 6
"""Overlap of these patches in half-widths of a neuron: 24 px at the default of 4 px."""

MAX_SHIFT_HALF_WIDTHS = 1.5
"""Largest rigid residual motion in half-widths of a neuron: 6 px at the default of 4 px, the default `max_shift_px`."""

MAX_DEVIATION_HALF_WIDTHS = 0.75
"""Largest deviation of a patch from it in half-widths of a neuron: 3 px at the default of 4 px, the default
`max_deviation_px`."""

N_PARTS = 10
"""Parts of the movie that uncertainties are estimated from. Chosen, not tuned."""

FEWEST_BINS = 4
"""Fewest time bins from which variances over time and uncertainties are estimated. Chosen, not tuned."""

BORDER_VARIANCE = 0.25
"""Pixels at the edge whose variance over time is below this share of the median one belong to a border without tissue.
Chosen between the read noise of a dark border and the photon noise of tissue; not tuned."""

SMALLEST_ASSESSED_SHARE = 0.1
"""If fewer pixels than this share of the frame are left, all pixels are used. Not tuned."""

HIGH_PASS_HALF_WIDTHS = 1.0
"""Sigma of the high-pass filter in half-widths of a neuron: 4 px at the default of 4 px, the default
`high_pass_sigma_px`."""


def crispness(image: NDArray) -> float:
    """Crispness of an image: the Frobenius norm of its gradient, as in NoRMCorre.

    Args:
        image: (H, W).

    Returns:
        The norm, in units of the image per px.
    """
    return float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in np.gradient(np.asarray(image, np.float32)))))


def bin_edges(n_frames: int) -> NDArray[np.int64]:
    """Edges of at most 256 time bins of nearly equal length.

    Args:
        n_frames: of the movie.

    Returns:
        (bins + 1,) int64, frame numbers from 0 to n_frames.
    """
    return np.linspace(0, n_frames, min(n_frames, MAX_TIME_BINS) + 1).astype(np.int64)


def correlation_with_template(frames: Float, template: Float) -> Float:
    """Pearson correlation of each frame with the template.

    `scipy.stats.pearsonr` takes five times as long (24 ms and 4.6 ms for 64 frames of 256 x 256 px), and gives NaN for
    a frame without contrast; where both are defined they agree within 1e-7.

    Args:
        frames: (T, H, W) float32.
        template: (H, W) float32.

    Returns:
        (T,) float32; 0 for a frame without contrast.
    """
    rows, image = frames.reshape(len(frames), -1), template.ravel()
    weights = np.full(image.size, 1 / image.size, np.float32)
    image = image - np.vdot(weights, image)
    means, squares = rows @ weights, np.einsum("tp,tp,p->t", rows, rows, weights)
    norms = np.sqrt(np.maximum(squares - means**2, 0)) * np.sqrt(np.vdot(weights, image**2))
    products = rows @ (weights * image)
    return np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)


def assessed_pixels(raw_means: Float, motion: MotionCorrection) -> NDArray[np.bool_]:
    """Pixels that the measures are taken over: within every registered frame, and away from a border without tissue.

    A border that the microscope leaves dark stands still while the tissue moves. Its edge is sharp in the raw movie and
    blurred in the corrected one, which says nothing about the tissue. Such a border varies less over time than the
    tissue does; regions of low variance are only left out where they reach the edge of the frame.

    Args:
        raw_means: (bins, H, W) float32, mean frames of time bins of the raw movie.
        motion: its motion; pixels closer to the border than the largest shift are left out as well.

    Returns:
        (H, W) bool; all pixels where fewer than a tenth were left.
    """
    inside = motion.valid_mask.copy()
    if len(raw_means) >= FEWEST_BINS:
        variance = ndi.uniform_filter(raw_means.var(0, dtype=np.float64), 3, mode="nearest")
        labels, _ = ndi.label(variance < BORDER_VARIANCE * np.median(variance))
        at_edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        shifts = np.concatenate([motion.shifts[:, None], motion.patch_shifts], axis=1)[motion.registered]
        reach = int(np.ceil(np.abs(shifts).max(initial=0))) + 1
        border = np.isin(labels, at_edge[at_edge > 0])
        inside &= ~ndi.maximum_filter(border, 2 * reach + 1, mode="nearest")
    return inside if inside.mean() >= SMALLEST_ASSESSED_SHARE else np.ones(inside.shape, np.bool_)


def binned_means(movie: Movie, counted: NDArray[np.bool_], compute: Compute) -> Float:
    """Averages frames in time bins.

    Args:
        movie: (T, H, W).
        counted: (T,), frames that are averaged, at least one.
        compute: resources of the machine.

    Returns:
        Mean frames of the bins (bins, H, W) float32, the mean of each frame subtracted.
    """
    edges = bin_edges(int(counted.sum()))
    bin_of = np.searchsorted(edges, np.maximum(np.cumsum(counted) - 1, 0), side="right") - 1

    def part(group: slice) -> tuple[int, Float]:
        frames = subtract_frame_means(read(movie, group))
        frames[~counted[group]] = 0
        bins = bin_of[group]
        return int(bins[0]), np.add.reduceat(frames, np.flatnonzero(np.diff(bins, prepend=-1)), axis=0)

    means = np.zeros((len(edges) - 1, *movie.shape[1:]), np.float32)
    for first, sums in _of_groups(part, len(movie), compute):
        means[first : first + len(sums)] += sums
    means /= np.diff(edges).astype(np.float32)[:, None, None]
    return means


def frame_correlations(movie: Movie, template: Float, pixels: NDArray[np.bool_], compute: Compute) -> Float:
    """Correlates each frame with a template.

    Args:
        movie: (T, H, W).
        template: (H, W) float32.
        pixels: (H, W), pixels that are used.
        compute: resources of the machine.

    Returns:
        (T,) float32.
    """

    def part(group: slice) -> Float:
        return correlation_with_template(subtract_frame_means(read(movie, group))[:, pixels], template[pixels])

    return np.concatenate(_of_groups(part, len(movie), compute))


def _of_groups(function: Callable[[slice], Any], n_frames: int, compute: Compute) -> list[Any]:
    """Results of a function for all groups of frames, in order."""
    groups = frame_blocks(n_frames, GROUP_FRAMES)
    sizes = [group.stop - group.start for group in groups]
    return run(function, groups, compute=compute, description="assessing motion", unit="frame", sizes=sizes)


def tissue_crispness(means: Float, pixels: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Crispness of the mean image without the share of noise, and its jackknife values.

    The squared norm of the gradient of a mean of few frames is mostly that of noise, which interpolation lowers: a
    movie would seem blurred by its correction. With a and b the means of every other time bin, the sum over pixels of
    grad a . grad b has the same expectation as the squared norm of the gradient of the tissue alone, because the noise
    of a and b is independent.

    Args:
        means: (bins, H, W) float32, mean frames of time bins.
        pixels: (H, W), pixels that are used.

    Returns:
        Its square root (0 where it is negative), in units of the movie per px, and the same without one of up to ten
        consecutive parts of the movie (parts,); none for fewer than four bins.
    """

    def crispness_of(kept: NDArray[np.int64]) -> float:
        halves = (means[kept[0::2]].mean(0), means[kept[1::2]].mean(0)) if len(kept) > 1 else (means[kept[0]],) * 2
        first, second = (np.gradient(half.astype(np.float64)) for half in halves)
        product = sum(float((one * other)[pixels].sum()) for one, other in zip(first, second, strict=True))
        return float(np.sqrt(max(product, 0.0)))

    every = np.arange(len(means))
    parts = np.array_split(every, min(N_PARTS, len(means) // 2)) if len(means) >= FEWEST_BINS else []
    return crispness_of(every), np.array([crispness_of(np.setdiff1d(every, part)) for part in parts])


def jackknife_error(values: NDArray[np.float64]) -> float:
    """Standard error from values that leave out one part each (Efron 1982, doi 10.1137/1.9781611970319).

    Args:
        values: (parts,).

    Returns:
        The standard error; NaN for fewer than two parts.
    """
    n = len(values)
    return float(np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())) if n > 1 else np.nan


def component_ends(means: Float, sigma: float) -> list[tuple[Float, Float]]:
    """Mean images at the two ends of the first principal components of the high-passed bins.

    Args:
        means: (bins, H, W) float32, mean frames of time bins.
        sigma: of the high-pass filter in px.

    Returns:
        For each component, by decreasing variance, two images (H, W): the means of the tenth of the bins of lowest and
        of highest score.
    """
    filtered = np.stack([high_pass(image, sigma) for image in means])
    rows = (filtered - filtered.mean(0)).reshape(len(filtered), -1)
    _, vectors = np.linalg.eigh(rows @ rows.T)
    n_end = max(1, round(END_SHARE * len(means)))
    ends = []
    for scores in vectors.T[::-1][: min(N_COMPONENTS, len(means) - 1)]:
        order = np.argsort(scores, kind="stable")
        ends.append((means[order[:n_end]].mean(0), means[order[-n_end:]].mean(0)))
    return ends


def displacement_between(
    first: Float, second: Float, *, neuron_half_width_px: float = 4, pixels: NDArray[np.bool_] | None = None
) -> float:
    """Displacement of the content of one image with respect to another.

    Args:
        first: (H, W) float32.
        second: (H, W) float32.
        neuron_half_width_px: half-width of a neuron in px; patches, filter and largest displacement scale with it.
        pixels: (H, W), pixels that are used; None uses all.

    Returns:
        Root mean square over patches and axes in px.
    """
    image = first - first.mean()
    # The floors keep the normal equations finite for two equal images, and for images without contrast.
    floor = max(float((second - first).var()), 1e-6 * float(image.var())) or 1.0
    variance = np.full(image.shape, floor, np.float32)
    estimator = make_estimator(
        Template(
            image,
            0.0,
            variance,
            brightness_limit=np.inf,
            usable=np.ones(image.shape, np.bool_) if pixels is None else pixels,
        ),
        patch_grid(
            image.shape,
            stride=round(STRIDE_HALF_WIDTHS * neuron_half_width_px),
            overlap=round(OVERLAP_HALF_WIDTHS * neuron_half_width_px),
        ),
        max_shift=round(MAX_SHIFT_HALF_WIDTHS * neuron_half_width_px),
        max_deviation=round(MAX_DEVIATION_HALF_WIDTHS * neuron_half_width_px),
        high_pass_sigma=HIGH_PASS_HALF_WIDTHS * neuron_half_width_px,
    )
    field = estimate_fields((second - second.mean())[None], estimator).fields
    return float(np.sqrt((field.astype(np.float64) ** 2).mean()))


def residual_motion(
    means: Float, *, neuron_half_width_px: float = 4, pixels: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Motion that remains in a movie: the displacement between the two ends of its first principal components.

    Args:
        means: (bins, H, W) float32, mean frames of time bins.
        neuron_half_width_px: half-width of a neuron in px, see :func:`displacement_between`.
        pixels: (H, W), pixels that are used; None uses all.

    Returns:
        Root mean square over the components in px, and its standard error by their spread; 0 and NaN for one bin.
    """
    if len(means) < 2:
        return 0.0, np.nan
    ends = component_ends(means, HIGH_PASS_HALF_WIDTHS * neuron_half_width_px)
    squares = np.square(
        [displacement_between(*pair, neuron_half_width_px=neuron_half_width_px, pixels=pixels) for pair in ends]
    )
    rms = float(np.sqrt(squares.mean()))
    if len(squares) < 2 or rms == 0:
        return rms, np.nan if len(squares) < 2 else 0.0
    return rms, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * rms))


def change_error(before: Float, after: Float) -> float:
    """Standard error of the mean change of a value of each frame, from up to 20 consecutive parts of the movie.

    Args:
        before: (T,).
        after: (T,).

    Returns:
        The standard error; NaN for fewer than two frames.
    """
    change = after.astype(np.float64) - before
    parts = np.array([part.mean() for part in np.array_split(change, min(2 * N_PARTS, len(change)))])
    return float(parts.std(ddof=1) / np.sqrt(len(parts))) if len(parts) > 1 else np.nan


def motion_quality(
    movie: Movie, corrected: Movie, motion: MotionCorrection, *, compute: Compute, neuron_half_width_px: float = 4
) -> MotionQuality:
    """Measures how well a movie is registered, before and after its correction.

    Args:
        movie: (T, H, W), raw.
        corrected: (T, H, W).
        motion: result of the correction; frames it could not register only enter the correlation of each frame.
        compute: resources of the machine.
        neuron_half_width_px: half-width of a neuron in px, see :func:`displacement_between`.

    Returns:
        Correlation of each frame and over all, crispness in units of the movie per px, residual motion in px, the
        standard error of the change of each, and the share of registered frames.

    Raises:
        ValueError: the movie is not (T, H, W), frames are too small, or pixels are no integers or floats.
    """
    check_movie(movie)
    template = (motion.template - motion.template.mean(dtype=np.float64)).astype(np.float32)
    counted = motion.registered if motion.registered.any() else np.ones(len(movie), np.bool_)
    means = binned_means(movie, counted, compute)
    pixels = assessed_pixels(means, motion)
    before = _measure(movie, means, template, pixels, neuron_half_width_px, compute)
    means = binned_means(corrected, counted, compute)
    after = _measure(corrected, means, template, pixels, neuron_half_width_px, compute)
    return MotionQuality(
        frame_correlation_before=before.correlations,
        frame_correlation_after=after.correlations,
        correlation_before=float(before.correlations[counted].mean(dtype=np.float64)),
        correlation_after=float(after.correlations[counted].mean(dtype=np.float64)),
        crispness_before=before.crispness,
        crispness_after=after.crispness,
        residual_before=before.residual[0],
        residual_after=after.residual[0],
        registered_fraction=float(motion.registered.mean()),
        correlation_error=change_error(before.correlations[counted], after.correlations[counted]),
        crispness_error=jackknife_error(after.jackknife - before.jackknife),
        residual_error=float(np.hypot(before.residual[1], after.residual[1])),
    )


class _Measures(NamedTuple):
    """Measures of one movie: correlations (T,), crispness and its jackknife values, residual motion and its error."""

    correlations: Float
    crispness: float
    jackknife: NDArray[np.float64]
    residual: tuple[float, float]


def _measure(
    movie: Movie, means: Float, template: Float, pixels: NDArray[np.bool_], half_width: float, compute: Compute
) -> _Measures:
    """Measures a movie, raw or corrected."""
    correlations = frame_correlations(movie, template, pixels, compute)
    residual = residual_motion(means, neuron_half_width_px=half_width, pixels=pixels)
    return _Measures(correlations, *tissue_crispness(means, pixels), residual)
