"""What the functions of nodes read of their parameters is what they declare, so that no change is missed."""

import sys
from collections.abc import Callable
from inspect import signature
from types import SimpleNamespace
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from kedro.framework.project import pipelines
from pydantic import BaseModel
from tests.engines.caiman import recorded
from tests.integration.conftest import simulated

from rsc2p_kedro.core.fingerprints import uses_field
from rsc2p_kedro.core.parameters import (
    Acquisition,
    CaimanSettings,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.engines.caiman import engine, mapping
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.evaluation.nodes import compute_dff, evaluate_components
from rsc2p_kedro.pipelines.motion_correction.nodes import apply_motion, estimate_motion
from rsc2p_kedro.pipelines.source_extraction.nodes import fit_components, refit_components
from rsc2p_kedro.runners.freshness import MACHINE, NOT_FACTS, Freshness

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]

NOT_A_USE = ("override", "_provenance", "not_honoured")
"""Functions that dump or list a whole model without using its values: they fill in and pass on what others use."""


def _is_no_use(reader: str) -> bool:
    """Whether a function, or a comprehension within it, only validates fields or lists them."""
    return any(part.startswith("_check_") or part in NOT_A_USE for part in reader.split("."))


def tracked(model: BaseModel, group: str, seen: set[str]) -> Any:
    """A copy of a model that adds each field that is read of it to a set, and so do its own copies."""
    kind = type(model)

    def add_dumped(include: Any) -> None:
        if sys._getframe(2).f_code.co_name not in NOT_A_USE:
            seen.update(f"{group}.{name}" for name in include or kind.model_fields)

    class Tracked(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name in kind.model_fields and not _is_no_use(sys._getframe(1).f_code.co_qualname):
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


def undeclared_fields(function: Callable, seen: set[str]) -> list[str]:
    """Fields that a node has read and its function does not declare."""
    known = NOT_FACTS | {"path", "seeds"}
    return sorted(
        field
        for field in seen
        if not uses_field(function, *field.split(".")) and field.removeprefix("recording.") not in known
    )


@pytest.mark.slow
def test_nodes_read_no_field_of_their_parameters_that_they_do_not_declare(make_project) -> None:
    small = simulated("f/1", n_frames=100, height_px=64, width_px=80, n_neurons=4)
    reads: dict[str, set[str]] = {}
    again = {**small, "path": "f/2"}
    with make_project({"a": {"1": small, "2": again}}).session() as session:
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
        undeclared = {name: undeclared_fields(freshness.nodes[name].func, seen) for name, seen in reads.items()}
    assert not any(undeclared.values()), {name: fields for name, fields in undeclared.items() if fields}
    assert "evaluation.dff_percentile" in reads["a.1.evaluation.compute_dff"], "reads are seen at all"
    assert "recording.pixel_size_um" in reads["a.2.tracking.collect_field_of_view"]
    assert "recording.simulation" in reads["a.1.simulation.simulate_recording"]
    assert "source_extraction.neuron_half_width_px" in reads["a.1.motion_correction.estimate_motion"]


class OfBaseClass(dict):
    """A table by model that also holds for copies of the models that are tracked."""

    def get(self, kind: type, default: Any = None) -> Any:
        return next((self[base] for base in kind.__mro__ if base in self), default)


def with_caiman(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the process of CaImAn by recorded responses."""
    caiman = recorded.RecordedCaiman()
    caiman.outputs = {
        "estimate_motion": recorded.shifts(),
        "fit": recorded.estimates(),
        "refit": recorded.estimates(),
        "evaluate": recorded.measures(),
        "delta_f_over_f": recorded.relative_fluorescence(),
    }
    monkeypatch.setattr(engine, "run_task", caiman)
    for table in ("TARGETS", "NOT_HONOURED"):
        monkeypatch.setattr(mapping, table, OfBaseClass(getattr(mapping, table)))


@pytest.mark.parametrize("half_width", ["auto", 3])
def test_nodes_that_run_caiman_read_no_field_that_they_do_not_declare(monkeypatch, half_width) -> None:
    with_caiman(monkeypatch)
    models: dict[str, BaseModel] = {
        "motion_correction": MotionCorrectionParameters(engine="caiman"),
        "source_extraction": ExtractionParameters(engine="caiman", neuron_half_width_px=half_width),
        "evaluation": EvaluationParameters(engine="caiman", use_classifier=True, dff_within_files=True),
        "recording": Recording.model_validate(
            {"animal": "a", "session_key": "1", "path": "f", "frame_rate_hz": 10, "pixel_size_um": [1.2, 1.2]}
        ),
    }
    rng = np.random.default_rng(0)
    known: dict[str, Any] = {
        "movie": da.from_array(rng.integers(0, 50, (recorded.T, recorded.H, recorded.W), dtype=np.uint16)),
        "excluded_frames": pd.DataFrame({"excluded": np.zeros(recorded.T, bool), "reason": ""}),
        "frame_table": pd.DataFrame({"trial": ["first"] * (recorded.T // 2) + ["second"] * (recorded.T // 2)}),
        "detector_saturation": SimpleNamespace(level=None),
        "detector_response": SimpleNamespace(
            dark_level=10.0, dark_level_error=1.0, source="blank frames", gain=None, lowest_level=12.0
        ),
        "compute": Compute.model_validate({"threads": 1, "show_progress": False}),
        "caiman": CaimanSettings(),
    }
    known["bad_frames"] = known["excluded_frames"]
    reads: dict[str, set[str]] = {}
    for function, group, output in CAIMAN_NODES:
        seen = reads.setdefault(function.__name__, set())
        groups = {"parameters": group, "extraction": "source_extraction", "recording": "recording"}
        followed = {name: tracked(models[label], label, seen) for name, label in groups.items()}
        names = [name for name, one in signature(function).parameters.items() if one.default is one.empty]
        known[output] = function(**{name: {**known, **followed}[name] for name in names})
        assert undeclared_fields(function, seen) == [], function.__name__
    known["corrected_movie"].compute()
    assert "motion_correction.patch_stride_px" in reads["estimate_motion"], "reads are seen at all"
    assert "evaluation.min_classifier_score" in reads["evaluate_components"]
    assert {"recording.frame_rate_hz", "evaluation.dff_window_s"} <= reads["compute_dff"]


CAIMAN_NODES = [
    (estimate_motion, "motion_correction", "motion"),
    (apply_motion, "motion_correction", "corrected_movie"),
    (fit_components, "source_extraction", "fit_components"),
    (refit_components, "source_extraction", "components"),
    (evaluate_components, "evaluation", "component_quality"),
    (compute_dff, "evaluation", "dff"),
]
"""Functions of nodes that pass their inputs to an engine, the group of their argument `parameters`, and the output."""
