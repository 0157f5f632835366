"""The motion of a handful of frames against a finished template: rigid start, then steps of the whole field.

The first step blurs residuals (by 2 px) and so finds its way from the rigid start to deviations of up to
`max_deviation_px`; the next ones use all detail.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.registration.field import FieldGrid
from rsc2p_kedro.algorithms.registration.piecewise import (
    FieldModel,
    deviation_prior,
    field_model,
    high_pass,
    limit_deviation,
    residual_sums,
    step,
)
from rsc2p_kedro.algorithms.registration.rigid import rigid_displacement
from rsc2p_kedro.algorithms.registration.spectra import Correlator, correlator, edge_taper, surfaces

Float = NDArray[np.float32]

COARSE_BLUR_PX = 2.0
FINE_STEPS = 2
NOISE_MARGIN_PX = 8
"""Lags beyond the largest shift that the noise of the correlation is measured at."""


@dataclass(frozen=True, eq=False)
class Estimator:
    """A template, ready to register frames to it.

    Attributes:
        template: (H, W) float32, of mean 0.
        correlator: for the rigid start.
        coarse: model of the first step.
        fine: model of the others.
        max_shift: largest rigid displacement in px, included.
        max_deviation: largest deviation of a node from the rigid displacement in px, included.
    """

    template: Float
    correlator: Correlator
    coarse: FieldModel
    fine: FieldModel
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
        correlation_before: (T,) float32, of the raw frames with the template.
        correlation_after: (T,) float32, of the frames moved back by `fields`.
    """

    fields: Float
    measured: Float
    peak_quality: Float
    correlation_before: Float
    correlation_after: Float


def rigid_correlator(template: Float, *, max_shift: int, high_pass_sigma: float) -> Correlator:
    """The correlator of a template for displacements of up to `max_shift` px."""
    kernel = high_pass(template, high_pass_sigma) * edge_taper(template.shape, max_shift + 2)
    return correlator(template, kernel, max_shift + NOISE_MARGIN_PX)


def estimator(
    template: Float,
    variance: Float,
    grid: FieldGrid,
    *,
    max_shift: int,
    max_deviation: int,
    high_pass_sigma: float,
) -> Estimator:
    """Prepares a template of mean 0, with the variance of the residual in each pixel."""
    prior = deviation_prior(grid, rigid_sd=max_shift, deviation_sd=max_deviation / 2)
    coarse, fine = (
        field_model(template, variance, grid, prior=prior, high_pass_sigma=high_pass_sigma, blur_sigma=blur)
        for blur in (COARSE_BLUR_PX, 0.0)
    )
    rigid = rigid_correlator(template, max_shift=max_shift, high_pass_sigma=high_pass_sigma)
    return Estimator(template, rigid, coarse, fine, max_shift, max_deviation)


def correlation_with(frames: Float, template: Float) -> Float:
    """Correlation (T,) of frames of mean 0 with a template of mean 0; 0 for a frame without contrast."""
    norms = np.sqrt(np.einsum("tyx,tyx->t", frames, frames, dtype=np.float64) * np.vdot(template, template))
    products = np.einsum("tyx,yx->t", frames, template, dtype=np.float64)
    return np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).astype(np.float32)


def estimate(frames: Float, estimator: Estimator) -> Estimates:
    """Motion of frames (T, H, W), float32 and of mean 0 each."""
    e = estimator
    shifts, quality = rigid_displacement(surfaces(frames, e.correlator), e.correlator, max_shift=e.max_shift)
    grid_shape = (len(frames), 2, len(e.grid.nodes_y), len(e.grid.nodes_x))
    fields = np.broadcast_to(shifts[:, :, None, None], grid_shape).astype(np.float32)
    for model in [e.coarse] + [e.fine] * FINE_STEPS:
        start = fields
        sums, correlation = residual_sums(frames, start, model)
        fields = step(start, sums, model, largest=e.max_deviation)
        fields = limit_deviation(fields, max_shift=e.max_shift, max_deviation=e.max_deviation)
    measured = start - (sums.reshape(len(sums), -1) @ e.fine.inverse_information).reshape(start.shape)
    return Estimates(fields, measured.astype(np.float32), quality, correlation_with(frames, e.template), correlation)
