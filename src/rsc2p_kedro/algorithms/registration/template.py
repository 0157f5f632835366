"""The template: the mean of frames that agree, registered to each other over and over.

1. A sample of frames is taken, spread evenly over the recording. 2. The frame whose closest companions correlate best
with it, and these companions, make the first template (as in Suite2p, doi 10.1101/061507): it is sharp, and no average
over many positions. 3. All frames of the sample are registered to it, moved back and averaged; their mean displacement
is taken out, so that the template shows the tissue in its mean position and shape. Repeated, first rigidly, then with
whole fields.

Frames that could not be registered do not enter. The variance of the registered frames around the template in each
pixel tells the estimation how much a pixel can be trusted. The sample is kept in its own dtype; work on it is done in
groups of a fixed number of frames, added up in their order, so that neither threads nor block sizes change a bit of the
result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, read, run
from rsc2p_kedro.algorithms.registration.estimation import Estimator, estimate, estimator, rigid_correlator, rigid_start
from rsc2p_kedro.algorithms.registration.field import FieldGrid, rigid_grid
from rsc2p_kedro.algorithms.registration.frames import centred, halved
from rsc2p_kedro.algorithms.registration.piecewise import CLIP_SD
from rsc2p_kedro.algorithms.registration.warp import warp_frames
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters

Float = NDArray[np.float32]

GROUP_FRAMES = 16
SAMPLE_BYTES = 512 * 2**20
COMPANIONS = 20
VARIANCE_BLUR_PX = 1.5
SMALLEST_USABLE = 0.1
RINGS = 32


@dataclass(frozen=True, eq=False)
class Template:
    """What frames are registered to.

    Attributes:
        image: (H, W) float32, of mean 0.
        level: mean brightness of the frames it is made of.
        variance: (H, W) float32, variance of registered frames around it.
        brightest: largest deviation from a frame's mean that the rigid start believes, see :func:`brightness_limit`.
        usable: (H, W) bool, false for empty borders and as far around them as motion may carry them.
    """

    image: Float
    level: float
    variance: Float
    brightest: float
    usable: NDArray[np.bool_]


def sample_frames(n_frames: int, n_wanted: int, frame_bytes: int) -> NDArray[np.int64]:
    """Numbers of the frames of the sample: evenly spread, never more than 512 MiB (but at least 20 frames) of them."""
    n = min(n_frames, n_wanted, max(COMPANIONS, SAMPLE_BYTES // frame_bytes))
    return ((np.arange(n) + 0.5) * n_frames / n).astype(np.int64)


def read_sample(movie: Movie, frames: NDArray[np.int64], compute: Compute) -> NDArray:
    """The frames (n, H, W) of the sample in the movie's dtype."""
    chunk = movie.chunks[0][0] if hasattr(movie, "chunks") else 64
    groups = np.split(frames, np.flatnonzero(np.diff(frames // chunk)) + 1)
    parts = run(lambda group: read(movie, group), groups, compute=compute, description="sampling frames")
    return np.concatenate(parts)


def brightness_limit(sample: NDArray) -> float:
    """Four robust standard deviations of the pixels of binned frames, each less its mean.

    What is brighter (a flash, a glowing cell that drifts by) is clipped there for the rigid start: it would outweigh
    all tissue.
    """
    values = np.concatenate([halved(centred(sample[group]))[:, ::3, ::3].ravel() for group in _groups(sample)])
    spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return CLIP_SD * spread if spread > 0 else float(np.inf)


def thumbnails(frames: NDArray, sigma: float, brightest: float) -> Float:
    """Frames halved in size, high-passed, slightly blurred and normed, as rows (n, pixels)."""
    small = np.clip(halved(centred(frames)), -brightest, brightest)
    fine = ndi.gaussian_filter(small, (0, 0.7, 0.7), mode="nearest", truncate=3)
    rows = (fine - ndi.gaussian_filter(small, (0, sigma, sigma), mode="nearest", truncate=3)).reshape(len(frames), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def agreeing_frames(rows: Float, n_companions: int) -> NDArray[np.int64]:
    """The frame that correlates best, on average, with its closest companions, and these companions; in order."""
    correlation = rows @ rows.T
    np.fill_diagonal(correlation, -np.inf)
    order = np.argsort(-correlation, axis=1, kind="stable")[:, :n_companions]
    best = int(np.take_along_axis(correlation, order, axis=1).mean(1).argmax())
    return np.sort(np.append(order[best], best))


def _groups(sample: NDArray) -> list[slice]:
    return [slice(start, start + GROUP_FRAMES) for start in range(0, len(sample), GROUP_FRAMES)]


def _over_groups(function: Callable, sample: NDArray, compute: Compute) -> list:
    return run(lambda group: function(centred(sample[group])), _groups(sample), compute=compute, description="template")


def first_template(sample: NDArray, sigma: float, brightest: float, compute: Compute) -> Float:
    """Mean (H, W) of the frames of a sample that agree best."""
    if len(sample) == 1:
        return centred(sample)[0]
    parts = run(
        lambda g: thumbnails(sample[g], sigma / 2, brightest), _groups(sample), compute=compute, description="template"
    )
    chosen = agreeing_frames(np.concatenate(parts), min(COMPANIONS, len(sample) - 1))
    return centred(sample[chosen]).mean(0)


def moved_statistics(
    sample: NDArray, fields: Float, weights: NDArray, grid: FieldGrid, compute: Compute
) -> tuple[Float, Float]:
    """Mean (H, W), less its own mean, and variance (H, W), blurred a little, of frames moved back by their fields."""

    def part(group: slice) -> NDArray:
        moved = warp_frames(centred(sample[group]), fields[group], grid).reshape(len(sample[group]), -1)
        counted = weights[group].astype(np.float32)
        return np.stack([counted @ moved, counted @ np.square(moved, out=moved)]).astype(np.float64)

    n = max(int(np.count_nonzero(weights)), 1)
    parts = run(part, _groups(sample), compute=compute, description="template")
    first, second = (sum(parts) / n).reshape(2, *grid.shape)
    variance = ndi.gaussian_filter(np.maximum(second - first**2, 0), VARIANCE_BLUR_PX, mode="nearest", truncate=3)
    floor = max(1e-3 * float(variance.mean()), 1e-6 * float(first.var()), 1e-12)
    image = denoised((first - first.mean()).astype(np.float32), float(np.median(variance)) / float(n))
    return image, np.maximum(variance, floor).astype(np.float32)


def denoised(image: Float, noise_variance: float) -> Float:
    """An image (H, W) less as much of its white noise as its spectrum tells from the scene (Wiener filter).

    The gradient of noise in a template passes for texture, and makes estimates look better determined than they are.
    The power of the scene is taken to depend on the spatial frequency alone, averaged over rings of the cosine
    transform.
    """
    spectrum = sf.dctn(image.astype(np.float64), norm="ortho", workers=1)
    fy, fx = (np.arange(size) / size for size in image.shape)
    rings = np.minimum(np.hypot(fy[:, None], fx) * RINGS, RINGS - 1).astype(np.int64)
    power = np.bincount(rings.ravel(), (spectrum**2).ravel()) / np.bincount(rings.ravel())
    gain = np.maximum(1 - noise_variance / np.maximum(power, np.finfo(np.float64).tiny), 0)
    return sf.idctn(spectrum * gain[rings], norm="ortho", workers=1).astype(np.float32)


def usable_pixels(sample: NDArray, reach: int) -> NDArray[np.bool_]:
    """Pixels (H, W) at least `reach` px from any that hardly change over a sample (n, H, W); all, if few were left.

    Such a pixel, its variance over the frames below 1 % of the median one, shows no tissue (a border that the
    microscope left empty, a dead pixel): it stands still whatever moves, and would draw every estimate towards no
    motion.
    """
    brightness = sample.mean((1, 2), dtype=np.float64)
    typical = np.abs(brightness - np.median(brightness)) <= 3 * np.median(np.abs(brightness - np.median(brightness)))
    variance = variance_over_time(sample[typical])
    dead = variance <= 0.01 * np.median(variance)
    size = 2 * reach + 1
    usable = ~ndi.maximum_filter(dead, size, mode="nearest") if len(sample) > 1 else np.ones(dead.shape, np.bool_)
    return usable if usable.mean() > SMALLEST_USABLE else np.ones(dead.shape, np.bool_)


def variance_over_time(frames: NDArray) -> NDArray[np.float64]:
    """Variance (H, W) of frames (n, H, W) of any real dtype; exactly 0 where nothing changes."""
    first, sums = frames[0].astype(np.float32), np.zeros((2, *frames.shape[1:]))
    for group in _groups(frames):
        difference = frames[group] - first
        sums += difference.sum(0), np.square(difference, out=difference).sum(0)
    mean, square = sums / len(frames)
    return np.maximum(square - mean**2, 0)


def without_mean(fields: Float, weights: NDArray) -> Float:
    """Fields less their weighted mean over time: the reference is the tissue's mean position and shape."""
    mean = np.einsum("t,t...->...", weights.astype(np.float64), fields) / max(weights.sum(), 1)
    return (fields - mean).astype(np.float32)


def rigid_round(
    image: Float,
    usable: NDArray[np.bool_],
    brightest: float,
    sample: NDArray,
    parameters: MotionCorrectionParameters,
    compute: Compute,
) -> tuple[Float, NDArray]:
    """Rigid fields (n, 2, 1, 1) of a sample, of mean 0, and which of its frames could be registered (n,)."""
    reach = 2 * parameters.max_shift_px
    rigid = rigid_correlator(image, usable, brightest, max_shift=reach, high_pass_sigma=parameters.high_pass_sigma_px)
    parts = _over_groups(
        lambda frames: rigid_start(halved(frames), rigid, max_shift=reach, brightest=brightest), sample, compute
    )
    quality = np.concatenate([part[1] for part in parts])
    good = quality >= parameters.min_peak_quality
    return without_mean(np.concatenate([part[0] for part in parts])[:, :, None, None], good), good


def estimator_for(template: Template, grid: FieldGrid, parameters: MotionCorrectionParameters) -> Estimator:
    """An estimator of the template with the limits of the parameters."""
    return estimator(
        template.image,
        template.variance,
        template.usable,
        grid,
        brightest=template.brightest,
        max_shift=parameters.max_shift_px,
        max_deviation=parameters.max_deviation_px,
        high_pass_sigma=parameters.high_pass_sigma_px,
    )


def make_template(
    movie: Movie, grid: FieldGrid, parameters: MotionCorrectionParameters, *, compute: Compute
) -> Template:
    """The template of a movie (T, H, W) for fields on a grid."""
    frame_bytes = movie.dtype.itemsize * movie.shape[1] * movie.shape[2]
    sample = read_sample(movie, sample_frames(len(movie), parameters.template_frames, frame_bytes), compute)
    brightest = brightness_limit(sample)
    level = float(np.mean(sample.mean((1, 2), dtype=np.float64)))
    image, one = first_template(sample, parameters.high_pass_sigma_px, brightest, compute), rigid_grid(grid.shape)
    usable = usable_pixels(sample, parameters.max_shift_px)
    for _ in range(parameters.template_refinements):
        fields, good = rigid_round(image, usable, brightest, sample, parameters, compute)
        image, variance = moved_statistics(sample, fields, good, one, compute)
        if good.all():
            break
    for _ in range(parameters.template_refinements):
        against = estimator_for(Template(image, level, variance, brightest, usable), grid, parameters)
        parts = _over_groups(partial(estimate, estimator=against), sample, compute)
        good = np.concatenate([part.peak_quality for part in parts]) >= parameters.min_peak_quality
        fields = without_mean(np.concatenate([part.fields for part in parts]), good)
        image, variance = moved_statistics(sample, fields, good, grid, compute)
    return Template(image, level, variance, brightest, usable)
