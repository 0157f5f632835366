"""Grouping of the components of all sessions at once into neurons, at most one component of each session in a neuron.

The grouping maximizes the sum, over all pairs of components in one neuron, of the logarithm of the odds that both are
the same neuron (correlation clustering). All sessions have a say: a neuron that is missing on one day is found again on
the next, and one odd outline does not break a neuron apart. Starting with the sessions in their order, the components
of one session at a time are assigned one to one to the neurons of all others by the Hungarian method, again and again
until nothing changes; then neurons without a common session are joined where the sum grows by it.
"""

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

LARGEST_LOG_ODDS = 6.0
"""Odds beyond 400 to 1 are not told apart: the model is not as exact as that. Pairs that are no neighbours have odds of
1 to 400. Chosen, not tuned."""
DECIDED = 1e4
"""Logarithm of the odds of pairs that the user has decided on."""
_MAX_SWEEPS = 20


def log_odds_matrix(
    n: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    probability: NDArray[np.float64],
    decisions: Iterable[tuple[int, int, bool]] = (),
) -> sp.csr_array:
    """Makes the symmetric matrix of log odds, above those of pairs that are no neighbours.

    Args:
        n: number of components N of all sessions.
        first: (M,), one component of each pair.
        second: (M,), the other.
        probability: (M,), that they are one neuron.
        decisions: pairs that the user has decided on, and whether they are one neuron.

    Returns:
        CSR (N, N); zero for pairs that are no neighbours, whose log odds are minus `LARGEST_LOG_ODDS`.
    """
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    values = np.clip(np.log(clipped / (1 - clipped)), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS) + LARGEST_LOG_ODDS
    decided = {(min(i, j), max(i, j)): (DECIDED if same else -DECIDED) for i, j, same in decisions}
    entries = {(int(i), int(j)): v for i, j, v in zip(first, second, values, strict=True)} | decided
    if not entries:
        return sp.csr_array((n, n), dtype=float)
    pairs = np.array(list(entries), dtype=np.int64)
    upper = sp.coo_array((np.array(list(entries.values())), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return sp.csr_array(upper + upper.T)


def cluster(odds: sp.csr_array, session_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups the components of all sessions into neurons.

    Args:
        odds: CSR (N, N) of :func:`log_odds_matrix`.
        session_of: (N,), session of each component, from 0.

    Returns:
        (N,), neuron of each component, numbered from 0 by their first components.
    """
    n = len(session_of)
    labels = np.full(n, -1, np.int64)
    sessions = [np.flatnonzero(session_of == s) for s in range(int(session_of.max(initial=-1)) + 1)]
    for _ in range(_MAX_SWEEPS):
        before = renumber(labels) if (labels >= 0).all() else None
        for members in sessions:
            labels[members] = -1
            labels[members] = _assign(odds[members], labels)
        labels = _join(odds, renumber(labels), session_of)
        if before is not None and (labels == before).all():
            break
    return labels


def renumber(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers neurons by their first components.

    Args:
        labels: (N,).

    Returns:
        (N,), the same groups numbered from 0.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _assign(odds: sp.csr_array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Assigns the components of one session one to one to the neurons of the others, or to new neurons."""
    n_clusters = int(labels.max(initial=-1)) + 1
    assigned = n_clusters + np.arange(odds.shape[0], dtype=np.int64)
    if n_clusters == 0:
        return assigned
    gain = _gains(odds, labels, n_clusters)
    rows, columns, values = gain.row[gain.data > 0], gain.col[gain.data > 0], gain.data[gain.data > 0]
    if not len(rows):
        return assigned
    graph = sp.coo_array((np.ones(len(rows)), (rows, odds.shape[0] + columns)), shape=(sum(gain.shape),) * 2)
    _, part = connected_components(graph, directed=False)
    order = np.argsort(part[rows], kind="stable")
    starts = np.flatnonzero(np.diff(part[rows][order], prepend=-1))
    for chosen in np.split(order, starts[1:]):
        own, i = np.unique(rows[chosen], return_inverse=True)
        other, j = np.unique(columns[chosen], return_inverse=True)
        matrix = np.zeros((len(own), len(other)))
        matrix[i, j] = values[chosen]
        a, b = linear_sum_assignment(matrix, maximize=True)
        good = matrix[a, b] > 0
        assigned[own[a[good]]] = other[b[good]]
    return assigned


def _gains(odds: sp.csr_array, labels: NDArray[np.int64], n_clusters: int) -> sp.coo_array:
    """Sum of log odds of each component with the members of each neuron that it has a neighbour in."""
    placed = np.flatnonzero(labels >= 0)
    members = sp.csr_array((np.ones(len(placed)), (placed, labels[placed])), shape=(len(labels), n_clusters))
    sizes = np.bincount(labels[placed], minlength=n_clusters)
    gain = sp.coo_array(odds @ members)
    return sp.coo_array((gain.data - LARGEST_LOG_ODDS * sizes[gain.col], (gain.row, gain.col)), shape=gain.shape)


def _join(odds: sp.csr_array, labels: NDArray[np.int64], session_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Joins neurons without a common session, the best first, as long as the sum of log odds grows."""
    labels = labels.copy()
    while True:
        n_clusters = int(labels.max(initial=-1)) + 1
        members = sp.csr_array(
            (np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), n_clusters)
        )
        sizes = np.bincount(labels, minlength=n_clusters)
        total = sp.coo_array(sp.triu(members.T @ odds @ members, k=1))
        gain = total.data - LARGEST_LOG_ODDS * sizes[total.row] * sizes[total.col]
        present = sp.csr_array(
            (np.ones(len(labels)), (labels, session_of)), shape=(n_clusters, int(session_of.max(initial=0)) + 1)
        )
        shared = np.asarray(present[total.row].multiply(present[total.col]).sum(axis=1)).ravel() if len(gain) else gain
        good = np.flatnonzero((gain > 0) & (shared == 0))
        if not len(good):
            return renumber(labels)
        used: set[int] = set()
        for k in good[np.argsort(-gain[good], kind="stable")]:
            a, b = int(total.row[k]), int(total.col[k])
            if a not in used and b not in used:
                labels[labels == b] = a
                used |= {a, b}
        labels = renumber(labels)
