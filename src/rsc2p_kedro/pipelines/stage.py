"""Construction of the nodes of one stage of one recording, with their full names and namespaces.

Kedro's modular pipelines copy every node at each level of the namespace. With thousands of recordings this takes
minutes at the start of each command, so nodes are made once, with their final names.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial, update_wrapper
from typing import Any

from kedro.pipeline import Node

from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.runners.joint import dots_in_names

Names = str | Sequence[str] | Mapping[str, str]

OF_SESSION = frozenset({"raw_frames", "frame_times", "nwb@pynwb", "nwb@inspection", "inspection_table"})
"""Datasets that all planes of a recording share: `animal.session.raw_frames`, whatever the plane."""

AFTER_EXPORT = frozenset({"reporting"})
"""Stages of a plane that need the NWB file of all planes: `animal.session.reporting.plane_k`."""


@dataclass(frozen=True)
class Stage:
    """Makes the nodes of one stage of one recording, or of one plane of it.

    Datasets are named within the recording (`movie` means `animal.session.movie`, of one of several planes
    `animal.session.plane_k.movie`), parameters as in `conf` (`params:evaluation`), and `params:recording` means the
    recording's entry in the manifest.

    Attributes:
        recording: the recording, whose name is the namespace of its datasets.
        name: name of the stage; its nodes have the namespace `animal.session.name`, or
            `animal.session.plane_k.name`.
        own: prefix of the datasets of this stage, `animal.session.own.dataset`. If empty, the datasets are those of the
            recording.
        shared: datasets of the recording that a stage with a prefix uses as well.
    """

    recording: Recording
    name: str
    own: str = ""
    shared: frozenset[str] = frozenset()

    def node(self, function: Callable, inputs: Names, outputs: Names) -> Node:
        """Makes a node, named after its function.

        Args:
            function: function that the node calls.
            inputs: names of datasets and parameters, in the order of the arguments or by their names.
            outputs: names of datasets.

        Returns:
            The node, with the namespace of the stage and the tags animal, session and stage (and plane, of several).
        """
        _keep_signature(function)
        return Node(
            function,
            inputs=self._full(inputs),
            outputs=self._full(outputs),
            name=function.__name__,
            namespace=self._namespace,
            tags=[self.recording.animal, self.recording.session_key, self.name.partition(".")[0], *self._plane_tag],
        )

    @property
    def _namespace(self) -> str:
        """Namespace of the nodes. Those of a plane that follow the export of all planes are in the session's, because
        Kedro refuses a namespace (`plane_1`) that is left (for the export) and entered again."""
        if self.recording.plane is not None and self.name in AFTER_EXPORT:
            return f"{self.recording.session_name}.{self.name}.plane_{self.recording.plane}"
        return f"{self.recording.name}.{self.name}"

    @property
    def _plane_tag(self) -> list[str]:
        return [] if self.recording.plane is None else [f"plane_{self.recording.plane}"]

    def optional(self, *names: str) -> dict[str, str]:
        """Selects the inputs for optional files that the recording has.

        Args:
            names: fields of the recording that contain the path of a file, which are also the names of the datasets.

        Returns:
            Inputs by name, for those files that the recording has.
        """
        return {name: name for name in names if getattr(self.recording, name) is not None}

    def structural(self, *names: str) -> dict[str, str]:
        """Selects inputs that exist only for recordings with a structural channel.

        Args:
            names: of datasets, which are also the names of the arguments.

        Returns:
            Inputs by name; none for a recording without a structural channel.
        """
        return {name: name for name in names if self.recording.has_structural_channel}

    def _full(self, names: Names) -> Any:
        if isinstance(names, str):
            return self._full_name(names)
        if isinstance(names, Mapping):
            return {argument: self._full_name(name) for argument, name in names.items()}
        return [self._full_name(name) for name in names]

    def _full_name(self, name: str) -> str:
        if name == "params:recording":
            return f"params:{'recordings' if self.recording.plane is None else 'units'}.{self.recording.name}"
        if name.startswith("params:"):
            return name
        if name in OF_SESSION:
            return f"{self.recording.session_name}.{name}"
        own = f"{self.own}." if self.own and name not in self.shared else ""
        return f"{self.recording.name}.{own}{name}"


def names_in_planes(recording: Recording, name: str) -> list[str]:
    """Names a dataset of each plane, for a stage that processes all planes together.

    Args:
        recording: the recording.
        name: of the dataset, such as `truth`.

    Returns:
        `plane_1.truth` and so on; `truth` alone for a recording of one plane.
    """
    return [name if unit.plane is None else f"plane_{unit.plane}.{name}" for unit in recording.units]


def node_of_all(
    function: Callable, inputs: Sequence[str], outputs: str | Sequence[str], stage: str, of: str = ""
) -> Node:
    """Makes a node over several recordings, which has no namespace.

    Args:
        function: function that the node calls; the node is named after it.
        inputs: full names of datasets, such as `animal_1.day_7.component_table`.
        outputs: name of the output, or names of several.
        stage: the stage it is tagged with.
        of: which recordings, if not all; ends the name of the node.

    Returns:
        The node.
    """
    with dots_in_names():
        made = outputs if isinstance(outputs, str) else list(outputs)
        name = "_of_".join([function.__name__, *([of.replace(".", "_")] if of else [])])
        return Node(function, inputs=list(inputs), outputs=made, name=name, tags=[stage])


@cache
def bind(function: Callable, *arguments: Any, like: Callable | None = None) -> Callable:
    """Binds the first arguments of a function, for a node.

    Args:
        function: a function of a module, so that the result can be sent to another process.
        *arguments: its first arguments.
        like: function whose name, documentation and type hints the result gets, as Kedro reads them. None takes those
            of `function`.

    Returns:
        The function of the remaining arguments; the same object for the same call.
    """
    bound: Any = update_wrapper(partial(function, *arguments), like or function)
    del bound.__wrapped__
    bound.__signature__ = inspect.signature(like or partial(function, *arguments))
    return bound


def _keep_signature(function: Any) -> None:
    """Stores the signature of a function as its attribute.

    Kedro reads it for each node, and Python would compute it each time: with thousands of recordings, this is a sixth
    of the time that it takes to register their pipelines.
    """
    if "__signature__" not in vars(function):
        function.__signature__ = inspect.signature(function)
