"""Constrained non-negative matrix factorization of a movie, Y = A C + b f + noise.

Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037. :func:`fit` has these steps:

1. First pass over the movie: mean and noise of each pixel, and the binned movie in units of its noise
   (:mod:`.binned_movie`). Steps 2 to 5 work on it.
2. Background: splines of the neuropil, and their gain (:mod:`.background`).
3. Candidate detection in the residual (:mod:`.candidates`, :mod:`.detection`), or the user's seeds (:mod:`.seeds`).
4. Refinement: traces and neuropil jointly (:mod:`.temporal`), footprints (:mod:`.spatial`), merging (:mod:`.merging`),
   and selection (:mod:`.selection`).
5. Steps 3 and 4 again on the new residual, until no candidate is kept.
6. Second pass, at the full frame rate: traces, deconvolution, and the result (:mod:`.assembly`).

:func:`.refit.refit` updates an earlier result instead of steps 2 to 5.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction.assembly import assemble_components
from rsc2p_kedro.algorithms.extraction.candidates import detect_candidates
from rsc2p_kedro.algorithms.extraction.neuron_size import set_half_width
from rsc2p_kedro.algorithms.extraction.seeds import seed_footprints
from rsc2p_kedro.algorithms.extraction.selection import rejection_reasons
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs, prepare
from rsc2p_kedro.algorithms.extraction.updates import (
    initialize_background,
    merge_components,
    update_footprints,
    update_traces,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.core.results import Components

MAX_DETECTION_ROUNDS = 3
"""Maximum number of rounds of detection and refinement with `adaptive`: on simulated movies a fourth round detected
processes, not neurons. Other values are compared in docs/methods_extraction.md."""


@blocks.one_blas_thread()
def fit(
    movie: blocks.Movie,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
    seeds: NDArray | None = None,
    saturation_level: float | None = None,
) -> Components:
    """Finds the sources of a motion-corrected movie.

    Args:
        movie: (T, H, W), lazy or not, integers or floats, finite inside the mask.
        acquisition: frame rate, and decay time of the indicator.
        parameters: settings of the extraction.
        compute: resources of the machine; the result does not depend on them.
        valid_mask: (H, W), pixels to use. None uses all. No footprint has pixels outside.
        seeds: centres (n, 2) as (y, x) in px or masks (n, H, W), for `initialization: seeded`.
        saturation_level: value from which on the detector saturates: such values get no weight. None for never.

    Returns:
        Components with ids 0 ... N - 1; N is 0 where nothing exceeds the noise.

    Raises:
        ValueError: arrays do not fit together, the movie is too short or not finite, or seeds are missing, or given
            for another `initialization`.
    """
    if (seeds is not None) != (parameters.initialization == "seeded"):
        raise ValueError(
            f"Seeds should be given if, and only if, `initialization` is `seeded`; it is "
            f"`{parameters.initialization}`, and seeds are {'given' if seeds is not None else 'missing'}."
        )
    inputs = prepare(movie, acquisition, parameters, compute, valid_mask, saturation_level=saturation_level)
    inputs = set_half_width(inputs)
    state = initialize_background(inputs)
    state = _detect_components(inputs, state) if seeds is None else _refine(inputs, _add_seeds(inputs, state, seeds))
    return assemble_components(inputs, movie, state, np.arange(state.n_components))


def _detect_components(inputs: Inputs, state: Factorization) -> Factorization:
    """Rounds of detection in the residual and refinement, until no candidate is kept."""
    for _ in range(MAX_DETECTION_ROUNDS if inputs.parameters.initialization == "adaptive" else 1):
        more = detect_candidates(inputs, state)
        if more.n_components == state.n_components:
            break
        refined = _refine(inputs, merge_components(inputs, more))
        if refined.n_components <= state.n_components:
            break
        state = refined
    return _refine(inputs, state) if state.n_components else state


def _refine(inputs: Inputs, state: Factorization) -> Factorization:
    """Updates traces and footprints, merges and selects components; the user's seeds are not subject to selection."""
    state, _ = update_traces(inputs, state)
    state = update_footprints(inputs, state)
    state = state.select(np.flatnonzero(np.diff(state.A.indptr) > 0))
    state = merge_components(inputs, state)
    state, isolated_traces = update_traces(inputs, state)
    if inputs.parameters.initialization == "seeded":
        return state
    reasons = rejection_reasons(inputs, state, isolated_traces)
    return state.select(np.array([j for j, reason in enumerate(reasons) if not reason], int))


def _add_seeds(inputs: Inputs, state: Factorization, seeds: NDArray) -> Factorization:
    """The user's seeds as footprints, without traces."""
    masks = seed_footprints(seeds, inputs.binned.shape, inputs.half_width_px)
    n = masks.shape[1]
    parents = tuple((j,) for j in range(n))
    return replace(state, A=inputs.to_noise_units(masks), C=np.zeros((n, inputs.n_bins)), parents=parents)
