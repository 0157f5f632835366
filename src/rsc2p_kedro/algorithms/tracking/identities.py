"""Ids of neurons that stay when sessions are added, and the user's decisions.

The id of a neuron is the session and the component in which it was first seen, `day_1#12`. A later session adds members
to it and ids of its own, and changes neither what was first seen in earlier sessions nor what it is called: ids need no
memory, and the same input gives the same ids. Where an earlier tracking table is given as `known`, a neuron keeps the
id that most of its components have there, even if the first of them is another one now.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def first_seen(session: str, component_id: int) -> str:
    """Id of a neuron by its first component.

    Args:
        session: name of the session.
        component_id: id of the component there.

    Returns:
        For example `day_1#12`.
    """
    return f"{session}#{component_id}"


def name_neurons(
    labels: NDArray[np.int64],
    session: Sequence[str],
    component_id: NDArray[np.int64],
    known: Mapping[tuple[str, int], str],
) -> NDArray[np.str_]:
    """Names neurons.

    Args:
        labels: (N,), neuron of each component; components are in the order of the sessions.
        session: (N,), session of each component.
        component_id: (N,), id of each component.
        known: id of the neuron by session and component, of an earlier table.

    Returns:
        (N,), id of the neuron of each component; each id is given to one neuron.
    """
    members: dict[int, list[tuple[str, int]]] = {}
    for label, key in zip(labels.tolist(), zip(session, component_id.tolist(), strict=True), strict=True):
        members.setdefault(label, []).append(key)
    votes = sorted(
        (-count, label, name)
        for label, keys in members.items()
        for name, count in Counter(known[key] for key in keys if key in known).items()
    )
    names: dict[int, str] = {}
    for _, label, name in votes:
        if label not in names and name not in names.values():
            names[label] = name
    taken = {*names.values()}
    for label, keys in members.items():
        own = [first_seen(*key) for key in keys]
        # An id in use means that a known neuron was split; then the next component names this part of it.
        names.setdefault(label, next((name for name in own if name not in taken), f"{own[0]}*"))
    return np.array([names[label] for label in labels.tolist()], dtype=np.str_)


def decided_pairs(
    decisions: Mapping[str, Sequence], session: Sequence[str], component_id: NDArray[np.int64]
) -> list[tuple[int, int, bool]]:
    """Finds the components that the user's decisions are about.

    Args:
        decisions: columns `session_a`, `component_a`, `session_b`, `component_b`, `decision` (`same` or `different`).
        session: (N,), session of each component that is tracked.
        component_id: (N,), its id.

    Returns:
        Positions of both components, and whether they are one neuron; with those that follow from others (if a and b
        are the same neuron, and b and c, so are a and c). Decisions on sessions that are not tracked are left out.

    Raises:
        ValueError: decisions contradict each other, or say of two components of one session that they are the same
            neuron, or name components that do not exist.
    """
    position = {key: k for k, key in enumerate(zip(session, component_id.tolist(), strict=True))}
    sessions, problems = set(session), []
    same: list[tuple[int, int]] = []
    different: list[tuple[int, int]] = []
    columns = ("session_a", "component_a", "session_b", "component_b", "decision")
    for row in zip(*(decisions.get(name, ()) for name in columns), strict=True):
        a, b, decision = (str(row[0]), int(row[1])), (str(row[2]), int(row[3])), row[4]
        if {a[0], b[0]} - sessions:
            continue
        problems += [f"there is no accepted component {key[1]} in {key[0]}" for key in (a, b) if key not in position]
        if a in position and b in position:
            (same if decision == "same" else different).append((position[a], position[b]))
    groups = _joined(same, len(position))
    owners = list(position)
    for group in groups:
        names = [owners[k][0] for k in group]
        problems += [f"two components of {n} are said to be one neuron" for n, c in Counter(names).items() if c > 1]
    in_group = {k: g for g, group in enumerate(groups) for k in group}
    apart = set()
    for i, j in different:
        if i in in_group and in_group[i] == in_group.get(j):
            problems.append(
                f"{first_seen(*owners[i])} and {first_seen(*owners[j])} are said to be the same and different"
            )
        apart |= {
            (min(p, q), max(p, q))
            for p in (groups[in_group[i]] if i in in_group else [i])
            for q in (groups[in_group[j]] if j in in_group else [j])
        }
    if problems:
        raise ValueError(f"The table of tracking decisions cannot be followed: {'; '.join(problems)}. Correct it.")
    together = [(p, q, True) for group in groups for k, p in enumerate(group) for q in group[k + 1 :]]
    return [*together, *((p, q, False) for p, q in sorted(apart))]


def _joined(pairs: Sequence[tuple[int, int]], n: int) -> list[list[int]]:
    """Groups of components that are connected by pairs, each sorted."""
    root = list(range(n))

    def find(k: int) -> int:
        while root[k] != k:
            k = root[k]
        return k

    for i, j in pairs:
        a, b = sorted((find(i), find(j)))
        root[b] = a
    groups: dict[int, list[int]] = {}
    for k in sorted({k for pair in pairs for k in pair}):
        groups.setdefault(find(k), []).append(k)
    return list(groups.values())
