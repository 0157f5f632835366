"""Split-half reproducibility from end to end: each half is extracted as the stages would, and nothing else changes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.engines.embedded import EmbeddedEngine

pytestmark = pytest.mark.slow
NAME = "mouse_1.day_1"
STAGES = ["simulation", "ingestion", "motion_correction"]


def contents(folder: Path) -> dict[Path, str]:
    """Digest of each file below `data`, apart from logs and locks."""
    files = (path for path in sorted((folder / "data").rglob("*")) if path.is_file() and "logs" not in path.parts)
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def before_and_after(make_project) -> tuple[Project, dict[Path, str], dict[Path, str]]:
    project = make_project({"mouse_1": {"day_1": simulated("frames/1", seed=1, n_frames=501)}})
    project.run(pipeline_names=STAGES)
    before = contents(project.path)
    project.run(pipeline_names=["reproducibility"])
    return project, before, contents(project.path)


def test_neurons_that_fire_in_both_halves_are_found_in_both(before_and_after):
    table = before_and_after[0].load(f"{NAME}.reproducibility_table").set_index("half")
    assert table.loc["both", "accepted"] >= 12
    assert table.loc["both", "share_accepted_again"] > 0.6
    assert (table["extracted_again"] >= table["accepted_again"]).all()


def test_the_first_half_is_extracted_as_a_movie_of_its_frames(before_and_after):
    project = before_and_after[0]
    movie, motion = project.load(f"{NAME}.corrected_movie"), project.load(f"{NAME}.motion")
    expected = EmbeddedEngine().extract_sources(
        movie[:250], Acquisition(frame_rate_hz=14.7), ExtractionParameters(),
        compute=Compute(threads=1, show_progress=False), valid_mask=motion.valid_mask,
    )  # fmt: skip
    found = project.load(f"{NAME}.reproducibility.first.fit_components")
    np.testing.assert_array_equal(found.traces, expected.traces)
    assert project.load(f"{NAME}.reproducibility.second.components").n_frames == 251


def test_other_results_are_untouched(before_and_after):
    _, before, after = before_and_after
    assert {path: after.get(path) for path in before} == before
    new = {path.as_posix() for path in set(after) - set(before)}
    assert all("reproducibility" in path for path in new)
    assert any(path.endswith("reproducibility.png") for path in new)
