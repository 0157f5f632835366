"""What the functions of nodes read of their parameters is what they declare, so that no change is missed."""

import sys
from typing import Any

import pytest
from kedro.framework.project import pipelines
from pydantic import BaseModel
from tests.integration.conftest import simulated

from rsc2p_kedro.core.fingerprints import uses_field
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.runners.freshness import MACHINE, NOT_FACTS, Freshness

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]

NOT_A_USE = ("override", "_provenance")
"""Functions that dump a whole model without using its values: they fill in and pass on what others use."""


def tracked(model: BaseModel, group: str, seen: set[str]) -> Any:
    """A copy of a model that adds each field that is read of it to a set, and so do its own copies."""
    kind = type(model)

    def add_dumped(include: Any) -> None:
        if sys._getframe(2).f_code.co_name not in NOT_A_USE:
            seen.update(f"{group}.{name}" for name in include or kind.model_fields)

    class Tracked(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name in kind.model_fields and not sys._getframe(1).f_code.co_name.startswith("_check_"):  # validators
                seen.add(f"{group}.{name}")
            return super().__getattribute__(name)

        def model_dump(self, **options: Any) -> Any:
            add_dumped(options.get("include"))
            return super().model_dump(**options)

        def model_dump_json(self, **options: Any) -> Any:
            add_dumped(options.get("include"))
            return super().model_dump_json(**options)

        if issubclass(kind, Recording):

            @property
            def acquisition(self) -> Acquisition:
                return tracked(model.acquisition, group, seen)  # type: ignore[attr-defined]

    copy = model.model_copy()
    copy.__class__ = Tracked
    return copy


def test_nodes_read_no_field_of_their_parameters_that_they_do_not_declare(make_project) -> None:
    small = simulated("f/1", n_frames=100, height_px=64, width_px=80, n_neurons=4)
    reads: dict[str, set[str]] = {}
    with make_project({"a": {"1": small}}).session() as session:
        catalog = session.load_context().catalog
        freshness = Freshness(pipelines["__default__"].nodes, catalog)
        for node in freshness.nodes.values():
            seen = reads.setdefault(node.name, set())
            inputs = {name: catalog.load(name) for name in node.inputs}
            for name, value in inputs.items():
                group = name.removeprefix("params:")
                if isinstance(value, BaseModel) and name != group and group not in MACHINE:
                    label = "recording" if isinstance(value, Recording) else group
                    inputs[name] = tracked(value, label, seen)
            for name, result in node.run(inputs).items():
                catalog.save(name, result)  # lazy movies are computed here
            catalog.release(node.outputs[0]) if node.outputs else None
        undeclared = {
            name: sorted(
                field
                for field in seen
                if not uses_field(freshness.nodes[name].func, *field.split("."))
                and field.removeprefix("recording.") not in NOT_FACTS | {"path", "seeds"}
            )
            for name, seen in reads.items()
        }
    assert not any(undeclared.values()), {name: fields for name, fields in undeclared.items() if fields}
    assert "evaluation.dff_percentile" in reads["a.1.evaluation.compute_dff"], "reads are seen at all"
    assert "recording.simulation" in reads["a.1.simulation.simulate_recording"]
    assert "source_extraction.neuron_half_width_px" in reads["a.1.motion_correction.estimate_motion"]
