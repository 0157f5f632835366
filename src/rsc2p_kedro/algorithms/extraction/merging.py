"""Merging: components that overlap and are active together are one neuron that was detected twice, or in parts.

Two components are merged when their footprints share pixels and their traces correlate above the threshold. Chains of
such pairs become one component, whose footprint and trace are the best rank-1 approximation of the sum (Pnevmatikakis
et al. 2016, doi 10.1016/j.neuron.2015.11.037). The more two footprints overlap, the less correlation is required: the
errors of least squares are anticorrelated between overlapping components, so that a positive correlation in spite of
that is evidence for one neuron.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

SAME_PLACE = 0.8
"""Cosine similarity of two footprints above which they are merged irrespective of their traces, which least squares
cannot separate: the variance of the difference of two traces grows as 1 / (1 - cosine). Not tuned; other values are
compared in docs/methods_extraction.md."""
_RANK1_UPDATES = 10
"""Power iterations for the rank-1 approximation of merged components, whose sum is nearly of rank 1; not tuned."""


def _trace_correlations(C: NDArray, pairs: NDArray) -> NDArray[np.float64]:
    """Correlation of the traces (N, T) of each pair (k, 2); 0 for a constant trace."""
    centred = C - C.mean(axis=1, keepdims=True)
    norms = np.sqrt(np.einsum("nt,nt->n", centred, centred))
    products = np.einsum("kt,kt->k", centred[pairs[:, 0]], centred[pairs[:, 1]]) if len(pairs) else np.zeros(0)
    scale = norms[pairs[:, 0]] * norms[pairs[:, 1]]
    return np.where(scale > 0, products / np.where(scale > 0, scale, 1), 0)


def _overlapping_pairs(A: sp.csc_array) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs (k, 2) i < j of footprints that share pixels, and the cosine of each pair."""
    gram = sp.coo_array(A.T @ A)
    norms = np.sqrt(np.maximum(sp.csc_array(gram).diagonal(), 1e-300))
    above = (gram.row < gram.col) & (gram.data > 0)
    pairs = np.stack([gram.row[above], gram.col[above]], axis=1).astype(np.int64)
    return pairs, gram.data[above] / (norms[pairs[:, 0]] * norms[pairs[:, 1]])


def merge_groups(A: sp.csc_array, C: NDArray, threshold: float) -> list[list[int]]:
    """Groups of components that belong to one neuron.

    Args:
        A: footprints (H*W, N).
        C: traces (N, T).
        threshold: correlation of traces above which components that share pixels are merged; it is multiplied by
            1 - cosine of their footprints.

    Returns:
        Indices of the members of each group in ascending order, groups in the order of their first members. A
        component that is not merged is a group of one.
    """
    pairs, cosines = _overlapping_pairs(A)
    same = pairs[(cosines > SAME_PLACE) | (_trace_correlations(C, pairs) > threshold * (1 - cosines))]
    n = A.shape[1]
    links = sp.csr_array((np.ones(len(same)), (same[:, 0], same[:, 1])), shape=(n, n))
    _, labels = connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for j, label in enumerate(labels):
        groups.setdefault(int(label), []).append(j)
    return list(groups.values())


def merge(A: sp.csc_array, C: NDArray, groups: list[list[int]]) -> tuple[sp.csc_array, NDArray]:
    """Replaces each group of components by one.

    Args:
        A: footprints (H*W, N).
        C: traces (N, T).
        groups: see :func:`merge_groups`.

    Returns:
        Footprints CSC (H*W, M) and traces (M, T) of the M groups, in their order.
    """
    first = [group[0] for group in groups]
    traces = C[first]
    if len(groups) == A.shape[1]:
        return A, traces
    footprints = [A[:, [j]] for j in first]
    for k, group in enumerate(groups):
        if len(group) > 1:
            footprints[k], traces[k] = _rank1_approximation(A[:, group], C[group])
    return sp.csc_array(sp.hstack(footprints, format="csc")), traces


def _rank1_approximation(A: sp.csc_array, C: NDArray) -> tuple[sp.csc_array, NDArray]:
    """Footprint (H*W, 1) >= 0, with the largest norm in A, and trace (T,) whose product is nearest to A C."""
    AA, CC = (A.T @ A).toarray(), C @ C.T
    norm = np.sqrt(AA.diagonal().max())
    w = np.sqrt(AA.diagonal() * CC.diagonal())
    for _ in range(_RANK1_UPDATES):
        w = np.maximum(CC @ (AA @ w), 0)
        w /= np.linalg.norm(w) + 1e-300
    a = A @ w
    a *= norm / max(np.linalg.norm(a), 1e-300)
    c = (a @ A) @ C / max(a @ a, 1e-300)
    return sp.csc_array(a[:, None].astype(np.float32)), c
