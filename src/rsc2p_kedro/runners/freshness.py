"""Which results are fresh: what each node would be made of now, compared with what its stored outputs were made of.

What a result is made of is computed from raw data, parameters and versions alone, along the whole pipeline. A result is
fresh if its record holds the same fingerprint. So results that were made from one another are all fresh or all stale.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from pydantic import BaseModel

from rsc2p_kedro.core.commands import command
from rsc2p_kedro.core.fingerprints import Making, flat_fields, uses_field
from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings
from rsc2p_kedro.core.provenance import content_identity
from rsc2p_kedro.core.versions import STAGE_VERSIONS
from rsc2p_kedro.datasets.made import describe_files, read_record
from rsc2p_kedro.datasets.raw import Layout
from rsc2p_kedro.datasets.raw.selection import as_patterns
from rsc2p_kedro.manifest.checks import CHECKED_PARAMETERS
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.runners.places import Place, Places

Status = Literal["fresh", "missing", "stale"]

MACHINE = ("compute", "caiman")
"""Parameters of the machine, which change no result."""

ENTRIES = ("params:recordings.", "params:units.")
"""Beginnings of the names of parameters that are entries of the manifest: of a recording, or of one of its planes."""

NOT_FACTS = {"animal", "session_key", "plane", "parameters"}
"""Fields of a recording that are no facts: its name, and the parameters that override others."""


@dataclass(frozen=True)
class NodeState:
    """Whether the outputs of a node are fresh.

    Attributes:
        status: `fresh`, `missing` (some output is not there), or `stale`.
        reasons: what has changed since it was made; empty if only results have changed that it was made of.
        made_at: when the outputs were made, in ISO 8601; empty if that is not known.
    """

    status: Status
    reasons: tuple[str, ...] = ()
    made_at: str = ""


def recording_of(node: Node) -> str | None:
    """Finds the recording that a node belongs to.

    Args:
        node: the node.

    Returns:
        Its name `animal.session`; None for nodes over all recordings.
    """
    return None if node.namespace is None else ".".join(node.namespace.split(".")[:2])


def by_recording(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """Sorts nodes by recording.

    Args:
        nodes: nodes of several recordings; those without a namespace are left out.

    Returns:
        Nodes of each recording by its name, in the order of their first nodes.
    """
    found: dict[str, list[Node]] = {}
    for node in nodes:
        name = recording_of(node)
        if name is not None:
            found.setdefault(name, []).append(node)
    return found


def stage_of(node: Node) -> str:
    """Finds the stage that a node belongs to.

    Args:
        node: the node.

    Returns:
        The stage; the name of the node for nodes of other pipelines.
    """
    parts = (node.namespace or "").split(".")
    return next((part for part in parts if part in STAGE_VERSIONS), node.short_name)


def _stage_number(node: Node) -> int:
    """Position of the stage of a node. Kedro's order is breadth-first and mixes the stages."""
    return len(_STAGES) if node.namespace is None else _STAGES.get(stage_of(node), 0)


_STAGES = {name: number for number, name in enumerate(STAGE_VERSIONS)}


def dataset_of(name: str) -> str:
    """Name of a dataset without the way it is loaded.

    Args:
        name: the name, such as `nwb@pynwb`.

    Returns:
        The part before the sign.
    """
    return name.partition("@")[0]


_NAMED_STAGES = ("export", "reporting")
"""Stages whose results show the name of the recording, so that a renamed recording has new ones. All other results are
the same under any name."""


class Freshness:
    """Tells whether results are fresh, for one catalog and one set of parameters.

    What raw data and parameters are is read once; what is stored is read anew each time, as the run changes it.
    """

    def __init__(self, nodes: Iterable[Node], catalog: CatalogProtocol) -> None:
        """Finds the node that makes each dataset.

        Args:
            nodes: all nodes of the project, in an order in which they can run.
            catalog: catalog of the run.
        """
        self.nodes = {node.name: node for node in sorted(nodes, key=_stage_number)}
        self.order = {name: index for index, name in enumerate(self.nodes)}
        self.producers = {dataset_of(name): node for node in self.nodes.values() for name in node.outputs}
        self.consumed = {dataset_of(name) for node in self.nodes.values() if node.namespace for name in node.inputs}
        self.places = Places(catalog)
        self._entries: dict[str, list[str]] = {}
        for name in self.consumed:
            if name.startswith(ENTRIES):
                group = name.removeprefix("params:")
                self._entries.setdefault(".".join(group.split(".")[1:3]), []).append(group)
        self._catalog: Any = catalog
        self._makings: dict[str, Making] = {}
        self._files: dict[str, Any] = {}
        self._models: dict[tuple[str, str], tuple[Any, Any]] = {}

    def state(self, node: Node) -> NodeState:
        """Compares the stored outputs of a node with what they would be made of now.

        Args:
            node: the node.

        Returns:
            Its state. Nodes whose outputs are in memory are fresh if other nodes of the recording use them (what counts
            is whether the outputs of those are fresh), and missing otherwise.
        """
        stored = [(place, place.current()) for name in node.outputs if (place := self.places[name]) is not None]
        if not stored:
            used = [dataset_of(name) in self.consumed for name in node.outputs]
            return NodeState("fresh" if used and all(used) else "missing")
        if any(path is None for _, path in stored):
            return NodeState("missing")
        making = self.making(node)
        states = [self._compare(making, path, place.versioned) for place, path in stored if path is not None]
        return next((state for state in states if state.status != "fresh"), states[0])

    def _compare(self, making: Making, path: Path, versioned: bool) -> NodeState:
        record = read_record(path)
        if record is None:
            return NodeState("stale", ("not known what it was made of",))
        if record.making.fingerprint != making.fingerprint:
            return NodeState("stale", tuple(making.changes_since(record.making)), record.made_at)
        if record.files is not None and record.files != describe_files(path):
            return NodeState("stale", (f"{path.name} was changed by hand",), record.made_at)
        return NodeState("fresh", (), record.made_at)

    def making(self, node: Node) -> Making:
        """What the outputs of a node would be made of now.

        Args:
            node: the node.

        Returns:
            Function, version, parameters and inputs. Nodes over all recordings are made of what is stored, because
            they show recordings as they are, stale or not.
        """
        if node.name in self._makings:
            return self._makings[node.name]
        datasets = [dataset_of(name) for name in node.inputs if not name.startswith("params:")]
        joint, own = node.namespace is None, recording_of(node)
        inputs = {
            name.removeprefix(f"{own}."): self._stored_fingerprint(name) if joint else self._fingerprint(name)
            for name in datasets
        }
        named = {"recording.name": own} if own and stage_of(node) in _NAMED_STAGES else {}
        making = Making(
            _label(node.func, self._caiman_version),
            STAGE_VERSIONS.get(_stage_of_function(node.func), 0),
            dict(sorted((self._parameters(node) | named).items())),
            {name: value for name, value in sorted(inputs.items()) if value is not None},
        )
        if not joint:
            self._makings[node.name] = making
        return making

    def forget(self, recording: str) -> None:
        """Forgets what was read of a recording, so that memory does not grow with their number.

        Args:
            recording: its name.
        """
        for known in (self._makings, self._files, self.places.found):
            for name in [name for name in known if name.startswith(f"{recording}.")]:
                del known[name]
        own = (f"recordings.{recording}", f"units.{recording}.")
        for key in [key for key in self._models if any(group.startswith(own) for group in key)]:
            del self._models[key]

    def _fingerprint(self, dataset: str) -> Any:
        """Fingerprint that a dataset would have now, or the description of files of the user."""
        producer = self.producers.get(dataset)
        if producer is not None:
            return self.making(producer).fingerprint
        if dataset not in self._files:
            place = self.places[dataset]
            if place is None:
                self._files[dataset] = _identity_in_memory(self._catalog.get(dataset))
            else:
                self._files[dataset] = self._describe_files(dataset, place)
        return self._files[dataset]

    def _describe_files(self, dataset: str, place: Place) -> dict[str, Any]:
        """Files of the user, and the entries of the catalog that decide what is loaded of them."""
        files, exclude = (as_patterns(place.options.get(name)) for name in ("files", "exclude"))
        compute = self._model("compute") if "params:compute" in self.consumed else None
        described = describe_files(
            place.path,
            layout=Layout(files=files, exclude=exclude),
            ignored=self._other_files(dataset),
            by_content=compute is not None and compute.hash_raw_files,
        )
        return {**described, **({"options": dict(place.options)} if place.options else {})}

    def _other_files(self, dataset: str) -> set[Path]:
        """Files of the recording that are inputs by themselves (curation, seeds), and may lie beside the raw data."""
        entries = self._entries.get(".".join(dataset.split(".")[:2]), ())
        values = [dict(self._model(entry)) for entry in entries]
        return {
            value for of_one in values for name, value in of_one.items() if isinstance(value, Path) and name != "path"
        }

    def _stored_fingerprint(self, dataset: str) -> str | None:
        """Fingerprint of what is stored; None if nothing is."""
        place = self.places[dataset]
        if place is None:
            return self._fingerprint(dataset) if self.available(dataset) else None
        path = place.current()
        if path is None:
            return None
        record = read_record(path)
        return "unknown" if record is None else record.making.fingerprint

    def available(self, dataset: str) -> bool:
        """Whether a dataset can be loaded.

        Args:
            dataset: its name.

        Returns:
            True if it can.
        """
        place = self.places[dataset]
        return self._catalog.exists(dataset) if place is None else place.current() is not None

    def _parameters(self, node: Node) -> dict[str, Any]:
        """Values of the fields that a node uses, by `group.field`."""
        values: dict[str, Any] = {}
        groups = [name.removeprefix("params:") for name in node.inputs if name.startswith("params:")]
        recording = next((group for group in groups if f"params:{group}".startswith(ENTRIES)), None)
        for group in groups:
            if group in MACHINE:
                continue
            model, plain = self._resolved(group, recording)
            label = "recording" if group == recording else group
            if not isinstance(model, BaseModel):
                values[label] = plain
                continue
            fields = [name for name in type(model).model_fields if uses_field(node.func, label, name)]
            paths = {name for name, value in model if isinstance(value, Path)}  # their files are inputs
            fields = [name for name in fields if name not in paths | NOT_FACTS]
            values |= flat_fields(plain, label, fields)
        return values

    def _resolved(self, group: str, recording: str | None) -> tuple[Any, Any]:
        """A group of parameters, overridden by those of the recording, as a model and as plain values."""
        overridden = recording if group in STAGE_PARAMETERS else None
        key = (group, overridden or "")
        if key not in self._models:
            model = self._model(group)
            if overridden is not None:
                model = self._model(overridden).override(model)
            plain = model.model_dump(mode="json") if isinstance(model, BaseModel) else model
            if isinstance(plain, dict) and plain.get("engine") == "caiman":
                plain["engine"] = f"caiman {self._caiman_version()}"
            self._models[key] = model, plain
        return self._models[key]

    def _model(self, group: str) -> Any:
        """A group of parameters; Kedro gives mappings for those of pipelines that do not run."""
        value = self._catalog.get(f"params:{group}").load()
        if not isinstance(value, Mapping):
            return value
        if f"params:{group}".startswith(ENTRIES):
            return Recording.model_validate(value)
        return CHECKED_PARAMETERS[group].model_validate(value) if group in CHECKED_PARAMETERS else value

    def _caiman_version(self) -> str:
        return _version_of_caiman(self._model("caiman"))

    def input_versions(self, node: Node) -> dict[str, str]:
        """Versions of the inputs of a node.

        Args:
            node: the node.

        Returns:
            Version by name of the dataset, for those that have versions.
        """
        names = [dataset_of(name) for name in node.inputs if not name.startswith("params:")]
        versions = {name: place.version() for name in names if (place := self.places[name]) is not None}
        return {name: version for name, version in versions.items() if version is not None}


def _identity_in_memory(dataset: Any) -> str:
    """Hash of data in memory; what is no plain data is never the same again."""
    try:
        return content_identity(dataset.load())
    except TypeError:
        return f"unknown {uuid4()}"


def _label(function: Any, caiman_version: Any) -> str:
    """Name of the function of a node, with the engine or the half of the frames that it is bound to."""
    bound = [part for part in getattr(function, "args", ()) if isinstance(part, str)]
    parts = [f"caiman {caiman_version()}" if part == "caiman" else part for part in bound]
    return function.__name__ + (f"({', '.join(parts)})" if parts else "")


def _stage_of_function(function: Any) -> str:
    """Stage whose module contains the function of a node."""
    return function.__module__.split(".")[-2] if function.__module__.count(".") else ""


@cache
def _version_of_caiman(settings: CaimanSettings) -> str:
    """Version of CaImAn, which takes some seconds to find."""
    from rsc2p_kedro.engines.caiman.exchange import caiman_version

    return caiman_version(settings) or "not installed"


@dataclass(frozen=True)
class Plan:
    """What a run makes of one recording.

    Attributes:
        nodes: nodes to run, in order.
        states: state of each selected node, and of those before them that are not fresh, by name.
        refused: why the run cannot be done, one text for each dataset.
    """

    nodes: tuple[Node, ...]
    states: Mapping[str, NodeState]
    refused: tuple[str, ...] = ()


def make_plan(freshness: Freshness, selected: Sequence[Node], *, force: bool, complete: bool) -> Plan:
    """Finds the nodes of a recording that have to run.

    Args:
        freshness: tells which results are fresh.
        selected: nodes of one recording that were selected.
        force: run all selected nodes.
        complete: also run nodes that were not selected if their outputs are needed and not fresh. If False, such
            outputs are listed in `refused`.

    Returns:
        The plan.
    """
    states = {node.name: freshness.state(node) for node in selected}
    running = [node for node in selected if force or states[node.name].status != "fresh"]
    names, refused = {node.name for node in running}, {}
    while running:
        node = running.pop()
        for name in map(dataset_of, node.inputs):
            producer = freshness.producers.get(name)
            if producer is None or producer.name in names:
                continue
            in_memory = freshness.places[name] is None
            state = states.setdefault(producer.name, freshness.state(producer))
            if state.status == "fresh" and not in_memory:
                continue
            if complete or in_memory:
                names.add(producer.name)
                running.append(producer)
            else:
                refused[name] = f"{name} is {described(state)}"
    nodes = sorted((freshness.nodes[name] for name in names), key=lambda node: freshness.order[node.name])
    pinned = [_pinned(freshness, name) for node in nodes for name in node.outputs]
    return Plan(tuple(nodes), states, (*refused.values(), *(text for text in pinned if text)))


def _pinned(freshness: Freshness, name: str) -> str | None:
    place = freshness.places[name]
    if place is None or place.pinned is None:
        return None
    state = freshness.state(freshness.producers[dataset_of(name)])
    return f"version {place.pinned} of {name}, which --load-versions names, is {described(state)}"


def described(state: NodeState) -> str:
    """A state in words.

    Args:
        state: state of a node.

    Returns:
        For example `stale (merge_threshold 0.85 -> 0.8)`.
    """
    if state.status == "stale":
        return f"stale ({'; '.join(state.reasons) or 'made of older results'})"
    return state.status


class StaleInputsError(RuntimeError):
    """A part of the pipeline cannot run, because its inputs were not made from the present data and parameters."""

    @classmethod
    def listing(cls, stale: Iterable[str], recording: str) -> "StaleInputsError":
        """Makes an error that lists the inputs and says what to run.

        Args:
            stale: one text for each input.
            recording: name of the recording.

        Returns:
            The error.
        """
        lines = "\n".join(f"    {text}" for text in stale)
        return cls(
            f"the selected nodes need results that were not made from the present data and parameters:\n{lines}\n"
            f"    Make them first, with the same --params: {command(f'run --namespaces={recording}')}"
        )


def refuse_stale_inputs(freshness: Freshness, selected: Iterable[Node]) -> None:
    """Refuses to run nodes whose inputs are made by other nodes and are not fresh.

    Args:
        freshness: tells which results are fresh.
        selected: nodes that will all run.

    Raises:
        StaleInputsError: an input is stale or missing.
    """
    nodes = [node for node in selected if node.namespace is not None]
    plan = make_plan(freshness, nodes, force=True, complete=False)
    if plan.refused:
        names = sorted({str(recording_of(node)) for node in nodes})
        raise StaleInputsError.listing(plan.refused, ",".join(names))
