"""The motion of a handful of frames against a finished template: rigid start, then steps of the whole field.

The start and the first step work on frames binned 2 x 2, at a quarter of the cost, with residuals blurred by 1 px (2
px of the frame): so they find their way from the rigid start to deviations of up to `max_deviation_px`. The last ones
use all detail.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import FieldGrid
from rsc2p_kedro.algorithms.registration.frames import halved
from rsc2p_kedro.algorithms.registration.piecewise import (
    FieldModel,
    deviation_prior,
    field_model,
    high_pass,
    limit_deviation,
    products,
    residual_sums,
    step,
)
from rsc2p_kedro.algorithms.registration.rigid import rigid_displacement
from rsc2p_kedro.algorithms.registration.spectra import Correlator, correlator, edge_taper, surfaces

Float = NDArray[np.float32]

COARSE_BLUR_PX = 1.0
COARSE_STEPS = 1
FINE_STEPS = 2
NOISE_MARGIN_PX = 4
"""Lags, in binned px, beyond the largest shift that the noise of the correlation is measured at."""


@dataclass(frozen=True, eq=False)
class Estimator:
    """A template, ready to register frames to it.

    Attributes:
        template: (H, W) float32, of mean 0.
        correlator: for the rigid start, of binned frames.
        coarse: model of the first steps, of binned frames.
        fine: model of the last steps.
        brightest: largest deviation from a frame's mean that the rigid start believes.
        max_shift: largest rigid displacement in px, included.
        max_deviation: largest deviation of a node from the rigid displacement in px, included.
    """

    template: Float
    correlator: Correlator
    coarse: FieldModel
    fine: FieldModel
    brightest: float
    max_shift: int
    max_deviation: int

    @property
    def grid(self) -> FieldGrid:
        return self.fine.grid


@dataclass(frozen=True, eq=False)
class Estimates:
    """Motion of some frames.

    Attributes:
        fields: (T, 2, Py, Px) float32, displacement of the content at the nodes in px, by the posterior of each frame
            alone.
        measured: (T, 2, Py, Px) float32, the same without the prior.
        peak_quality: (T,) float32.
    """

    fields: Float
    measured: Float
    peak_quality: Float


def rigid_correlator(
    template: Float, usable: NDArray[np.bool_], brightest: float, *, max_shift: int, high_pass_sigma: float
) -> Correlator:
    """The correlator, for binned frames, of a template (H, W) and displacements of up to `max_shift` px."""
    small = np.clip(halved(template), -brightest, brightest)
    window = edge_taper(small.shape, max_shift / 2 + 1) * halved(usable.astype(np.float32))
    kernel = high_pass(small, high_pass_sigma / 2) * window
    return correlator(small, kernel, -(-max_shift // 2) + NOISE_MARGIN_PX)


def rigid_start(frames: Float, correlator: Correlator, *, max_shift: int, brightest: float) -> tuple[Float, Float]:
    """Displacement (T, 2) of frames binned 2 x 2, in px of the frames themselves, and the quality (T,) of the peaks."""
    shifts, quality = rigid_displacement(
        surfaces(np.clip(frames, -brightest, brightest), correlator), correlator, max_shift=max_shift / 2
    )
    return 2 * shifts, quality


def estimator(
    template: Float,
    variance: Float,
    usable: NDArray[np.bool_],
    grid: FieldGrid,
    *,
    brightest: float,
    max_shift: int,
    max_deviation: int,
    high_pass_sigma: float,
) -> Estimator:
    """Prepares a template of mean 0, with the variance of the residual in each pixel and which pixels count."""
    small_variance = np.maximum(halved(variance) / 4, np.finfo(np.float32).tiny)
    coarse, fine = (
        field_model(
            image,
            noise,
            count,
            nodes,
            prior=deviation_prior(nodes, rigid_sd=max_shift / binning, deviation_sd=max_deviation / 2 / binning),
            high_pass_sigma=high_pass_sigma / binning,
            blur_sigma=blur,
        )
        for image, noise, count, nodes, binning, blur in (
            (
                halved(template),
                small_variance,
                halved(usable.astype(np.float32)) == 1,
                grid.halved(),
                2,
                COARSE_BLUR_PX,
            ),
            (template, variance, usable, grid, 1, 0.0),
        )
    )
    rigid = rigid_correlator(template, usable, brightest, max_shift=max_shift, high_pass_sigma=high_pass_sigma)
    return Estimator(template, rigid, coarse, fine, brightest, max_shift, max_deviation)


def newton_steps(
    frames: Float, fields: Float, model: FieldModel, n_steps: int, *, max_shift: float, max_deviation: float
) -> tuple[Float, Float]:
    """Fields after some steps, and the estimate of the last step without the prior."""
    for _ in range(n_steps):
        start, sums = fields, residual_sums(frames, fields, model)
        fields = step(start, sums, model, largest=max_deviation)
        fields = limit_deviation(fields, model.grid, max_shift=max_shift, max_deviation=max_deviation)
    measured = start - products(sums.reshape(len(sums), -1), model.inverse_information).reshape(start.shape)
    return fields, measured.astype(np.float32)


def estimate(frames: Float, estimator: Estimator) -> Estimates:
    """Motion of frames (T, H, W), float32 and of mean 0 each."""
    e, small = estimator, halved(frames)
    limits = {"max_shift": e.max_shift, "max_deviation": e.max_deviation}
    shifts, quality = rigid_start(small, e.correlator, max_shift=e.max_shift, brightest=e.brightest)
    start = np.broadcast_to(shifts[:, :, None, None] / 2, (len(frames), 2, len(e.grid.nodes_y), len(e.grid.nodes_x)))
    half_limits = {name: limit / 2 for name, limit in limits.items()}
    fields, _ = newton_steps(small, start.astype(np.float32), e.coarse, COARSE_STEPS, **half_limits)
    fields, measured = newton_steps(frames, 2 * fields, e.fine, FINE_STEPS, **limits)
    return Estimates(fields, measured, quality)
