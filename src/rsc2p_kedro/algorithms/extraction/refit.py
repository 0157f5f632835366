"""Refit: updates an earlier result on the whole movie and keeps its ids; adds neurons that stay silent."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction.assembly import assemble_components
from rsc2p_kedro.algorithms.extraction.neuron_size import set_half_width
from rsc2p_kedro.algorithms.extraction.selection import rejection_reasons
from rsc2p_kedro.algorithms.extraction.silent import add_silent_neurons
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs, prepare
from rsc2p_kedro.algorithms.extraction.updates import (
    initialize_background,
    merge_components,
    update_footprints,
    update_traces,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.core.results import Components, LineageEntry

Float = NDArray[np.float32]
SAME_NEURON = 0.7
"""Cosine of a neuron's outline in the mean image and its footprint by regression above which they are the same. Chosen,
not tuned."""


@blocks.one_blas_thread()
def refit(
    movie: blocks.Movie,
    components: Components,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
    saturation_level: float | None = None,
) -> Components:
    """Updates the components of an earlier result on the whole movie: traces, merging, footprints, selection, merging.

    Args:
        movie: (T, H, W), lazy or not, integers or floats, finite inside the mask.
        components: the earlier result, all of it or a selection.
        acquisition: frame rate, and decay time of the indicator.
        parameters: settings of the extraction.
        compute: resources of the machine; the result does not depend on them.
        valid_mask: (H, W), pixels to use. None uses all. No footprint has pixels outside.
        saturation_level: value from which on the detector saturates: such values get no weight. None for never.

    Returns:
        Components whose lineage has an entry for each earlier component and each of the result. A component that is
        kept has its earlier id, a merged one that of its first parent. With `find_silent`, neurons found by their shape
        in the mean image follow, marked as silent unless they turn out to be active; silent ones of the earlier result
        are replaced.

    Raises:
        ValueError: components and movie have frames of different shape, arrays do not fit together, or the movie is too
            short or not finite.
    """
    if components.shape != tuple(movie.shape[1:]):
        raise ValueError(
            f"The frames of the components have shape {components.shape}, those of the movie {tuple(movie.shape[1:])}. "
            "Refit components on the movie that they were extracted from."
        )
    components = components.select(~components.is_silent)  # they are searched again
    inputs = prepare(
        movie,
        acquisition,
        parameters,
        compute,
        valid_mask,
        components.pixel_noise,
        saturation_level=saturation_level,
    )
    known = components.neuron_half_width_px
    inputs = set_half_width(inputs) if known is None else inputs.with_half_width(known)
    reasons: dict[int, str] = {}
    state = _initialize(inputs, components)
    state = _remove_empty(state, "no pixel inside the valid mask", reasons)
    state, _ = update_traces(inputs, state)
    state = merge_components(inputs, state)  # before the spatial update, in which duplicates would compete for pixels
    state = update_footprints(inputs, state)
    state = _remove_empty(state, "footprint is empty after the spatial update", reasons)
    state, isolated_traces = update_traces(inputs, state)
    state = _remove(state, rejection_reasons(inputs, state, isolated_traces, passed_before=True), reasons)
    state = merge_components(inputs, state)
    ids = np.array([components.ids[parents[0]] for parents in state.parents], np.int64)
    lineage = _lineage(components.ids, state, reasons)
    if not parameters.find_silent:
        return replace(assemble_components(inputs, movie, state, ids), lineage=lineage)
    state, silent = _wake(inputs, add_silent_neurons(inputs, state), len(ids))
    new = components.ids.max(initial=-1) + 1 + np.arange(state.n_components - len(ids))
    result = assemble_components(inputs, movie, state, np.concatenate([ids, new]))
    lineage += tuple(
        LineageEntry(int(k), "new", (), "found by its shape in the mean image" + ("" if is_silent else ", and active"))
        for k, is_silent in zip(new, silent[len(ids) :], strict=True)
    )
    return replace(result, lineage=lineage, silent=silent)


def _wake(inputs: Inputs, state: Factorization, n_known: int) -> tuple[Factorization, NDArray[np.bool_]]:
    """Regresses the footprints of neurons that were found by their shape but turn out to be active.

    Active means that the trace under the outline passes the selection of a first fit, and that the footprint regressed
    on this trace is the same neuron.

    Args:
        inputs: data and settings.
        state: the factorization, with neurons found by their shape, without traces, after the first `n_known`.
        n_known: number of components found by their activity.

    Returns:
        The factorization, and which of its components (N,) are silent.
    """
    silent = np.arange(state.n_components) >= n_known
    state, isolated_traces = update_traces(inputs, state)
    reasons = rejection_reasons(inputs, state, isolated_traces)
    active = [j for j in range(n_known, state.n_components) if not reasons[j]]
    if not active:
        return state, silent
    regressed = update_footprints(inputs, state.select(np.r_[:n_known, active])).A[:, n_known:]
    norms = sp.linalg.norm(regressed, axis=0) * sp.linalg.norm(state.A[:, active], axis=0)
    cosines = np.asarray(regressed.multiply(state.A[:, active]).sum(axis=0)).ravel() / np.maximum(norms, 1e-30)
    columns = [state.A[:, [j]] for j in range(state.n_components)]
    for k, j in enumerate(active):
        if cosines[k] >= SAME_NEURON:
            columns[j], silent[j] = regressed[:, [k]], False
    return replace(state, A=sp.csc_array(sp.hstack(columns, format="csc"), dtype=np.float32)), silent


def _initialize(inputs: Inputs, components: Components) -> Factorization:
    """The earlier footprints and gain, without traces.

    Footprints are of about unit norm, as in a first fit, whatever the unit of the pixels: they are multiplied by one
    power of two, so that nothing is rounded.
    """
    A = inputs.to_noise_units(components.footprints)
    norms = np.asarray(sp.linalg.norm(A, axis=0), np.float64)
    _, exponent = np.frexp(np.median(norms[norms > 0])) if norms.any() else (1, 0)
    A.data = np.ldexp(A.data, -exponent)
    C, F = np.zeros((A.shape[1], inputs.n_bins)), np.zeros((inputs.neuropil.n_splines, inputs.n_bins))
    return Factorization(A, C, F, _earlier_gain(inputs, components), tuple((j,) for j in range(A.shape[1])))


def _earlier_gain(inputs: Inputs, components: Components) -> Float:
    """Gain (H, W) of the neuropil in an earlier result: the sum of its footprints, as the splines sum to 1."""
    footprints, binned = components.background_footprints[:, 1 : components.n_fitted_background], inputs.binned
    n_splines = inputs.neuropil.n_splines
    if n_splines == 0 or footprints.shape[1] != n_splines:  # fitted with other parameters
        return initialize_background(inputs).gain
    brightness = np.asarray(footprints.sum(axis=1), np.float32).reshape(binned.shape)
    return np.where(binned.mask, brightness / binned.scale, 0).astype(np.float32)


def _remove(state: Factorization, rejections: Sequence[str], reasons: dict[int, str]) -> Factorization:
    """Removes components that have a reason for rejection; records it for each of their parents."""
    for parents, reason in zip(state.parents, rejections, strict=True):
        if reason:
            reasons.update(dict.fromkeys(parents, reason))
    return state.select(np.array([j for j, reason in enumerate(rejections) if not reason], int))


def _remove_empty(state: Factorization, reason: str, reasons: dict[int, str]) -> Factorization:
    return _remove(state, ["" if n else reason for n in np.diff(state.A.indptr)], reasons)


def _lineage(ids: NDArray, state: Factorization, reasons: dict[int, str]) -> tuple[LineageEntry, ...]:
    """One entry for each component of the result, and one for each earlier one that is not in it under its own id."""
    entries = []
    for parents in state.parents:
        new_id, earlier = int(ids[parents[0]]), tuple(int(ids[j]) for j in parents)
        if len(parents) == 1:
            entries.append(LineageEntry(new_id, "kept", earlier, "passes all criteria after the update"))
            continue
        entries.append(LineageEntry(new_id, "merged", earlier, "overlapping footprints and correlated traces"))
        entries += [LineageEntry(k, "removed", (k,), f"merged into {new_id}") for k in earlier[1:]]
    entries += [LineageEntry(int(ids[j]), "removed", (int(ids[j]),), reason) for j, reason in sorted(reasons.items())]
    return tuple(entries)
