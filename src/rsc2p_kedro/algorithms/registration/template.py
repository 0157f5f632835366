"""Template: the mean of registered frames, improved by iterative registration.

1. A sample of frames is taken, spread evenly over the recording. 2. The frame whose most similar frames correlate best
with it, and these frames, are averaged to the first template (as in Suite2p, doi 10.1101/061507), which is sharp,
unlike an average over many positions. 3. All frames of the sample are registered to it, shifted back and averaged;
their mean displacement is subtracted, so that the template shows the tissue in its mean position and shape. Step 3 is
repeated, first with rigid shifts, then with fields.

Frames that could not be registered are left out. The variance of the registered frames around the template in each
pixel sets the weight of the pixel in the estimation. The sample is kept in its own dtype; it is processed in groups of
a fixed number of frames, added up in their order, so that neither threads nor block sizes change a bit of the result.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft as sf
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, read, run
from rsc2p_kedro.algorithms.registration.estimation import (
    Estimator,
    Template,
    estimate_fields,
    make_estimator,
    rigid_correlator,
    rigid_start,
)
from rsc2p_kedro.algorithms.registration.field import FieldGrid, rigid_grid
from rsc2p_kedro.algorithms.registration.frames import bin_2x2, subtract_frame_means
from rsc2p_kedro.algorithms.registration.gauss_newton import CLIP_SD
from rsc2p_kedro.algorithms.registration.warp import warp_frames
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters

Float = NDArray[np.float32]

GROUP_FRAMES = 16
"""Frames of the sample that one thread works on at a time. Sums depend on it in their last bits, so it is fixed."""

SAMPLE_BYTES = 512 * 2**20
"""Largest size of the sample in bytes, which limits memory. Chosen by hand: 200 frames of 16 bits reach it at 1158 x
1158 px."""

N_SIMILAR_FRAMES = 20
"""Frames that are averaged with the most typical one to the first template: Suite2p's number."""

VARIANCE_BLUR_PX = 1.5
"""Sigma in px of the blur of the variance image, which lowers the sampling error of a variance of some 200 frames. It
belongs to the noise of pixels and not to the size of neurons. Not tuned."""

THUMBNAIL_BLUR_PX = 0.7
"""Sigma, in binned px, of the blur of thumbnails against photon noise. Not tuned."""

MAD_TO_SD = 1.4826
"""Standard deviation of Gaussian values over their median absolute deviation."""

CONSTANT_PIXEL_VARIANCE = 0.01
"""Pixels whose variance over time is at most this share of the median one count as constant. Chosen far below the
photon noise of tissue; not tuned."""

SMALLEST_USABLE_SHARE = 0.1
"""If fewer pixels than this share of the frame are usable, all pixels are used. Not tuned."""

POWER_SPECTRUM_BINS = 32
"""Rings of equal width in spatial frequency over which the power spectrum of the template is averaged. Not tuned."""


def sample_frames(n_frames: int, n_wanted: int, frame_bytes: int) -> NDArray[np.int64]:
    """Selects the frames of the sample, evenly spread over the recording.

    Args:
        n_frames: of the movie.
        n_wanted: frames of the sample, at most.
        frame_bytes: size of a frame in bytes; the sample has at most 512 MiB, but at least 20 frames.

    Returns:
        (n,) int64, increasing frame numbers.
    """
    n = min(n_frames, n_wanted, max(N_SIMILAR_FRAMES, SAMPLE_BYTES // frame_bytes))
    return ((np.arange(n) + 0.5) * n_frames / n).astype(np.int64)


def read_sample(movie: Movie, frames: NDArray[np.int64], compute: Compute) -> NDArray:
    """Reads the sample, frames of the same chunk at once.

    Args:
        movie: (T, H, W).
        frames: (n,), increasing frame numbers.
        compute: resources of the machine.

    Returns:
        (n, H, W) in the movie's dtype.
    """
    chunk = movie.chunks[0][0] if hasattr(movie, "chunks") else 64
    groups = np.split(frames, np.flatnonzero(np.diff(frames // chunk)) + 1)
    parts = run(lambda group: read(movie, group), groups, compute=compute, description="sampling frames")
    return np.concatenate(parts)


def estimate_brightness_limit(sample: NDArray) -> float:
    """Clipping limit of pixels for the rigid start: four robust standard deviations of binned frames.

    Brighter pixels (flashes, bright debris that drifts through the frame) would outweigh the tissue.

    Args:
        sample: (n, H, W).

    Returns:
        Largest deviation from a frame's mean, in units of the movie; infinite if the frames have no contrast.
    """
    groups = frame_blocks(len(sample), GROUP_FRAMES)
    binned = [bin_2x2(subtract_frame_means(sample[group])) for group in groups]
    deviation = float(median_abs_deviation(np.concatenate([frames[:, ::3, ::3].ravel() for frames in binned])))
    return CLIP_SD * (MAD_TO_SD * deviation) if deviation > 0 else float(np.inf)


def thumbnails(frames: NDArray, sigma: float, brightness_limit: float) -> Float:
    """Small band-passed versions of frames, for their correlation with each other.

    Args:
        frames: (n, H, W).
        sigma: of the high-pass filter in binned px.
        brightness_limit: largest deviation from a frame's mean; pixels beyond it are clipped.

    Returns:
        (n, H // 2 * (W // 2)) float32, rows of norm 1; 0 for frames without contrast.
    """
    binned = np.clip(bin_2x2(subtract_frame_means(frames)), -brightness_limit, brightness_limit)
    denoised = ndi.gaussian_filter(binned, (0, THUMBNAIL_BLUR_PX, THUMBNAIL_BLUR_PX), mode="nearest", truncate=3)
    background = ndi.gaussian_filter(binned, (0, sigma, sigma), mode="nearest", truncate=3)
    rows = (denoised - background).reshape(len(frames), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def most_similar_frames(rows: Float, n_similar: int) -> NDArray[np.int64]:
    """The frame that correlates best, on average, with the frames most similar to it, and these frames.

    Args:
        rows: (n, pixels), frames as rows of norm 1.
        n_similar: number of most similar frames.

    Returns:
        (n_similar + 1,) int64, increasing row numbers.
    """
    correlation = rows @ rows.T
    np.fill_diagonal(correlation, -np.inf)
    order = np.argsort(-correlation, axis=1, kind="stable")[:, :n_similar]
    best = int(np.take_along_axis(correlation, order, axis=1).mean(1).argmax())
    return np.sort(np.append(order[best], best))


def _map_groups(function: Callable[[slice], object], sample: NDArray, compute: Compute) -> list:
    """Results of a function of a slice for all groups of frames of the sample, in order."""
    groups = frame_blocks(len(sample), GROUP_FRAMES)
    return run(function, groups, compute=compute, description="making the template")


def first_template(sample: NDArray, sigma: float, brightness_limit: float, compute: Compute) -> Float:
    """Mean of the most similar frames of a sample.

    Args:
        sample: (n, H, W).
        sigma: of the high-pass filter in px.
        brightness_limit: see :func:`estimate_brightness_limit`.
        compute: resources of the machine.

    Returns:
        (H, W) float32, of mean 0.
    """
    if len(sample) == 1:
        return subtract_frame_means(sample)[0]
    rows = _map_groups(lambda group: thumbnails(sample[group], sigma / 2, brightness_limit), sample, compute)
    selected = most_similar_frames(np.concatenate(rows), min(N_SIMILAR_FRAMES, len(sample) - 1))
    return subtract_frame_means(sample[selected]).mean(0)


def registered_statistics(
    sample: NDArray, fields: Float, registered: NDArray[np.bool_], grid: FieldGrid, compute: Compute
) -> tuple[Float, Float]:
    """Mean and variance of the registered frames of a sample, after their motion is corrected.

    Args:
        sample: (n, H, W).
        fields: (n, 2, Py, Px), displacement of the content in px.
        registered: (n,), frames to include.
        grid: nodes of the fields.
        compute: resources of the machine.

    Returns:
        Mean image (H, W) float32 of mean 0, denoised, and variance image (H, W) float32, blurred, > 0.
    """

    def sums(group: slice) -> NDArray:
        moved = warp_frames(subtract_frame_means(sample[group]), fields[group], grid).reshape(len(sample[group]), -1)
        weights = registered[group].astype(np.float32)
        return np.stack([weights @ moved, weights @ np.square(moved, out=moved)]).astype(np.float64)

    n = max(int(np.count_nonzero(registered)), 1)
    first, second = (sum(_map_groups(sums, sample, compute)) / n).reshape(2, *grid.shape)
    variance = ndi.gaussian_filter(np.maximum(second - first**2, 0), VARIANCE_BLUR_PX, mode="nearest", truncate=3)
    # Bounds the weight of pixels that hardly vary, and keeps it finite for movies without noise.
    floor = max(1e-3 * float(variance.mean()), 1e-6 * float(first.var())) or 1.0
    image = denoise_template((first - first.mean()).astype(np.float32), float(np.median(variance)) / float(n))
    return image, np.maximum(variance, floor).astype(np.float32)


def denoise_template(image: Float, noise_variance: float) -> Float:
    """Removes white noise from an image by a Wiener filter in space.

    The gradient of noise in a template acts as texture, and makes estimates appear more precise than they are. The
    power spectrum of the scene is taken as isotropic, averaged over rings of the cosine transform.
    `scipy.signal.wiener` uses local means and variances instead.

    Args:
        image: (H, W) float32.
        noise_variance: variance of the noise of a pixel.

    Returns:
        (H, W) float32.
    """
    spectrum = sf.dctn(image.astype(np.float64), norm="ortho", workers=1)
    fy, fx = (np.arange(size) / size for size in image.shape)
    rings = np.minimum(np.hypot(fy[:, None], fx) * POWER_SPECTRUM_BINS, POWER_SPECTRUM_BINS - 1).astype(np.int64)
    power = np.bincount(rings.ravel(), (spectrum**2).ravel()) / np.bincount(rings.ravel())
    gain = np.maximum(1 - noise_variance / np.maximum(power, np.finfo(np.float64).tiny), 0)
    return sf.idctn(spectrum * gain[rings], norm="ortho", workers=1).astype(np.float32)


def usable_pixels(sample: NDArray, reach: int) -> NDArray[np.bool_]:
    """Pixels that show tissue in all frames: far enough from any that hardly changes over time.

    Pixels of a border that the microscope left empty, and dead pixels, do not move with the tissue and would bias every
    estimate towards no motion. Frames whose brightness is further than three median absolute deviations from the median
    are ignored.

    Args:
        sample: (n, H, W).
        reach: largest motion in px; pixels closer than this to a constant one are not usable.

    Returns:
        (H, W) bool; all true if fewer than a tenth of the pixels were left.
    """
    brightness = sample.mean((1, 2), dtype=np.float64)
    typical = np.abs(brightness - np.median(brightness)) <= 3 * median_abs_deviation(brightness)
    variance = variance_over_time(sample[typical])
    constant = variance <= CONSTANT_PIXEL_VARIANCE * np.median(variance)
    everything = np.ones(constant.shape, np.bool_)
    usable = ~ndi.maximum_filter(constant, 2 * reach + 1, mode="nearest") if len(sample) > 1 else everything
    return usable if usable.mean() > SMALLEST_USABLE_SHARE else everything


def variance_over_time(frames: NDArray) -> NDArray[np.float64]:
    """Variance of each pixel over time.

    `numpy.var` takes three times as long (79 ms and 28 ms for 200 frames of 256 x 256 px), and a float64 copy of all
    frames.

    Args:
        frames: (n, H, W), any real dtype.

    Returns:
        (H, W) float64, exactly 0 where nothing changes.
    """
    first, sums = frames[0].astype(np.float32), np.zeros((2, *frames.shape[1:]))
    for group in frame_blocks(len(frames), GROUP_FRAMES):
        difference = frames[group] - first
        sums += difference.sum(0), np.square(difference, out=difference).sum(0)
    mean, square = sums / len(frames)
    return np.maximum(square - mean**2, 0)


def subtract_mean_field(fields: Float, registered: NDArray[np.bool_]) -> Float:
    """Subtracts the mean field, so that the tissue's mean position and shape is the reference.

    Args:
        fields: (n, ...), in px.
        registered: (n,), frames that the mean is taken over.

    Returns:
        (n, ...) float32, in px.
    """
    mean = np.einsum("t,t...->...", registered.astype(np.float64), fields) / max(registered.sum(), 1)
    return (fields - mean).astype(np.float32)


def register_sample_rigidly(
    sample: NDArray,
    image: Float,
    usable: NDArray[np.bool_],
    brightness_limit: float,
    parameters: MotionCorrectionParameters,
    compute: Compute,
) -> tuple[Float, NDArray[np.bool_]]:
    """Registers the frames of a sample to a template by cross-correlation, up to twice the largest shift.

    Args:
        sample: (n, H, W).
        image: (H, W) float32, the template, of mean 0.
        usable: (H, W), false for pixels to ignore.
        brightness_limit: see :func:`estimate_brightness_limit`.
        parameters: of motion correction.
        compute: resources of the machine.

    Returns:
        Rigid fields (n, 2, 1, 1) float32 in px, of mean 0, and which of the frames could be registered (n,).
    """
    reach = 2 * parameters.max_shift_px  # the first template may show one extreme position and a frame the other
    correlator = rigid_correlator(
        image, usable, brightness_limit, max_shift=reach, high_pass_sigma=parameters.high_pass_sigma_px
    )

    def register(group: slice) -> tuple[Float, Float]:
        binned = bin_2x2(subtract_frame_means(sample[group]))
        return rigid_start(binned, correlator, max_shift=reach, brightness_limit=brightness_limit)

    shifts, quality = (np.concatenate(parts) for parts in zip(*_map_groups(register, sample, compute), strict=True))
    registered = quality >= parameters.min_peak_quality
    return subtract_mean_field(shifts[:, :, None, None], registered), registered


def template_estimator(template: Template, grid: FieldGrid, parameters: MotionCorrectionParameters) -> Estimator:
    """Prepares the registration to a template with the limits of the parameters.

    Args:
        template: of mean 0.
        grid: nodes of the fields.
        parameters: of motion correction.

    Returns:
        An estimator for frames of the template's shape.
    """
    return make_estimator(
        template,
        grid,
        max_shift=parameters.max_shift_px,
        max_deviation=parameters.max_deviation_px,
        high_pass_sigma=parameters.high_pass_sigma_px,
    )


def register_sample(
    sample: NDArray, estimator: Estimator, parameters: MotionCorrectionParameters, compute: Compute
) -> tuple[Float, NDArray[np.bool_]]:
    """Registers the frames of a sample to a template by fields.

    Args:
        sample: (n, H, W).
        estimator: of the template.
        parameters: of motion correction; `min_peak_quality` is used.
        compute: resources of the machine.

    Returns:
        Fields (n, 2, Py, Px) float32 in px, of mean 0, and which of the frames could be registered (n,).
    """
    parts = _map_groups(lambda group: estimate_fields(subtract_frame_means(sample[group]), estimator), sample, compute)
    registered = np.concatenate([part.peak_quality for part in parts]) >= parameters.min_peak_quality
    return subtract_mean_field(np.concatenate([part.fields for part in parts]), registered), registered


def make_template(
    movie: Movie, grid: FieldGrid, parameters: MotionCorrectionParameters, *, compute: Compute
) -> Template:
    """Makes the template of a movie.

    Args:
        movie: (T, H, W), integers or floats.
        grid: nodes of the fields.
        parameters: of motion correction.
        compute: resources of the machine.

    Returns:
        The template, in the mean position and shape of the tissue over the sampled frames.
    """
    frame_bytes = movie.dtype.itemsize * movie.shape[1] * movie.shape[2]
    sample = read_sample(movie, sample_frames(len(movie), parameters.template_frames, frame_bytes), compute)
    limit = estimate_brightness_limit(sample)
    level = float(np.mean(sample.mean((1, 2), dtype=np.float64)))
    image = first_template(sample, parameters.high_pass_sigma_px, limit, compute)
    usable = usable_pixels(sample, parameters.max_shift_px)
    for _ in range(parameters.template_refinements):
        fields, registered = register_sample_rigidly(sample, image, usable, limit, parameters, compute)
        image, variance = registered_statistics(sample, fields, registered, rigid_grid(grid.shape), compute)
        if registered.all():
            break
    for _ in range(parameters.template_refinements):
        estimator = template_estimator(Template(image, level, variance, limit, usable), grid, parameters)
        fields, registered = register_sample(sample, estimator, parameters, compute)
        image, variance = registered_statistics(sample, fields, registered, grid, compute)
    return Template(image, level, variance, limit, usable)
