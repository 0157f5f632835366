"""Nodes over all recordings, which run over those recordings that have results."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kedro.pipeline.node import Node


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
