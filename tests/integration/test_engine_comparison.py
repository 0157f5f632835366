"""The comparison of engines from end to end without CaImAn: the embedded engine under both names agrees with itself."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.pipelines.evaluation import nodes as evaluation
from rsc2p_kedro.pipelines.motion_correction import nodes as motion_correction
from rsc2p_kedro.pipelines.source_extraction import nodes as source_extraction

pytestmark = pytest.mark.slow
NAME = "mouse_1.day_1"
REPORTS = Path("data/08_reporting/mouse_1/day_1")
STAGES = ["simulation", "ingestion", "motion_correction", "source_extraction", "evaluation"]
WRITTEN = ("engine_comparison", "engine_agreement_table.csv", "figures/engine_agreement.png")
OUTPUTS = {REPORTS / name for name in WRITTEN}
STEPS = ["estimate_motion", "apply_motion", "fit_components", "refit_components", "evaluate_components", "compute_dff"]


def contents(folder: Path) -> dict[Path, str]:
    """Digest of each file below `data`, apart from logs and locks."""
    files = (path for path in sorted((folder / "data").rglob("*")) if path.is_file() and "logs" not in path.parts)
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def requested() -> list[str]:
    """Names of the engines that the stages asked for during the comparison."""
    return []


@pytest.fixture(scope="module")
def before_and_after(make_project, requested) -> tuple[Project, dict[Path, str], dict[Path, str]]:
    """A project that was compared after its stages had run, and its files before and after the comparison."""
    recording = simulated("frames/1", seed=1, n_frames=300)
    project = make_project({"mouse_1": {"day_1": recording}}, evaluation={"min_snr": 3.0})
    project.run(pipeline_names=STAGES)
    before = contents(project.path)

    def get_embedded(name, caiman):
        requested.append(name)
        return EmbeddedEngine()

    with pytest.MonkeyPatch.context() as patch:
        for stage in (motion_correction, source_extraction, evaluation):
            patch.setattr(stage, "get_engine", get_embedded)
        project.run(pipeline_names=["engine_comparison"])
    return project, before, contents(project.path)


@pytest.fixture(scope="module")
def table(before_and_after) -> pd.DataFrame:
    return before_and_after[0].load(f"{NAME}.engine_agreement_table").set_index("measure")


def test_every_step_is_run_by_both_engines(before_and_after, requested):
    # Six steps; the corrected movie is computed twice, once to be stored and once to be timed.
    assert requested.count("embedded") == requested.count("caiman") == len(STEPS) + 1


def test_an_engine_agrees_with_itself_exactly(table):
    assert table.loc["accepted", "both"] == table.loc["accepted", "embedded"] == table.loc["accepted", "caiman"] > 5
    assert table.loc["components", "embedded"] == table.loc["components", "caiman"]
    fractions = table.loc[["accepted_by_other", "extracted_by_other"], ["embedded", "caiman"]]
    assert (fractions == 1).all(axis=None)
    correlations = table.loc[["trace_correlation", "spike_correlation", "dff_correlation"], "both"]
    np.testing.assert_allclose(correlations, 1, rtol=1e-12)
    assert table.loc["matched_iou", "both"] == 1
    shifts = ["rigid_shift_difference", "local_shift_difference", "template_offset_y", "template_offset_x"]
    assert (table.loc[shifts, "both"] == 0).all()


@pytest.mark.parametrize("kind", ["motion", "fit_components", "components", "component_quality", "dff"])
def test_results_of_the_comparison_are_those_of_the_stages(before_and_after, kind):
    project = before_and_after[0]
    own = project.load(f"{NAME}.{kind}")
    for engine in ("embedded", "caiman"):
        compared = project.load(f"{NAME}.engine_comparison.{engine}.{kind}")
        for field, value in vars(own).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(compared, field), value, err_msg=f"{engine} {field}")


def test_other_results_are_untouched(before_and_after):
    _, before, after = before_and_after
    assert {path: after.get(path) for path in before} == before
    new = set(after) - set(before)
    assert new
    assert all(OUTPUTS & {path, *path.parents} for path in new)


def test_every_output_is_written(before_and_after):
    for path in OUTPUTS:
        assert (before_and_after[0].path / path).exists(), path


def test_costs_are_positive_and_add_up(table):
    costs = table.loc[[f"{step}_time" for step in STEPS] + ["total_time", "cpu_time", "peak_memory"]]
    assert (costs[["embedded", "caiman"]] > 0).all(axis=None)
    steps = costs.loc[[f"{step}_time" for step in STEPS], ["embedded", "caiman"]].sum()
    np.testing.assert_allclose(steps.tolist(), costs.loc["total_time", ["embedded", "caiman"]].tolist())
