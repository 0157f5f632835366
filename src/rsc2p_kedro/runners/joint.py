"""Nodes over all recordings, which run over those recordings that have results."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from kedro.pipeline.node import Node

from rsc2p_kedro.runners.freshness import dataset_of

STATE = ".tracked_ids"
"""Ending of the names of datasets that nodes over several sessions write and nodes of each session read, without an
edge between them: see :mod:`rsc2p_kedro.pipelines.tracking.pipeline`."""
EARLY = "tracking"
"""Tag of nodes over several sessions that run before what reads such datasets."""


def sessions_of_fields(names: Iterable[str]) -> dict[str, list[str]]:
    """Finds fields of view that were recorded in several sessions: of an animal, or of one plane of it.

    Args:
        names: of recordings, or of their planes, in their order.

    Returns:
        Names by `animal`, or `animal.plane_k` of recordings with several planes; those with one session are left out.
    """
    fields: dict[str, list[str]] = {}
    for name in names:
        animal, _, *plane = name.split(".")
        fields.setdefault(".".join([animal, *plane]), []).append(name)
    return {field: of_field for field, of_field in fields.items() if len(of_field) > 1}


def split_at_state(nodes: Iterable[Node]) -> tuple[list[Node], list[Node]]:
    """Separates nodes that need what nodes over several sessions find.

    Args:
        nodes: nodes of recordings, in an order in which they can run.

    Returns:
        Nodes that run before it, and those that read it or follow from them.
    """
    before: list[Node] = []
    after: list[Node] = []
    made_after: set[str] = set()
    for node in nodes:
        waits = any(name.endswith(STATE) or name in made_after for name in map(dataset_of, node.inputs))
        (after if waits else before).append(node)
        made_after |= {dataset_of(name) for name in node.outputs} if waits else set()
    return before, after


@contextmanager
def dots_in_names() -> Iterator[None]:
    """Allows dots in the names of datasets of the nodes that are made in the block.

    Kedro reserves dots for namespaces, and a node over all recordings has inputs from the namespaces of all of them.

    Yields:
        Nothing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more dataset names contain '.'", category=UserWarning)
        yield


def by_field(nodes: Iterable[Node]) -> list[list[Node]]:
    """Nodes over the sessions of one field of view together, so that one that fails stops no other.

    Args:
        nodes: nodes over several recordings.

    Returns:
        Those that run early, by the sessions that they are over.
    """
    fields: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        if EARLY in node.tags:
            sessions = tuple(name for name in node.inputs if name.endswith(".field_of_view"))
            fields.setdefault(sessions, []).append(node)
    return list(fields.values())


def without_missing_inputs(node: Node, available: Callable[[str], bool]) -> Node | None:
    """Leaves out recordings that have no results yet.

    Args:
        node: a node over all recordings, whose function takes any number of them.
        available: tells whether a dataset can be loaded.

    Returns:
        The node with those inputs that are there; None if there are none, while the node has inputs that are made.
    """
    inputs = [name for name in node.inputs if name.startswith("params:") or available(name.partition("@")[0])]
    if len(inputs) == len(node.inputs):
        return node
    if not any("." in name and not name.startswith("params:") for name in inputs):
        return None
    with dots_in_names():
        return node._copy(inputs=inputs)
