"""Second pass over a movie: traces at the full frame rate, and the result in the units of the movie."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.deconvolution import Deconvolution
from rsc2p_kedro.algorithms.extraction import censoring, spatial, temporal
from rsc2p_kedro.algorithms.extraction.background import resting_fluorescence
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs
from rsc2p_kedro.core.results import Components

Float = NDArray[np.float32]
_SWEEPS = 2
"""Sweeps of block coordinate descent at the full frame rate; CaImAn's default (ITER) is 2 as well."""
_RESTORATIONS = 10
"""Iterations of the values at which the detector saturates. Each leaves of the error of a trace the share of the
footprint that is saturated: with four fifths of it, 10 iterations leave a tenth."""


def assemble_components(inputs: Inputs, movie: blocks.Movie, state: Factorization, ids: NDArray) -> Components:
    """Solves for the traces at the full frame rate and makes the result.

    Args:
        inputs: data and settings.
        movie: (T, H, W), the movie that was binned.
        state: the final factorization of the binned movie.
        ids: (N,), ids of the components.

    Returns:
        Components in the units of the movie, with footprints of unit norm.
    """
    binned, p = inputs.binned, inputs.parameters
    root = np.float32(np.sqrt(binned.bin_frames))  # the noise of a frame is that much larger than that of a bin
    A, gain = sp.csc_array(state.A / root), state.gain / root
    weight = np.where(binned.mask, 1 / binned.noise, 0).astype(np.float32)
    mean, level = binned.restored_mean, binned.saturation_level
    recorded: dict[int, sp.csc_array] = {}

    def read(span: slice) -> NDArray:
        frames = np.array(blocks.read(movie, span), np.float32)
        frames[:, ~binned.mask] = 0
        censored = None if level is None else censoring.find_censored(frames, level)
        frames -= mean
        frames *= weight
        if censored is not None:
            recorded[span.start] = censoring.record_values(frames, censored)
        return frames

    projections = temporal.project_movie(read, len(movie), A, inputs.neuropil, gain, inputs.compute)
    if recorded:
        whole = sp.csc_array(sp.vstack([recorded[start] for start in sorted(recorded)], format="csc"))
        projections = _restore_censored(inputs, projections, whole, A, gain)
    traces, deconvolved = temporal.update_traces(
        projections, temporal.solve_jointly(projections), order=p.ar_order,
        decay_frames=inputs.acquisition.decay_time_frames, sweeps=_SWEEPS, compute=inputs.compute,
    )  # fmt: skip
    residual = temporal.isolated_traces(projections, traces) - traces.C
    return _to_movie_units(inputs, A, gain, traces.F, deconvolved, residual, ids)


def _restore_censored(
    inputs: Inputs, projections: temporal.Projections, recorded: sp.csc_array, A: sp.csc_array, gain: Float
) -> temporal.Projections:
    """Projections of the movie with values at which the detector saturates as the traces expect them."""
    values = censoring.collect_values(recorded, inputs.binned.mask)
    if values is None:
        return projections
    footprints = sp.csr_array(A)[values.pixels]
    splines = sp.csr_array(inputs.neuropil.splines[values.pixels].multiply(gain.reshape(-1, 1)[values.pixels]))
    restored, excess = projections, values.observed.astype(np.float64)
    for _ in range(_RESTORATIONS):
        traces = temporal.solve_jointly(restored)
        expected = censoring.expected_values(values, A, traces.C, inputs.neuropil.splines, traces.F, gain)
        excess.data[:] = np.maximum(expected - values.observed.data, 0)
        added = (footprints.T @ excess.T).toarray(), (splines.T @ excess.T).toarray()
        restored = replace(projections, U=projections.U + added[0], V=projections.V + added[1])
    return restored


def _to_movie_units(
    inputs: Inputs,
    A: sp.csc_array,
    gain: Float,
    F: NDArray,
    deconvolved: Deconvolution,
    residual: NDArray,
    ids: NDArray,
) -> Components:
    """The result, with footprints of unit norm, from footprints and gain in units of the noise of a frame."""
    binned, half_width = inputs.binned, inputs.half_width_px
    footprints = spatial.trim_footprints(sp.csc_array(A.multiply(binned.noise.reshape(-1, 1))))
    norms = np.sqrt(np.asarray(footprints.power(2).sum(axis=0), np.float64)).ravel()
    footprints = sp.csc_array(footprints @ sp.diags_array(1 / norms), dtype=np.float32)
    footprints.sort_indices()
    calcium, spikes, residual = (
        np.ascontiguousarray(x * norms[:, None], np.float32)
        for x in (deconvolved.calcium, deconvolved.spikes, residual)
    )
    neuropil = inputs.neuropil.footprints(gain * binned.noise)
    baseline = resting_fluorescence(binned, footprints, half_width) + deconvolved.baseline * norms
    if inputs.parameters.nonnegative_baseline:
        baseline = np.maximum(baseline, 0)
    static = binned.restored_mean.ravel() - footprints @ calcium.mean(axis=1) - neuropil @ F.mean(axis=1)
    lowest = min(float(np.floor(binned.mean.min())), 0.0)
    b, f = _background(np.maximum(static, lowest), lowest, neuropil, F, inputs.parameters.n_background)
    return Components(
        shape=binned.shape,
        ids=np.asarray(ids, np.int64),
        footprints=footprints,
        traces=calcium,
        spikes=spikes,
        residual_traces=residual,
        background_footprints=b,
        background_traces=f,
        baseline=baseline.astype(np.float32),
        noise=(deconvolved.noise * norms).astype(np.float32),
        ar_coefficients=deconvolved.g.astype(np.float32),
        lam=(deconvolved.lam * norms).astype(np.float32),
        pixel_noise=binned.noise,
        neuron_half_width_px=half_width,
        n_fitted_background=b.shape[1] - (lowest < 0 and b.shape[1] > 0),
    )


def _background(
    static: NDArray, lowest: float, neuropil: sp.csc_array, F: NDArray, n_background: int
) -> tuple[sp.csc_array, Float]:
    """b (H*W, nb) and f (nb, T): the static image first, then the neuropil.

    Footprints are not negative. Where the detector's dark level makes the movie negative, the static image is relative
    to the lowest value, which is added by the trace of a last, uniform footprint.
    """
    n_frames = F.shape[1]
    if n_background == 0:
        return sp.csc_array((len(static), 0), dtype=np.float32), np.zeros((0, n_frames), np.float32)
    parts, traces = [sp.csc_array((static - lowest)[:, None].astype(np.float32)), neuropil], [np.ones((1, n_frames)), F]
    if lowest < 0:
        parts.append(sp.csc_array(np.ones((len(static), 1), np.float32)))
        traces.append(np.full((1, n_frames), lowest))
    b = sp.csc_array(sp.hstack(parts, format="csc"), dtype=np.float32)
    return b, np.concatenate(traces).astype(np.float32)
