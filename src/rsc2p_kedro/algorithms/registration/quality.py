"""How well a movie is registered, before and after.

Three figures, as in NoRMCorre and Suite2p: the mean correlation of frames with the template; the crispness of the mean
image, the norm of its gradient; and the residual motion. For the last, frames are averaged in time bins, the bins'
principal components found, and for each of the first ones the mean images of the bins at its two ends compared: where a
component is motion, they are displaced against each other. The displacement is estimated as in :mod:`.piecewise`, on a
grid of its own.
"""

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, read, run
from rsc2p_kedro.algorithms.registration.estimation import estimate, estimator
from rsc2p_kedro.algorithms.registration.field import patch_grid
from rsc2p_kedro.algorithms.registration.frames import centred, check_movie
from rsc2p_kedro.algorithms.registration.piecewise import high_pass
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import MotionCorrection, MotionQuality

Float = NDArray[np.float32]

BINS = 256
COMPONENTS = 5
END_SHARE = 0.1
GROUP_FRAMES = 64


def crispness(image: NDArray) -> float:
    """Norm of the gradient of an image (H, W)."""
    return float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in np.gradient(np.asarray(image, np.float32)))))


def bin_edges(n_frames: int) -> NDArray[np.int64]:
    """Edges of at most 256 time bins of nearly equal length."""
    return np.linspace(0, n_frames, min(n_frames, BINS) + 1).astype(np.int64)


def correlation_with(frames: Float, template: Float) -> Float:
    """Correlation (T,) of frames with a template (H, W); 0 for a frame without contrast."""
    rows, image = frames.reshape(len(frames), -1), template.ravel()
    weights = np.full(image.size, 1 / image.size, np.float32)
    image = image - np.vdot(weights, image)
    means, squares = rows @ weights, np.einsum("tp,tp,p->t", rows, rows, weights)
    norms = np.sqrt(np.maximum(squares - means**2, 0) * np.vdot(weights, image**2))
    products = rows @ (weights * image)
    return np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)


def binned_means(movie: Movie, template: Float, compute: Compute) -> tuple[Float, Float]:
    """Means (bins, H, W) of the frames, less their means, of each time bin, and correlations (T,) with a template."""
    edges = bin_edges(len(movie))

    def part(group: slice) -> tuple[int, Float, Float]:
        # Frames are read as they are stored, many at once, and not bin by bin.
        frames = centred(read(movie, group))
        bins = np.searchsorted(edges, np.arange(group.start, group.stop), side="right") - 1
        sums = np.add.reduceat(frames, np.flatnonzero(np.diff(bins, prepend=-1)), axis=0)
        return int(bins[0]), sums, correlation_with(frames, template)

    groups = frame_blocks(len(movie), GROUP_FRAMES)
    sizes = [group.stop - group.start for group in groups]
    parts = run(part, groups, compute=compute, description="assessing motion", unit="frame", sizes=sizes)
    means = np.zeros((len(edges) - 1, *template.shape), np.float32)
    for first, sums, _ in parts:
        means[first : first + len(sums)] += sums
    means /= np.diff(edges).astype(np.float32)[:, None, None]
    return means, np.concatenate([correlations for _, _, correlations in parts])


def component_ends(means: Float, sigma: float) -> list[tuple[Float, Float]]:
    """Mean images of the bins at the two ends of each of the first principal components of high-passed bin means."""
    fine = np.stack([high_pass(image, sigma) for image in means])
    rows = (fine - fine.mean(0)).reshape(len(fine), -1)
    _, vectors = np.linalg.eigh(rows @ rows.T)
    n_end = max(1, round(END_SHARE * len(means)))
    ends = []
    for scores in vectors.T[::-1][: min(COMPONENTS, len(means) - 1)]:
        order = np.argsort(scores, kind="stable")
        ends.append((means[order[:n_end]].mean(0), means[order[-n_end:]].mean(0)))
    return ends


def displacement_between(first: Float, second: Float, sigma: float) -> float:
    """Root mean square in px of the displacement of one image's content against another's."""
    image = first - first.mean()
    variance = np.full(image.shape, max(float((second - first).var()), 1e-6 * float(image.var()), 1e-12), np.float32)
    grid = patch_grid(image.shape, stride=48, overlap=24)
    against = estimator(
        image,
        variance,
        np.ones(image.shape, np.bool_),
        grid,
        brightest=np.inf,
        max_shift=6,
        max_deviation=3,
        high_pass_sigma=sigma,
    )
    field = estimate((second - second.mean())[None], against).fields
    return float(np.sqrt((field.astype(np.float64) ** 2).mean()))


def residual_motion(means: Float, *, sigma: float = 4.0) -> float:
    """Root mean square in px, over the first components, of the displacement between their two ends; 0 for one bin."""
    moved = [displacement_between(*ends, sigma) for ends in component_ends(means, sigma)] if len(means) > 1 else []
    return float(np.sqrt(np.mean(np.square(moved)))) if moved else 0.0


def motion_quality(movie: Movie, corrected: Movie, motion: MotionCorrection, *, compute: Compute) -> MotionQuality:
    """Figures of a movie before and after its correction.

    Args:
        movie: (T, H, W), raw.
        corrected: (T, H, W).
        motion: what was taken out.
        compute: what the machine may use.
    """
    check_movie(movie)
    template = (motion.template - motion.template.mean(dtype=np.float64)).astype(np.float32)
    figures = []
    for one in (movie, corrected):
        means, correlations = binned_means(one, template, compute)
        good = correlations[motion.registered] if motion.registered.any() else correlations
        weights = np.diff(bin_edges(len(one))) / len(one)
        mean_image = np.einsum("b,byx->yx", weights, means)
        overall = float(good.mean(dtype=np.float64)), crispness(mean_image), residual_motion(means)
        figures.append((correlations, *overall))
    before, after = figures
    return MotionQuality(
        frame_correlation_before=before[0],
        frame_correlation_after=after[0],
        correlation_before=before[1],
        correlation_after=after[1],
        crispness_before=before[2],
        crispness_after=after[2],
        residual_before=before[3],
        residual_after=after[3],
        registered_fraction=float(motion.registered.mean()),
    )
