"""Temporal update: traces and neuropil from what a movie projects on the footprints.

With the movie D in units of its noise (see :mod:`.noise`), A the footprints and B = gain phi the neuropil's (both in
the same units), all that the update needs are the projections U = A^T D (N, T) and V = B^T D (K, T), read in one
pass, and the Gram matrices A^T A, A^T B, B^T B. Then

- jointly, without constraint: solve [A^T A, A^T B; B^T A, B^T B] [C; F] = [U; V];
- with constraint: in turn for groups of components that do not overlap, the trace that is left when all others are
  taken out, z_j = C_j + (U - A^T A C - A^T B F)_j / (A^T A)_jj, is deconvolved (:mod:`..deconvolution.oasis`); then F
  given C.

Block coordinate descent as in Pnevmatikakis et al. 2016 (doi 10.1016/j.neuron.2015.11.037), Gram form as in Friedrich
et al. 2017 (doi 10.1371/journal.pcbi.1005685).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import splu

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.deconvolution import Deconvolution, deconvolve, estimate_noise
from rsc2p_kedro.algorithms.extraction.background import PRIOR_SD, Tiles
from rsc2p_kedro.core.parameters import Compute

_FRAMES_AT_ONCE = 64
_FRAMES_IN_CACHE = 8
_TRACES_AT_ONCE = 16
_LARGEST_DENSE = 2500


@dataclass(frozen=True, eq=False)
class Projections:
    """U (N, T), V (K, T) and the Gram matrices AA (N, N), AB (N, K), BB (K, K) (with the prior of the neuropil)."""

    U: NDArray[np.float64]
    V: NDArray[np.float64]
    AA: sp.csc_array
    AB: sp.csc_array
    BB: sp.csc_array


@dataclass(frozen=True, eq=False)
class Traces:
    """Traces C (N, T), with the mean that the data have, and neuropil F (K, T)."""

    C: NDArray[np.float64]
    F: NDArray[np.float64]


@njit(nogil=True, cache=True)
def _gather(frames, indptr, indices, data, out):
    """out[j, t] = sum over the pixels of column j of data * frames[t, pixel]."""
    for t in range(frames.shape[0]):
        for j in range(indptr.size - 1):
            total = 0.0
            for k in range(indptr[j], indptr[j + 1]):
                total += data[k] * frames[t, indices[k]]
            out[j, t] = total


def gather(frames: NDArray, footprints: sp.csc_array) -> NDArray[np.float64]:
    """Projections (N, n) of frames (n, pixels) on the columns of footprints (pixels, N); each frame on its own."""
    out = np.empty((footprints.shape[1], len(frames)))
    _gather(frames, footprints.indptr, footprints.indices, footprints.data, out)
    return out


def project(
    read: Callable[[slice], NDArray], n_frames: int, A: sp.csc_array, tiles: Tiles, gain: NDArray, compute: Compute
) -> Projections:
    """Projects a movie on footprints and neuropil, in one pass over it.

    Args:
        read: gives the frames (n, H, W) float32 of a span of time, in units of the noise; runs in many threads.
        n_frames: T.
        A: footprints (H*W, N) in units of the noise.
        tiles: splines of the neuropil.
        gain: (H, W) brightness of the neuropil in units of the noise, 0 outside the mask.
        compute: what the machine may use.
    """

    def work(span: slice) -> tuple[NDArray, NDArray]:
        frames = read(span)
        few = [frames[k : k + _FRAMES_IN_CACHE] for k in range(0, len(frames), _FRAMES_IN_CACHE)]
        local = [(gather(part.reshape(len(part), -1), A), tiles.project(part * gain)) for part in few]
        return np.concatenate([u for u, _ in local], axis=1), np.concatenate([v for _, v in local], axis=1)

    spans = blocks.frame_blocks(n_frames, _FRAMES_AT_ONCE)
    parts = blocks.run(work, spans, compute=compute, description="projecting", unit="frame", sizes=_lengths(spans))
    wide = sp.csc_array(A, dtype=np.float64)
    scaled = sp.csc_array(wide.multiply(gain.reshape(-1, 1)), dtype=np.float64)
    return Projections(
        np.concatenate([u for u, _ in parts], axis=1),
        np.concatenate([v for _, v in parts], axis=1).astype(np.float64),
        sp.csc_array(wide.T @ wide),
        sp.csc_array(scaled.T @ tiles.splines),
        sp.csc_array(tiles.gram(gain) + sp.eye_array(tiles.n) / PRIOR_SD**2),
    )


def _lengths(spans: list[slice]) -> list[int]:
    return [span.stop - span.start for span in spans]


def _solve(gram: sp.csc_array, right: NDArray) -> NDArray[np.float64]:
    """Solution of a positive definite system: dense Cholesky where it is small, sparse LU where it is large."""
    if gram.shape[0] <= _LARGEST_DENSE:
        return cho_solve(cho_factor(gram.toarray(), overwrite_a=True, check_finite=False), right, check_finite=False)
    return splu(gram, permc_spec="MMD_AT_PLUS_A").solve(right)


def solve_jointly(p: Projections) -> Traces:
    """Least squares for traces and neuropil at once, without constraint: unbiased, noisier where footprints overlap."""
    n = p.AA.shape[0]
    if n + p.BB.shape[0] == 0:
        return Traces(p.U, p.V)
    ridge = 1e-6 * sp.diags_array(p.AA.diagonal()) if n else p.AA
    gram = sp.block_array([[p.AA + ridge, p.AB], [p.AB.T, p.BB]], format="csc")
    solution = _solve(gram, np.concatenate([p.U, p.V]))
    return Traces(solution[:n], solution[n:])


def solve_neuropil(p: Projections, C: NDArray) -> NDArray[np.float64]:
    """Neuropil F (K, T) given the traces."""
    return _solve(p.BB, p.V - p.AB.T @ C) if p.BB.shape[0] else p.V


def alone(p: Projections, traces: Traces, group: NDArray | slice = slice(None)) -> NDArray[np.float64]:
    """Traces of a group of components when all other components and the neuropil are taken out of the movie."""
    rest = p.U[group] - p.AA[group] @ traces.C - p.AB[group] @ traces.F
    return traces.C[group] + rest / np.maximum(p.AA.diagonal()[group], 1e-12)[:, None]


def groups(AA: sp.csc_array, *, least: float = 0.02) -> list[NDArray[np.int64]]:
    """Indices of components in groups whose members do not overlap, the largest components first (greedy colouring).

    Overlap: cosine of two footprints above `least`.
    """
    norms = np.sqrt(np.maximum(AA.diagonal(), 1e-300))
    pairs = sp.coo_array(AA)
    near = pairs.data > least * norms[pairs.row] * norms[pairs.col]
    links = sp.csr_array((pairs.data[near], (pairs.row[near], pairs.col[near])), shape=AA.shape)
    colour = np.full(AA.shape[0], -1)
    for j in np.lexsort((np.arange(len(norms)), -norms)):
        taken = set(colour[links.indices[links.indptr[j] : links.indptr[j + 1]]].tolist())
        colour[j] = next(k for k in range(len(norms) + 1) if k not in taken)
    return [np.flatnonzero(colour == k) for k in range(colour.max(initial=-1) + 1)]


def deconvolve_all(traces: NDArray, compute: Compute, **options: object) -> Deconvolution:
    """:func:`deconvolve` of traces (N, T), a few at a time in parallel. Options that are arrays have a row a trace."""
    spans = blocks.frame_blocks(len(traces), _TRACES_AT_ONCE)

    def work(span: slice) -> Deconvolution:
        own = {k: v[span] if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return deconvolve(traces[span], **own)  # type: ignore[arg-type]

    parts = blocks.run(work, spans, compute=compute, description="deconvolution", unit="trace", sizes=_lengths(spans))
    fields = ("calcium", "spikes", "baseline", "noise", "g", "lam")
    return Deconvolution(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def update(
    p: Projections, traces: Traces, *, order: int, decay_frames: float, sweeps: int, compute: Compute
) -> tuple[Traces, Deconvolution]:
    """Block coordinate descent with deconvolution: traces (calcium and baseline), neuropil, last deconvolution."""
    N, T = traces.C.shape
    first = traces.C
    noise = estimate_noise(first) if N else np.empty(0)
    last = Deconvolution(np.zeros((N, T)), np.zeros((N, T)), np.zeros(N), noise, np.zeros((N, order)), np.zeros(N))
    C, F = first.copy(), traces.F
    for _ in range(sweeps if N else 0):
        for group in groups(p.AA):
            z = alone(p, Traces(C, F), group)
            part = deconvolve_all(z, compute, order=order, decay_frames=decay_frames, noise=estimate_noise(z))
            C[group] = part.calcium + part.baseline[:, None]
            for name in ("calcium", "spikes", "baseline", "noise", "g", "lam"):
                getattr(last, name)[group] = getattr(part, name)
        F = solve_neuropil(p, C)
    return Traces(C, F), last
