"""Recordings run one after the other; a failure does not stop the others and is reported."""

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from rsc2p_kedro.runners.recording import RecordingRunner

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain:UserWarning")


def double(x: int) -> int:
    return 2 * x


def fail(x: int) -> int:
    raise ValueError("no frames")


def add(*values: int) -> int:
    return sum(values)


def stages(function, recording: str) -> Pipeline:
    pipeline = Pipeline([Node(function, "x", "y", name="first"), Node(double, "y", "z", name="second")])
    return Pipeline(pipeline, namespace=recording)


def catalog_for(*recordings: str) -> DataCatalog:
    return DataCatalog({f"{name}.x": MemoryDataset(index + 1) for index, name in enumerate(recordings)})


def with_memory(catalog: DataCatalog, name: str) -> DataCatalog:
    catalog[name] = MemoryDataset()
    return catalog


def test_recordings_run_one_after_the_other_and_joint_nodes_last():
    pipeline = stages(double, "a.1") + stages(double, "b.1") + Pipeline([Node(add, ["a.1.z", "b.1.z"], "total")])
    result = RecordingRunner().run(pipeline, catalog_for("a.1", "b.1"))
    assert result["total"].load() == 4 * 1 + 4 * 2


def test_a_failure_is_reported_at_the_end_and_the_other_recordings_run():
    pipeline = stages(fail, "a.1") + stages(double, "b.1") + Pipeline([Node(add, ["a.1.z", "b.1.z"], "total")])
    catalog = with_memory(with_memory(catalog_for("a.1", "b.1"), "b.1.z"), "total")
    with pytest.raises(RuntimeError, match=r"1 recording\(s\) failed:\n  - a\.1: ValueError: no frames"):
        RecordingRunner().run(pipeline, catalog)
    assert catalog.load("b.1.z") == 8
    assert catalog.load("total") == 8, "of the recordings that have results"
