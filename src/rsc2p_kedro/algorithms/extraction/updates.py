"""The updates of CNMF: traces, footprints and merging, each from one state of the factorization to the next."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction import background, censoring, merging, spatial, temporal
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs

MIN_EXPLAINED_ENERGY = 1.0
"""Minimum energy that a component must explain to take part in the spatial update: the noise of one pixel in one bin.
Regression on a weaker trace gives noise of almost infinite size: footprints of 1e20 overflowed in one of sixty
simulated movies with greedy_roi."""

CLIPPED_SD = 2.0
"""Residuals of a pixel beyond this many sd of its noise are clipped in the first estimate of the neuropil. Without it,
a bright neuron beside a vessel was taken for neuropil and never found. Chosen, not tuned."""
NEUROPIL_FLUCTUATION = 0.08
"""Typical sd of a pixel's fluorescence over time, without noise, as a fraction of the resting fluorescence: 0.06 to
0.12 in three real movies and eight simulated ones. It gives the time courses of the neuropil their unit, to which their
prior refers; the mean image cannot, as it includes the offset of the detector. Not tuned."""
_ROBUST_ITERATIONS = 3
"""Iterations of the robust estimate of the neuropil. Chosen, not tuned."""


def initialize_background(inputs: Inputs, *, refine_gain: bool = True) -> Factorization:
    """A factorization without components: the neuropil, its gain from the mean image and one regression.

    Args:
        inputs: data and settings.
        refine_gain: whether to regress the gain of each pixel, and the neuropil again; without, the gain is the same
            everywhere.

    Returns:
        The factorization.
    """
    binned, n_splines = inputs.binned, inputs.neuropil.n_splines
    H, W = binned.shape
    resting = background.typical_fluctuation(binned) / NEUROPIL_FLUCTUATION
    gain = np.where(binned.mask, resting / binned.scale, 0).astype(np.float32)
    no_footprints = sp.csc_array((H * W, 0), dtype=np.float32)
    state = Factorization(no_footprints, np.zeros((0, inputs.n_bins)), np.zeros((n_splines, inputs.n_bins)), gain)
    if not n_splines:
        return state
    state = _robust_neuropil(inputs, state)
    return _robust_neuropil(inputs, update_footprints(inputs, state)) if refine_gain else state


def _project(inputs: Inputs, state: Factorization) -> temporal.Projections:
    def read(span: slice) -> NDArray:
        return np.asarray(inputs.binned.movie[span])

    return temporal.project_movie(read, inputs.n_bins, state.A, inputs.neuropil, state.gain, inputs.compute)


def _robust_neuropil(inputs: Inputs, state: Factorization) -> Factorization:
    """The neuropil of a factorization without components by Huber's M-estimation (doi 10.1214/aoms/1177703732).

    Residuals of a pixel beyond `CLIPPED_SD` are clipped, so that bright neurons, which are not among the components
    yet, do not count as neuropil. Iterations: project the movie with clipped residuals, solve.
    """
    basis, binned = inputs.neuropil, inputs.binned

    def read(span: slice) -> NDArray:
        frames = np.asarray(binned.movie[span])
        neuropil = basis.evaluate(state.F[:, span]) * state.gain
        return neuropil + np.clip(frames - neuropil, -CLIPPED_SD, CLIPPED_SD)

    for _ in range(_ROBUST_ITERATIONS):
        p = temporal.project_movie(read, inputs.n_bins, state.A, basis, state.gain, inputs.compute)
        state = replace(state, F=temporal.solve_neuropil(p, state.C))
    return state


def _restore_censored(inputs: Inputs, state: Factorization) -> None:
    """Replaces values at which the detector saturates, in place, by what the factorization expects there."""
    values = inputs.binned.censored
    if values is not None:
        expected = censoring.expected_values(values, state.A, state.C, inputs.neuropil.splines, state.F, state.gain)
        censoring.restore(inputs.binned.movie, values, expected)


def update_traces(inputs: Inputs, state: Factorization) -> tuple[Factorization, NDArray]:
    """Temporal update: traces and neuropil, given footprints and gain.

    Args:
        inputs: data and settings.
        state: current factorization.

    Returns:
        The factorization with denoised traces of mean 0, and the noisy isolated traces (N, n) of the components.
    """
    _restore_censored(inputs, state)
    projections = _project(inputs, state)
    traces = temporal.solve_jointly(projections)
    isolated = traces.C
    if state.n_components:
        traces, _ = temporal.update_traces(
            projections, traces, order=1, decay_frames=inputs.decay_bins, sweeps=1, compute=inputs.compute
        )
        isolated = temporal.isolated_traces(projections, traces)
    centred = traces.C - traces.C.mean(axis=1, keepdims=True)
    return replace(state, C=centred, F=traces.F), isolated


def update_footprints(inputs: Inputs, state: Factorization) -> Factorization:
    """Spatial update: footprints and gain, given traces and neuropil.

    Args:
        inputs: data and settings.
        state: current factorization.

    Returns:
        The factorization with cleaned footprints, which may be empty. They grow by half a neuron half-width at most.
    """
    binned, half_width = inputs.binned, inputs.half_width_px
    _restore_censored(inputs, state)
    A, gain = spatial.regress_footprints(
        binned.movie, binned.mask, _active_footprints(state), state.C, inputs.neuropil, state.F, state.gain,
        background.expected_gain(binned, state.A, state.gain, half_width),
        grow_px=max(1, round(half_width / 2)), compute=inputs.compute,
    )  # fmt: skip
    return replace(state, A=spatial.clean_footprints(A, state.C, binned.scale, binned.shape, half_width), gain=gain)


def _active_footprints(state: Factorization) -> sp.csc_array:
    """Footprints (H*W, N), empty for components that explain less than `MIN_EXPLAINED_ENERGY`."""
    energy = np.asarray(state.A.astype(np.float64).power(2).sum(axis=0)).ravel() * (state.C**2).sum(axis=1)
    active = (energy >= MIN_EXPLAINED_ENERGY).astype(np.float32)
    A = sp.csc_array(state.A @ sp.diags_array(active), dtype=np.float32)
    A.eliminate_zeros()
    return A


def merge_components(inputs: Inputs, state: Factorization) -> Factorization:
    """Merges components that overlap and whose traces correlate.

    Args:
        inputs: data and settings.
        state: current factorization.

    Returns:
        The factorization with each merged component at the position of its first member; `parents` lists all members.
    """
    groups = merging.merge_groups(state.A, state.C, inputs.parameters.merge_threshold)
    A, C = merging.merge(state.A, state.C, groups)
    parents = tuple(tuple(sorted(p for j in group for p in state.parents[j])) for group in groups)
    return replace(state, A=A, C=C, parents=parents)
