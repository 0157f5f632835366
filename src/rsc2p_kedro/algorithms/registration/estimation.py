"""Motion of a block of frames relative to a template: an initial rigid estimate, then Gauss-Newton steps of the field.

The rigid estimate and the first step use frames binned 2 x 2, at a quarter of the cost, and residuals blurred by 1 px
(2 px of the frame), so that the first step can correct deviations from the rigid estimate of up to `max_deviation_px`.
The last steps use frames at full resolution.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.cross_correlation import (
    Correlator,
    correlation_surfaces,
    edge_taper,
    make_correlator,
)
from rsc2p_kedro.algorithms.registration.field import FieldGrid
from rsc2p_kedro.algorithms.registration.frames import bin_2x2, high_pass
from rsc2p_kedro.algorithms.registration.gauss_newton import (
    NormalEquations,
    clip_fields,
    gauss_newton_step,
    multiply_rows,
    normal_equations,
    prior_precision,
    right_hand_sides,
)
from rsc2p_kedro.algorithms.registration.rigid import rigid_displacement

Float = NDArray[np.float32]

COARSE_BLUR_PX = 1.0
"""Sigma, in binned px, of the blur of residuals in the first step; it extends the range of a step to the default
`max_deviation_px`. It belongs to the limits of motion and not to the size of neurons, and does not scale with it.
Not tuned."""

COARSE_STEPS = 1
"""Gauss-Newton steps on binned frames. A second one does not improve the result, see `FINE_STEPS`."""

FINE_STEPS = 2
"""Gauss-Newton steps on full frames. Measured for (1, 1), (2, 1), (1, 2) and (2, 2) coarse and fine steps: known shifts
added to 200 frames of a real recording (neurofinder) come back within 0.039, 0.037, 0.035 and 0.035 px rms; the local
error on a simulated movie (400 frames of 192 x 192 px, 12 photons) changes by less than 0.001 px."""

NOISE_MARGIN_PX = 4
"""Lags beyond the largest shift, in binned px, at which the noise of the correlation surface is measured. Not tuned."""


@dataclass(frozen=True, eq=False)
class Template:
    """The image that frames are registered to.

    Attributes:
        image: (H, W) float32, of mean 0.
        level: mean brightness of the frames it is made of.
        variance: (H, W) float32, variance of registered frames around it.
        brightness_limit: largest deviation from a frame's mean in the rigid start; pixels beyond it are clipped.
        usable: (H, W) bool, false for empty borders and for all pixels that motion may move them to.
    """

    image: Float
    level: float
    variance: Float
    brightness_limit: float
    usable: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Estimator:
    """Precomputed data for the registration of frames to one template.

    Attributes:
        correlator: for the rigid start, of binned frames.
        coarse: normal equations of the first steps, of binned frames.
        fine: normal equations of the last steps.
        brightness_limit: see :class:`Template`.
        max_shift: largest rigid displacement in px, included.
        max_deviation: largest deviation of a node from the rigid displacement in px, included.
    """

    correlator: Correlator
    coarse: NormalEquations
    fine: NormalEquations
    brightness_limit: float
    max_shift: float
    max_deviation: float

    @property
    def grid(self) -> FieldGrid:
        """Nodes of the fields, on full frames."""
        return self.fine.grid


@dataclass(frozen=True, eq=False)
class Estimates:
    """Motion of some frames, each frame estimated independently of the others.

    Attributes:
        fields: (T, 2, Py, Px) float32, displacement of the content at the nodes in px, regularized by the prior.
        unregularized_fields: (T, 2, Py, Px) float32, the same without the prior.
        peak_quality: (T,) float32, see :func:`.rigid.peak_quality`.
    """

    fields: Float
    unregularized_fields: Float
    peak_quality: Float


def rigid_correlator(
    image: Float, usable: NDArray[np.bool_], brightness_limit: float, *, max_shift: float, high_pass_sigma: float
) -> Correlator:
    """Prepares the initial rigid estimate for a template.

    Args:
        image: (H, W) float32, of mean 0.
        usable: (H, W), false for pixels to ignore.
        brightness_limit: largest deviation from the mean; pixels beyond it are clipped.
        max_shift: largest displacement in px.
        high_pass_sigma: sigma in px of the high-pass filter of the template.

    Returns:
        A correlator for frames binned 2 x 2.
    """
    binned = np.clip(bin_2x2(image), -brightness_limit, brightness_limit)
    window = edge_taper(binned.shape, max_shift / 2 + 1) * bin_2x2(usable.astype(np.float32))
    kernel = high_pass(binned, high_pass_sigma / 2) * window
    return make_correlator(binned, kernel, math.ceil(max_shift / 2) + NOISE_MARGIN_PX)


def rigid_start(
    binned: Float, correlator: Correlator, *, max_shift: float, brightness_limit: float
) -> tuple[Float, Float]:
    """Rigid displacement of frames by cross-correlation.

    Args:
        binned: (T, H // 2, W // 2) float32, frames of mean 0, binned 2 x 2.
        correlator: of the template, for binned frames.
        max_shift: largest displacement in px of the full frames.
        brightness_limit: largest deviation from a frame's mean; pixels beyond it are clipped.

    Returns:
        Displacement (T, 2) float32 in px of the full frames, and the quality (T,) float32 of the correlation peaks.
    """
    surfaces = correlation_surfaces(np.clip(binned, -brightness_limit, brightness_limit), correlator)
    shifts, quality = rigid_displacement(surfaces, correlator, max_shift=max_shift / 2)
    return 2 * shifts, quality


def make_estimator(
    template: Template, grid: FieldGrid, *, max_shift: float, max_deviation: float, high_pass_sigma: float
) -> Estimator:
    """Prepares the registration of frames to a template.

    Args:
        template: of mean 0.
        grid: nodes of the fields.
        max_shift: largest rigid displacement in px along each axis, included.
        max_deviation: largest deviation of a node from the rigid displacement in px, included.
        high_pass_sigma: sigma in px of the high-pass filter.

    Returns:
        An estimator for frames of the template's shape.
    """

    def equations(
        image: NDArray, variance: NDArray, usable: NDArray[np.bool_], nodes: FieldGrid, binning: int, blur_sigma: float
    ) -> NormalEquations:
        rigid_sd, deviation_sd = max_shift / binning, max_deviation / 2 / binning
        prior = prior_precision(nodes, rigid_sd=rigid_sd, deviation_sd=deviation_sd)
        sigma = high_pass_sigma / binning
        return normal_equations(
            image, variance, usable, nodes, prior=prior, high_pass_sigma=sigma, blur_sigma=blur_sigma
        )

    image, variance, usable = template.image, template.variance, template.usable
    binned_variance = np.maximum(bin_2x2(variance) / 4, np.finfo(np.float32).tiny)
    binned_usable = bin_2x2(usable.astype(np.float32)) == 1
    limit = template.brightness_limit
    return Estimator(
        rigid_correlator(image, usable, limit, max_shift=max_shift, high_pass_sigma=high_pass_sigma),
        equations(bin_2x2(image), binned_variance, binned_usable, grid.bin_2x2(), 2, COARSE_BLUR_PX),
        equations(image, variance, usable, grid, 1, 0.0),
        limit,
        max_shift,
        max_deviation,
    )


def refine_fields(
    frames: Float, fields: Float, equations: NormalEquations, n_steps: int, *, max_shift: float, max_deviation: float
) -> tuple[Float, Float]:
    """Refines fields by Gauss-Newton steps.

    Args:
        frames: (T, H, W) float32, of mean 0.
        fields: (T, 2, Py, Px) float32, where to start, in px.
        equations: of the template.
        n_steps: number of steps, at least 1.
        max_shift: largest rigid displacement in px, included.
        max_deviation: largest deviation of a node from it in px, included.

    Returns:
        Fields (T, 2, Py, Px) float32 after the steps, and those of the last step without prior and limits, in px.
    """
    for _ in range(n_steps):
        start, b = fields, right_hand_sides(frames, fields, equations)
        fields = gauss_newton_step(start, b, equations, largest=max_deviation)
        fields = clip_fields(fields, equations.grid, max_shift=max_shift, max_deviation=max_deviation)
    unregularized = start - multiply_rows(b.reshape(len(b), -1), equations.inverse_hessian).reshape(start.shape)
    return fields, unregularized.astype(np.float32)


def estimate_fields(frames: Float, estimator: Estimator) -> Estimates:
    """Estimates the motion of frames.

    Args:
        frames: (T, H, W) float32, of mean 0 each.
        estimator: of the template.

    Returns:
        Fields in px and peak qualities of the frames.
    """
    max_shift, max_deviation, grid = estimator.max_shift, estimator.max_deviation, estimator.grid
    binned = bin_2x2(frames)
    shifts, quality = rigid_start(
        binned, estimator.correlator, max_shift=max_shift, brightness_limit=estimator.brightness_limit
    )
    start = np.broadcast_to(shifts[:, :, None, None] / 2, (len(frames), 2, len(grid.nodes_y), len(grid.nodes_x)))
    fields, _ = refine_fields(
        binned,
        start.astype(np.float32),
        estimator.coarse,
        COARSE_STEPS,
        max_shift=max_shift / 2,
        max_deviation=max_deviation / 2,
    )
    fields, unregularized = refine_fields(
        frames, 2 * fields, estimator.fine, FINE_STEPS, max_shift=max_shift, max_deviation=max_deviation
    )
    return Estimates(fields, unregularized, quality)
