"""Temporal update: traces and neuropil from the projections of a movie on the footprints.

With the movie D in units of its noise (see :mod:`.binned_movie`), A the footprints and B = gain phi those of the
neuropil (both in the same units), the update needs only the projections U = A^T D (N, T) and V = B^T D (K, T), computed
in one pass, and the Gram matrices A^T A, A^T B, B^T B. Then

- jointly, without constraints: solve [A^T A, A^T B; B^T A, B^T B] [C; F] = [U; V];
- with constraints: in turn for groups of components that do not overlap, the isolated trace, with all others removed,
  z_j = C_j + (U - A^T A C - A^T B F)_j / (A^T A)_jj, is deconvolved (:mod:`..deconvolution.oasis`); then F given C.

Block coordinate descent as in Pnevmatikakis et al. 2016 (doi 10.1016/j.neuron.2015.11.037), Gram form as in Friedrich
et al. 2017 (doi 10.1371/journal.pcbi.1005685).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import splu

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.deconvolution import Deconvolution, deconvolve, estimate_noise
from rsc2p_kedro.algorithms.extraction.background import NeuropilBasis
from rsc2p_kedro.core.parameters import Compute

NEUROPIL_PRIOR_SD = 0.3
"""Prior sd of the time course of a spline, as a fraction of the resting fluorescence. It determines the time courses of
splines with few valid pixels, and hardly affects the others. Not tuned; other values are compared in
docs/methods_extraction.md."""
NEUROPIL_STEP_SD = 0.2
"""Prior sd of the difference between the time courses of neighbouring splines, as a fraction of the resting
fluorescence. It ties splines that few pixels determine, at the edges of the frame, to their neighbours. On four
simulated tissues it left a tenth fewer components that are no somata, at the same recall; 0.1 and 0.04 did the same,
but explained less of strong neuropil in smooth movies."""
MIN_OVERLAP = 0.02
"""Cosine of two footprints above which their components are not deconvolved at the same time. Not tuned; other values
are compared in docs/methods_extraction.md."""
_RIDGE = 1e-6
"""Fraction of the diagonal of A^T A that is added to it, which keeps it regular where two footprints are the same."""
_FRAMES_PER_TASK = 64
"""Frames that are read at once: the length of a stored chunk."""
_FRAMES_IN_CACHE = 8
"""Frames that are projected at once, so that they stay in the CPU's cache. Changes the last bits of results only."""
_TRACES_PER_TASK = 16
"""Traces that are deconvolved in one task; changes no result."""
_MAX_DENSE = 2500
"""Equations up to which the dense solver is used; the sparse one needs less memory (here 50 MB). Not tuned."""


@dataclass(frozen=True, eq=False)
class Projections:
    """Projections of a movie on N footprints and K splines of the neuropil, and their Gram matrices.

    Attributes:
        U: (N, T), A^T D.
        V: (K, T), B^T D.
        AA: (N, N), A^T A.
        AB: (N, K), A^T B.
        BB: (K, K), B^T B plus the prior of the neuropil.
    """

    U: NDArray[np.float64]
    V: NDArray[np.float64]
    AA: sp.csc_array
    AB: sp.csc_array
    BB: sp.csc_array


@dataclass(frozen=True, eq=False)
class Traces:
    """Time courses of components and neuropil.

    Attributes:
        C: (N, T), traces of the components; their mean is that of the data.
        F: (K, T), time courses of the splines of the neuropil.
    """

    C: NDArray[np.float64]
    F: NDArray[np.float64]


@njit(nogil=True, cache=True)
def _project_frames(frames, indptr, indices, data):
    """Projections (N, n) of frames (n, pixels) on footprints in CSC form; each frame on its own, in float64."""
    out = np.empty((indptr.size - 1, frames.shape[0]))
    for t in range(frames.shape[0]):
        for j in range(indptr.size - 1):
            total = 0.0
            for k in range(indptr[j], indptr[j + 1]):
                total += data[k] * frames[t, indices[k]]
            out[j, t] = total
    return out


def project_movie(
    read: Callable[[slice], NDArray],
    n_frames: int,
    A: sp.csc_array,
    neuropil: NeuropilBasis,
    gain: NDArray,
    compute: Compute,
) -> Projections:
    """Projects a movie on footprints and neuropil, in one pass over it.

    Args:
        read: returns the frames (n, H, W) float32 of a span of time, in units of the noise; runs in many threads.
        n_frames: T.
        A: footprints (H*W, N) in units of the noise.
        neuropil: splines of the neuropil.
        gain: (H, W), brightness of the neuropil in units of the noise, 0 outside the mask.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        Projections and Gram matrices, float64.
    """

    def project(span: slice) -> tuple[NDArray, NDArray]:
        frames = read(span)
        on_footprints, on_splines = [], []
        for k in range(0, len(frames), _FRAMES_IN_CACHE):
            part = frames[k : k + _FRAMES_IN_CACHE]
            on_footprints.append(_project_frames(part.reshape(len(part), -1), A.indptr, A.indices, A.data))
            on_splines.append(neuropil.project(part * gain))
        return np.concatenate(on_footprints, axis=1), np.concatenate(on_splines, axis=1)

    spans = blocks.frame_blocks(n_frames, _FRAMES_PER_TASK)
    sizes = [span.stop - span.start for span in spans]
    parts = blocks.run(project, spans, compute=compute, description="projecting", unit="frame", sizes=sizes)
    wide = sp.csc_array(A, dtype=np.float64)
    scaled = sp.csc_array(wide.multiply(gain.reshape(-1, 1)), dtype=np.float64)
    return Projections(
        U=np.concatenate([u for u, _ in parts], axis=1),
        V=np.concatenate([v for _, v in parts], axis=1).astype(np.float64),
        AA=sp.csc_array(wide.T @ wide),
        AB=sp.csc_array(scaled.T @ neuropil.splines),
        BB=sp.csc_array(neuropil.gram(gain) + _neuropil_prior(neuropil)),
    )


def _neuropil_prior(neuropil: NeuropilBasis) -> sp.csc_array:
    """Precision (K, K) of the prior of the neuropil's time courses: near 0, and near those of neighbouring splines."""
    ridge = sp.eye_array(neuropil.n_splines) / NEUROPIL_PRIOR_SD**2
    return sp.csc_array(ridge + neuropil.roughness() / NEUROPIL_STEP_SD**2)


def _solve(gram: sp.csc_array, right: NDArray) -> NDArray[np.float64]:
    """Solution of a positive definite system: dense Cholesky where it is small, sparse LU where it is large."""
    if gram.shape[0] <= _MAX_DENSE:
        return cho_solve(cho_factor(gram.toarray(), overwrite_a=True, check_finite=False), right, check_finite=False)
    return splu(gram, permc_spec="MMD_AT_PLUS_A").solve(right)


def solve_jointly(p: Projections) -> Traces:
    """Traces and neuropil at once, by least squares without constraints.

    Unbiased, and noisier where footprints overlap.

    Args:
        p: projections of the movie.

    Returns:
        Traces (N, T), which may be negative, and neuropil (K, T).
    """
    n = p.AA.shape[0]
    if n + p.BB.shape[0] == 0:
        return Traces(p.U, p.V)
    ridge = _RIDGE * sp.diags_array(p.AA.diagonal()) if n else p.AA
    gram = sp.block_array([[p.AA + ridge, p.AB], [p.AB.T, p.BB]], format="csc")
    solution = _solve(gram, np.concatenate([p.U, p.V]))
    return Traces(solution[:n], solution[n:])


def solve_neuropil(p: Projections, C: NDArray) -> NDArray[np.float64]:
    """Neuropil given the traces, by least squares.

    Args:
        p: projections of the movie.
        C: traces (N, T).

    Returns:
        F (K, T).
    """
    return _solve(p.BB, p.V - p.AB.T @ C) if p.BB.shape[0] else p.V


def isolated_traces(p: Projections, traces: Traces, group: NDArray | slice = slice(None)) -> NDArray[np.float64]:
    """Noisy traces of components with all other components and the neuropil removed from the movie.

    Args:
        p: projections of the movie.
        traces: current traces and neuropil.
        group: indices of the components.

    Returns:
        (n, T) for the n components of the group.
    """
    rest = p.U[group] - p.AA[group] @ traces.C - p.AB[group] @ traces.F
    energy = p.AA.diagonal()[group]
    return traces.C[group] + rest / np.where(energy > 0, energy, 1)[:, None]


def _non_overlapping_groups(AA: sp.csc_array) -> list[NDArray[np.int64]]:
    """Groups of components that can be updated at the same time, no two of them with a cosine above `MIN_OVERLAP`.

    Greedy colouring of the Gram matrix AA (N, N) of the footprints, the largest components first.
    """
    norms = np.sqrt(np.maximum(AA.diagonal(), 1e-300))
    pairs = sp.coo_array(AA)
    near = pairs.data > MIN_OVERLAP * norms[pairs.row] * norms[pairs.col]
    links = sp.csr_array((pairs.data[near], (pairs.row[near], pairs.col[near])), shape=AA.shape)
    colour = np.full(AA.shape[0], -1)
    for j in np.lexsort((np.arange(len(norms)), -norms)):
        taken = set(colour[links.indices[links.indptr[j] : links.indptr[j + 1]]].tolist())
        colour[j] = next(k for k in range(len(norms) + 1) if k not in taken)
    return [np.flatnonzero(colour == k) for k in range(colour.max(initial=-1) + 1)]


def _deconvolve_in_parallel(traces: NDArray, order: int, decay_frames: float, compute: Compute) -> Deconvolution:
    """:func:`deconvolve` of traces (N, T), a few at a time."""
    noise = estimate_noise(traces)

    def deconvolve_some(span: slice) -> Deconvolution:
        return deconvolve(traces[span], order=order, decay_frames=decay_frames, noise=noise[span])

    spans = blocks.frame_blocks(len(traces), _TRACES_PER_TASK)
    sizes = [span.stop - span.start for span in spans]
    parts = blocks.run(deconvolve_some, spans, compute=compute, description="deconvolution", unit="trace", sizes=sizes)
    names = [field.name for field in fields(Deconvolution)]
    return Deconvolution(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def update_traces(
    p: Projections, traces: Traces, *, order: int, decay_frames: float, sweeps: int, compute: Compute
) -> tuple[Traces, Deconvolution]:
    """Block coordinate descent with deconvolution.

    Args:
        p: projections of the movie.
        traces: current traces and neuropil.
        order: order of the autoregressive model of calcium, 1 or 2.
        decay_frames: decay time of the indicator in frames (or bins).
        sweeps: number of times that all components are updated.
        compute: resources of the machine; the result does not depend on them.

    Returns:
        Traces (deconvolved calcium plus baseline) and neuropil, and the deconvolution of the last sweep.
    """
    N, T = traces.C.shape
    noise = estimate_noise(traces.C) if N else np.empty(0)
    last = Deconvolution(np.zeros((N, T)), np.zeros((N, T)), np.zeros(N), noise, np.zeros((N, order)), np.zeros(N))
    C, F = traces.C.copy(), traces.F
    for _ in range(sweeps if N else 0):
        for group in _non_overlapping_groups(p.AA):
            part = _deconvolve_in_parallel(isolated_traces(p, Traces(C, F), group), order, decay_frames, compute)
            C[group] = part.calcium + part.baseline[:, None]
            for field in fields(Deconvolution):
                getattr(last, field.name)[group] = getattr(part, field.name)
        F = solve_neuropil(p, C)
    return Traces(C, F), last
