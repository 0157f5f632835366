"""Frames that do not show the tissue: blank, saturated, with bands of photostimulation, or out of focus.

Before registration (:func:`find_artefacts`) each frame F is compared with the median image M of the recording. Rows are
cut into up to eight segments; d(t, y) is the median over the segments of the mean of F - M. Neurons light up some
segments of a row; the laser of a photostimulation, a gated detector and a closed shutter change all of them. The
baseline of d in time is the median over blocks of 100 frames, of which the closest of three neighbouring blocks counts,
so that bleaching, or another gain from one file to the next, is no artefact. A row is bright if it exceeds its baseline
by `BRIGHT` times the light of the typical pixel (its level above the dark counts of the detector), dark if it lost
`DARK` of its own light, in both cases by more than `MIN_SD` standard deviations of d.

After registration (:func:`find_lost_focus`) the fine structure of the template T (high-passed) is fitted to each
corrected frame. Its amplitude b(t) is close to constant while the tissue is in focus and in place, whatever the neurons
do; a frame is lost where b falls below half of its baseline, by more than `MIN_SD` standard deviations.

All limits are chosen to be far from what tissue does, not tuned on data; docs/methods_registration.md tells how often
they were wrong.
"""

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, read, run
from rsc2p_kedro.algorithms.photon_response import zero_of_variance
from rsc2p_kedro.algorithms.registration.frames import high_pass
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.core.results import MotionCorrection

Double = NDArray[np.float64]
Reasons = NDArray[np.str_]

BLANK, SATURATED, FLASH, BRIGHT_BAND, DARK_BAND = "blank", "saturated", "flash", "bright band", "dark band"
LOST_FOCUS, BEYOND_SHIFT, NOT_REGISTERED = "lost focus", "beyond max_shift_px", "not registered"
GIVEN = "given by the user"

N_SAMPLED = 100
"""Frames (and their successors) of which the median image and the noise are computed."""
N_SEGMENTS, SMALLEST_SEGMENT_PX = 8, 4
"""Segments of a row, and their smallest width in px."""
BASELINE_FRAMES = 100
"""Length of the blocks of the baseline: artefacts of up to half of it in a row are found."""
BRIGHT, DARK = 1.0, 0.75
"""Gain and loss of light, in units of that of the typical pixel, from which a row is bright or dark. Tissue that a jerk
moves to a row without any, and the other way round, changes the row by less than all of its light."""
LIT = 0.25
"""Rows with less than this share of the light of the typical row are not judged to be dark."""
LEAST_LIGHT = 0.25
"""Light of the typical row, in units of the noise of a pixel (about the root of the number of photons), below which
rows are not judged to be dark."""
MIN_SD = 8.0
"""Smallest deviation in standard deviations of its values."""
BAND_ROWS, BAND_SHARE, FRAME_SHARE = 3, 0.02, 0.8
"""Fewest neighbouring rows of a band, and as a share of all; share of rows from which the whole frame is affected."""
SATURATED_SHARE = 0.2
"""Share of the pixels at the highest value of the recording, beyond that of other frames, of a saturated frame."""
FOCUS_SIGMA_PX, FOCUS_LOSS = 2.0, 0.5
"""Sigma in px of the high-pass filter of the template, and the share of its amplitude that is lost."""


def find_artefacts(movie: Movie, *, compute: Compute) -> Reasons:
    """Finds frames with artefacts in a raw movie.

    Args:
        movie: (T, H, W), raw.
        compute: resources of the machine; they do not change the result.

    Returns:
        (T,) str, the artefact of each frame; empty where there is none.
    """
    typical, dark, noise = _typical_image(movie, compute)
    segments = _segments(typical.shape[1])

    def measure(block: slice) -> tuple[Double, Double]:
        frames = np.ascontiguousarray(read(movie, block)).astype(np.float32, copy=False)
        means = np.add.reduceat(frames - typical, segments, axis=2, dtype=np.float64)
        means /= np.diff([*segments, typical.shape[1]])
        highest, lowest = frames.max((1, 2)), frames.min((1, 2))
        shares = (frames == highest[:, None, None]).mean((1, 2))
        return np.median(means, axis=2), np.stack([lowest, highest, shares], axis=1).astype(np.float64)

    blocks = frame_blocks(len(movie), compute.block_frames)
    parts = run(measure, blocks, compute=compute, description="looking for bad frames")
    rows, (lowest, highest, shares) = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]).T
    reasons = _name_rows(rows, np.median(typical, axis=1).astype(np.float64) - dark, noise)
    at_ceiling = np.where((highest == highest.max()) & (highest > np.median(highest)), shares, 0.0)
    saturated = at_ceiling - _nearest_baseline(at_ceiling[:, None])[:, 0] > SATURATED_SHARE
    reasons[lowest == highest] = BLANK
    reasons[saturated] = SATURATED
    return reasons


def _typical_image(movie: Movie, compute: Compute) -> tuple[NDArray[np.float32], float, float]:
    """Median image (H, W) of a sample of frames, the dark counts of the detector, and the noise of a pixel."""
    T = len(movie)
    starts = np.unique(((np.arange(N_SAMPLED) + 0.5) * T / N_SAMPLED).astype(int)).tolist()
    pairs = run(
        lambda start: read(movie, slice(start, start + 2)).astype(np.float32),
        starts,
        compute=compute,
        description="sampling frames",
    )
    typical = np.median(np.stack([pair[0] for pair in pairs]), axis=0).astype(np.float32)
    changes = np.stack([np.square(pair[1] - pair[0]) for pair in pairs if len(pair) == 2] or [np.zeros_like(typical)])
    size = changes.mean((1, 2))
    variance = changes[size <= np.median(size)].mean(0) / 2
    dark = zero_of_variance(typical.ravel(), variance.ravel())
    # Without an estimate the whole level counts as light, so that little is called dark or bright.
    return typical, min(0.0, float(typical.min())) if dark is None else dark, float(np.sqrt(np.median(variance)))


def _segments(width: int) -> list[int]:
    """First columns of the segments of a row."""
    n = int(np.clip(width // SMALLEST_SEGMENT_PX, 1, N_SEGMENTS))
    return [start * width // n for start in range(n)]


def _nearest_baseline(values: Double) -> Double:
    """The median (T, K) of the block of frames, of its own and the neighbouring ones, that is closest to each value."""
    n_blocks = max(len(values) // BASELINE_FRAMES, 1)
    parts = np.array_split(np.arange(len(values)), n_blocks)
    medians = np.stack([np.median(values[part], axis=0) for part in parts])
    baseline = np.empty_like(values, dtype=np.float64)
    for block, part in enumerate(parts):
        candidates = medians[max(block - 1, 0) : block + 2]
        distance = np.abs(values[part][:, None] - candidates[None])
        choice = distance.argmin(axis=1)
        baseline[part] = np.take_along_axis(candidates, choice, axis=0)
    return baseline


def _spread(values: Double) -> Double:
    """Robust standard deviation over time, (K,)."""
    return 1.4826 * np.median(np.abs(values), axis=0)


def _name_rows(rows: Double, light: Double, noise: float) -> Reasons:
    """The artefact of each frame from d (T, H), the light of the rows (H,) and the noise of a pixel."""
    change = rows - _nearest_baseline(rows)
    clear = MIN_SD * _spread(change)
    usual = float(np.median(light))
    lit = light > LIT * usual
    # A movie whose background was subtracted has no light that could be lost or doubled, only noise.
    bright = (change > clear) & (change > BRIGHT * max(usual, noise))
    dark = (-change > clear) & (-change > DARK * light) & lit & (usual > LEAST_LIGHT * noise)
    reasons = np.full(len(rows), "", dtype="<U32")
    least = max(BAND_ROWS, round(BAND_SHARE * rows.shape[1]))
    reasons[_longest_run(bright) >= least] = BRIGHT_BAND
    reasons[bright.mean(1) >= FRAME_SHARE] = FLASH
    reasons[_longest_run(dark) >= least] = DARK_BAND
    reasons[dark.sum(1) >= max(FRAME_SHARE * lit.sum(), 1)] = BLANK
    return reasons


def _longest_run(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Length of the longest run of true values in each row of (T, H)."""
    longest, run_length = np.zeros(len(flags), np.int64), np.zeros(len(flags), np.int64)
    for column in flags.T:
        run_length = (run_length + 1) * column
        longest = np.maximum(longest, run_length)
    return longest


def find_lost_focus(corrected: Movie, motion: MotionCorrection, *, max_shift_px: float, compute: Compute) -> Reasons:
    """Finds corrected frames that lack the fine structure of the template: out of focus, or not in place.

    Args:
        corrected: (T, H, W), motion-corrected.
        motion: its motion. Frames that it does not count as registered are not judged.
        max_shift_px: largest rigid shift that was allowed.
        compute: resources of the machine; they do not change the result.

    Returns:
        (T,) str, `lost focus`, `beyond max_shift_px` where the shift is at its limit, or empty.
    """
    structure = np.where(motion.valid_mask, high_pass(motion.template, FOCUS_SIGMA_PX), 0).astype(np.float64)
    structure[motion.valid_mask] -= structure[motion.valid_mask].mean()
    norm = float((structure**2).sum())
    reasons = np.full(len(corrected), "", dtype="<U32")
    registered = np.flatnonzero(motion.registered)
    if norm == 0 or not len(registered):
        return reasons

    def amplitude(block: slice) -> Double:
        frames = read(corrected, block).astype(np.float64)
        return frames.reshape(len(frames), -1) @ structure.ravel() / norm

    blocks = frame_blocks(len(corrected), compute.block_frames)
    parts = run(amplitude, blocks, compute=compute, description="looking for lost focus")
    amplitudes = np.concatenate(parts)[registered, None]
    baseline = _nearest_baseline(amplitudes)
    loss = baseline - amplitudes
    lost = registered[((loss > FOCUS_LOSS * baseline) & (loss > MIN_SD * _spread(loss)))[:, 0]]
    at_limit = np.abs(motion.shifts).max(axis=1) >= max_shift_px - 0.05
    reasons[lost] = np.where(at_limit[lost], BEYOND_SHIFT, LOST_FOCUS)
    return reasons
