"""Quality of motion correction: three measures of a movie before and after, as in NoRMCorre and Suite2p.

The measures are the mean correlation of frames with the template; the crispness of the mean image, the norm of its
gradient; and the residual motion. For the last, frames are averaged in time bins, and for each of the first principal
components of these averages the mean images of the bins of lowest and highest score are registered to each other: where
a component is motion, they are displaced. The displacement is estimated by :mod:`.estimation` on a separate patch grid,
which scales with the size of neurons.
"""

import numpy as np
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
    norms = np.sqrt(np.maximum(squares - means**2, 0) * np.vdot(weights, image**2))
    products = rows @ (weights * image)
    return np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)


def binned_means(movie: Movie, template: Float, compute: Compute) -> tuple[Float, Float]:
    """Averages frames in time bins and correlates them with a template, in one pass over the movie.

    Args:
        movie: (T, H, W).
        template: (H, W) float32.
        compute: resources of the machine.

    Returns:
        Mean frames of the bins (bins, H, W) float32, the mean of each frame subtracted, and correlations (T,) float32.
    """
    edges = bin_edges(len(movie))

    def part(group: slice) -> tuple[int, Float, Float]:
        frames = subtract_frame_means(read(movie, group))
        bins = np.searchsorted(edges, np.arange(group.start, group.stop), side="right") - 1
        sums = np.add.reduceat(frames, np.flatnonzero(np.diff(bins, prepend=-1)), axis=0)
        return int(bins[0]), sums, correlation_with_template(frames, template)

    groups = frame_blocks(len(movie), GROUP_FRAMES)
    sizes = [group.stop - group.start for group in groups]
    parts = run(part, groups, compute=compute, description="assessing motion", unit="frame", sizes=sizes)
    means = np.zeros((len(edges) - 1, *template.shape), np.float32)
    for first, sums, _ in parts:
        means[first : first + len(sums)] += sums
    means /= np.diff(edges).astype(np.float32)[:, None, None]
    return means, np.concatenate([correlations for _, _, correlations in parts])


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


def displacement_between(first: Float, second: Float, *, neuron_half_width_px: float = 4) -> float:
    """Displacement of the content of one image with respect to another.

    Args:
        first: (H, W) float32.
        second: (H, W) float32.
        neuron_half_width_px: half-width of a neuron in px; patches, filter and largest displacement scale with it.

    Returns:
        Root mean square over patches and axes in px.
    """
    image = first - first.mean()
    # The floors keep the normal equations finite for two equal images.
    variance = np.full(image.shape, max(float((second - first).var()), 1e-6 * float(image.var()), 1e-12), np.float32)
    estimator = make_estimator(
        Template(image, 0.0, variance, brightness_limit=np.inf, usable=np.ones(image.shape, np.bool_)),
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


def residual_motion(means: Float, *, neuron_half_width_px: float = 4) -> float:
    """Motion that remains in a movie: the displacement between the two ends of its first principal components.

    Args:
        means: (bins, H, W) float32, mean frames of time bins.
        neuron_half_width_px: half-width of a neuron in px, see :func:`displacement_between`.

    Returns:
        Root mean square over the components in px; 0 for one bin.
    """
    if len(means) < 2:
        return 0.0
    ends = component_ends(means, HIGH_PASS_HALF_WIDTHS * neuron_half_width_px)
    displacements = [displacement_between(*pair, neuron_half_width_px=neuron_half_width_px) for pair in ends]
    return float(np.sqrt(np.mean(np.square(displacements))))


def motion_quality(
    movie: Movie, corrected: Movie, motion: MotionCorrection, *, compute: Compute, neuron_half_width_px: float = 4
) -> MotionQuality:
    """Measures how well a movie is registered, before and after its correction.

    Args:
        movie: (T, H, W), raw.
        corrected: (T, H, W).
        motion: result of the correction; frames it could not register do not enter the mean correlation.
        compute: resources of the machine.
        neuron_half_width_px: half-width of a neuron in px, see :func:`displacement_between`.

    Returns:
        Correlation of each frame and over all, crispness in units of the movie per px, residual motion in px, and the
        share of registered frames.

    Raises:
        ValueError: the movie is not (T, H, W), frames are smaller than 32 px, or pixels are no integers or floats.
    """
    check_movie(movie)
    template = (motion.template - motion.template.mean(dtype=np.float64)).astype(np.float32)
    counted = motion.registered if motion.registered.any() else np.ones(len(movie), np.bool_)

    def measure(frames: Movie) -> tuple[Float, float, float, float]:
        means, correlations = binned_means(frames, template, compute)
        mean_image = np.einsum("b,byx->yx", np.diff(bin_edges(len(frames))) / len(frames), means)
        correlation = float(correlations[counted].mean(dtype=np.float64))
        residual = residual_motion(means, neuron_half_width_px=neuron_half_width_px)
        return correlations, correlation, crispness(mean_image), residual

    frame_correlation_before, correlation_before, crispness_before, residual_before = measure(movie)
    frame_correlation_after, correlation_after, crispness_after, residual_after = measure(corrected)
    return MotionQuality(
        frame_correlation_before=frame_correlation_before,
        frame_correlation_after=frame_correlation_after,
        correlation_before=correlation_before,
        correlation_after=correlation_after,
        crispness_before=crispness_before,
        crispness_after=crispness_after,
        residual_before=residual_before,
        residual_after=residual_after,
        registered_fraction=float(motion.registered.mean()),
    )
