"""Search for the shift, rotation and scale between two fields of view.

For each rotation and scale of a grid, the cross-correlation of each channel (footprints, mean image, correlation image)
is computed for all shifts by Fourier transforms, in units of its standard deviation over the shifts. The channels are
added; of the two images the magnitude counts, since their contrast may be inverted. How high the sum gets by chance is
seen in the same session turned over: a mirrored image has the same statistics and cannot fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.tracking.placement import Placement
from rsc2p_kedro.algorithms.tracking.sampling import sample

Float = NDArray[np.float32]
ROTATIONS_DEG = np.arange(-6.0, 6.1, 1.0)
"""Rotations that are tried. Heads are fixed to within a few degrees; finer ones are found by refinement."""
SCALES = np.array([1.0, 0.97, 1.03])
"""Magnifications that are tried, beside that of the pixel sizes."""
STRETCHES = (0.86, 0.93, 1.0, 1.08, 1.16)
"""Magnifications along each axis that are tried where nothing else fits: scanners may stretch one of them."""
_MIN_OVERLAP = 0.4
"""Least part of the smaller field of view that a shift must leave in common."""
NULL_ROTATIONS_DEG = np.array([-4.0, 0.0, 4.0])
"""Rotations at which mirrored sessions are compared."""


@dataclass(frozen=True, eq=False)
class RigidFit:
    """The best shift, rotation and scale.

    Attributes:
        placement: where the session lies in the reference.
        peak: height of the cross-correlation, the sum over channels in standard deviations.
        chance: highest cross-correlation of each comparison with a mirrored session, (n,).
    """

    placement: Placement
    peak: float
    chance: NDArray[np.float64]

    @property
    def significance(self) -> float:
        """Height of the peak above what mirrored sessions reach, relative to that."""
        return float(self.peak / self.chance.max()) if self.chance.max() > 0 else 0.0


def find_rigid(
    reference: Float,
    session: Float,
    *,
    step: int,
    pixel_ratios: Sequence[tuple[float, float]] = ((1.0, 1.0),),
    rotations_deg: Sequence[float] | NDArray = ROTATIONS_DEG,
    scales: Sequence[float] | NDArray = SCALES,
    judge: bool = True,
) -> RigidFit:
    """Finds the shift, rotation and scale at which a session fits the reference.

    Args:
        reference: (K, H, W) channels of the reference.
        session: (K, h, w) channels of the session.
        step: only every so many pixels of the reference are compared.
        pixel_ratios: pixels of the session per pixel of the reference, (y, x): from the pixel sizes, or what they may
            be.
        rotations_deg: rotations that are tried.
        scales: magnifications that are tried.
        judge: whether to compare with mirrored sessions; if not, nothing is known about chance.

    Returns:
        The best fit, and how well mirrored sessions fit.
    """
    search = _Search(reference, step)
    trials = [
        (rotation, (scale * ratio[0], scale * ratio[1]))
        for ratio in pixel_ratios
        for scale in scales
        for rotation in rotations_deg
    ]
    fits = [search.best_shift(session, *trial) for trial in trials]
    peak, placement = max(fits, key=lambda fit: fit[0])
    if not judge:
        return RigidFit(placement, peak, np.zeros(1))
    ratio = trials[int(np.argmax([fit[0] for fit in fits]))][1]
    mirrored = (session[:, ::-1], session[:, :, ::-1], session[:, ::-1, ::-1])
    chance = [search.best_shift(images, angle, ratio)[0] for images in mirrored for angle in NULL_ROTATIONS_DEG]
    return RigidFit(placement, peak, np.array(chance))


class _Search:
    """Cross-correlations with one reference."""

    def __init__(self, reference: Float, step: int) -> None:
        self._shape, self._step = (reference.shape[1], reference.shape[2]), step
        self._images = reference[:, ::step, ::step]
        self._other: tuple[int, ...] | None = None

    def best_shift(
        self, session: Float, rotation_deg: float, pixel_ratio: tuple[float, float]
    ) -> tuple[float, Placement]:
        """Height of the highest cross-correlation at one rotation and scale, and the placement there."""
        sizes = session.shape[1:]
        middle = (np.array(sizes, float) - 1) / 2
        # The session is sampled on a grid of its own extent, with the pixels and the step of the reference.
        steps = [int(np.ceil(size / ratio / self._step)) for size, ratio in zip(sizes, pixel_ratio, strict=True)]
        whole = Placement.similarity((steps[0] * self._step, steps[1] * self._step), middle, rotation_deg, pixel_ratio)
        places = whole.places(step=self._step)
        surface, lags = self._correlate(sample(session, places, beyond_is_zero=True))
        index = np.unravel_index(int(surface.argmax()), surface.shape)
        lag = np.array([lags[0][index[0]], lags[1][index[1]]], float) * self._step
        # Pixel p of the reference is pixel p - lag of that grid.
        centre = (np.array(self._shape, float) - 1) / 2
        offset = whole.matrix @ (centre - lag - whole.centre) + middle
        return float(surface[index]), Placement.similarity(self._shape, offset, rotation_deg, pixel_ratio)

    def _correlate(self, moved: Float) -> tuple[NDArray[np.float64], tuple[NDArray, NDArray]]:
        """Sum over the channels of standardized cross-correlations, and the lags in steps along each axis."""
        own, other = self._images.shape[1:], moved.shape[1:]
        if other != self._other:
            self._prepare(own, other)
        product = self._transforms * np.conj(scipy.fft.rfft2(moved, self._sizes))
        total = np.full(self._allowed.shape, -np.inf)
        total[self._allowed] = 0
        for channel, surface in enumerate(scipy.fft.irfft2(product, self._sizes)):
            level = surface[self._allowed] * self._scale
            spread = np.sqrt(np.mean(level**2)) if level.size else 0.0
            if spread > 0:
                total[self._allowed] += (level if channel == 0 else np.abs(level)) / spread
        return total, self._lags

    def _prepare(self, own: tuple[int, ...], other: tuple[int, ...]) -> None:
        """Computes what is the same for all images of one size."""
        self._other = other
        self._sizes = tuple(scipy.fft.next_fast_len(a + b, real=True) for a, b in zip(own, other, strict=True))
        self._transforms = scipy.fft.rfft2(self._images, self._sizes)
        along = [_lags(a, b, size) for a, b, size in zip(own, other, self._sizes, strict=True)]
        self._lags = (along[0][0], along[1][0])
        overlap = np.outer(along[0][1], along[1][1])
        self._allowed = overlap >= _MIN_OVERLAP
        self._scale = 1 / np.sqrt(overlap[self._allowed])


def _lags(own: int, other: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Lags along one axis as the transform orders them, and the part of the smaller axis that overlaps at each."""
    lags = np.arange(size)
    lags = np.where(lags < own, lags, lags - size)
    overlap = np.minimum(own, lags + other) - np.maximum(0, lags)
    return lags, np.clip(overlap, 0, None) / min(own, other)
