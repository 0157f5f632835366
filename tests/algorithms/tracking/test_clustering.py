"""Components are grouped over all sessions at once, at most one of each session in a neuron."""

import itertools

import numpy as np
import pytest

from rsc2p_kedro.algorithms.tracking.clustering import LARGEST_LOG_ODDS, cluster, log_odds_matrix


def total(labels: np.ndarray, odds: np.ndarray) -> float:
    """Sum of log odds of all pairs in one neuron."""
    return sum(odds[i, j] for i, j in itertools.combinations(range(len(labels)), 2) if labels[i] == labels[j])


def partitions(session_of: list[int]) -> list[list[int]]:
    """All groupings with at most one component of each session in a group."""
    found: list[list[int]] = [[]]
    for k, session in enumerate(session_of):
        found = [
            [*labels, new]
            for labels in found
            for new in range(max(labels, default=-1) + 2)
            if all(labels[i] != new or session_of[i] != session for i in range(k))
        ]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_small_groupings_are_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    session_of = np.repeat([0, 1, 2], [3, 2, 3])
    first, second = np.array(
        [
            (i, j)
            for i, j in itertools.combinations(range(8), 2)
            if session_of[i] != session_of[j] and rng.random() < 0.7
        ]
    ).T
    probability = rng.random(len(first))
    odds = log_odds_matrix(8, first, second, probability).toarray() - LARGEST_LOG_ODDS
    best = max(total(np.array(labels), odds) for labels in partitions(session_of.tolist()))
    labels = cluster(log_odds_matrix(8, first, second, probability), session_of)
    assert total(labels, odds) >= best - 1.5, "a local optimum may be slightly worse"
    for s in range(3):
        assert len(set(labels[session_of == s])) == (session_of == s).sum()


def test_a_neuron_that_is_missing_on_one_day_is_found_on_the_next():
    session_of = np.array([0, 1, 2])  # 0 and 2 are one neuron, 1 is another beside it
    odds = log_odds_matrix(3, np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([0.05, 0.98, 0.05]))
    labels = cluster(odds, session_of)
    assert labels[0] == labels[2] != labels[1]


def test_one_doubtful_pair_does_not_break_a_neuron_apart():
    pairs = list(itertools.combinations(range(4), 2))
    probability = np.array([0.02 if pair == (0, 3) else 0.99 for pair in pairs])
    first, second = np.array(pairs).T
    assert len(set(cluster(log_odds_matrix(4, first, second, probability), np.arange(4)))) == 1


def test_the_better_of_two_candidates_gets_the_neuron():
    session_of = np.array([0, 1, 1])
    labels = cluster(log_odds_matrix(3, np.array([0, 0]), np.array([1, 2]), np.array([0.7, 0.9])), session_of)
    assert labels[0] == labels[2] != labels[1]
