"""Movies have versions like every other result, and old ones can be removed."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from click.testing import CliRunner
from filelock import FileLock
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project

from rsc2p_kedro import cli

from .conftest import Project, simulated


def _versions(project: Project, name: str) -> list[str]:
    """Versions of a dataset of the recording, the oldest first."""
    found = project.path.glob(f"data/*/animal/session/{name}.*/*/{name}.*")
    return sorted({path.parent.name for path in found if not path.name.endswith(".made.json")})


def _prune(project: Project, *options: str) -> tuple[int, str]:
    metadata = bootstrap_project(project.path)
    pipelines.set_requested(None)
    outcome = CliRunner().invoke(cli.cli, ["recordings", "prune", *options], obj=metadata)
    return outcome.exit_code, re.sub(r"[^\S\n]+", " ", outcome.output)


def _tell(project: Project, name: str, **input_versions: str) -> None:
    """Writes what the newest version of a dataset was made of beside it, where the run has not done so."""
    (path,) = project.path.glob(f"data/*/animal/session/{name}.*/{_versions(project, name)[-1]}/{name}.*[!n]")
    record = path.with_name(f"{path.name}.made.json")
    if not record.exists():
        versions = {f"animal.session.{key}": value for key, value in input_versions.items()}
        record.write_text(json.dumps({"input_versions": versions}))


def _set_seed(project: Project, seed: int) -> None:
    """Changes what is simulated."""
    manifest = project.path / "conf" / "local" / "parameters_test.yml"
    manifest.write_text(re.sub(r"seed: \d+", f"seed: {seed}", manifest.read_text()))


def _pinned(version: str) -> dict[str, str]:
    """Results of ingestion that motion correction loads, and that were made from one another."""
    return {f"animal.session.{name}": version for name in ("movie", "bad_frames")}


@pytest.fixture(scope="module")
def project(make_project: Callable[..., Project]) -> Project:
    """Two runs of the recording, each with another simulation, and motion correction of the first movie."""
    project = make_project({"animal": {"session": simulated("raw/animal/session", n_frames=200, seed=1)}})
    project.run(pipeline_names=["simulation", "ingestion"])
    (first,) = _versions(project, "movie")
    _set_seed(project, 2)
    project.run(pipeline_names=["simulation", "ingestion"])
    _set_seed(project, 1)
    project.run(pipeline_names=["motion_correction"], load_versions=_pinned(first))
    return project


@pytest.mark.slow
def test_each_run_makes_a_version_of_the_movie_and_any_can_be_used(project: Project):
    first, second = _versions(project, "movie")
    assert first < second
    old, new, corrected = (
        project.load(f"animal.session.{name}", load_versions=versions).mean(axis=0).compute().ravel()
        for name, versions in (
            ("movie", {"animal.session.movie": first}),
            ("movie", None),
            ("corrected_movie", None),
        )
    )
    assert np.corrcoef(corrected, old)[0, 1] > 0.5 > np.corrcoef(corrected, new)[0, 1]


@pytest.mark.slow
def test_recording_that_a_run_works_on_is_left_alone(project: Project):
    versions = _versions(project, "summary_images")
    _tell(project, "summary_images", movie=_versions(project, "movie")[-1])
    logs = project.path / "data" / "08_reporting" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with FileLock(logs / "animal.session.lock"):
        code, output = _prune(project)
    assert code == 1
    assert "A run works on animal.session: nothing was removed there" in output
    assert _versions(project, "summary_images") == versions
    assert len(versions) == 2


@pytest.mark.slow
def test_prune_removes_old_versions_and_none_that_is_needed(project: Project):
    first, second = _versions(project, "movie")
    before = _versions(project, "summary_images")
    code, output = _prune(project, "--dry-run")
    assert code == 0
    assert re.search(r"\n \d small datasets [\d.]+ kB \d versions\n", output), output
    assert re.search(r"\n movie [\d.]+ MB kept, 1 version: \w+ .* (was made of it|does not tell)", output), output
    assert "would be removed" in output
    assert _versions(project, "summary_images") == before
    movie = project.load("animal.session.movie", load_versions={"animal.session.movie": first}).compute()

    code, output = _prune(project)
    assert code == 0
    assert "would be" not in output
    assert _versions(project, "summary_images") == before[1:]
    assert _versions(project, "movie") == [first, second]
    np.testing.assert_array_equal(
        project.load("animal.session.movie", load_versions={"animal.session.movie": first}).compute(), movie
    )
    assert "Nothing to remove" in _prune(project)[1]


@pytest.mark.slow
def test_damaged_movie_stops_the_stage_that_reads_it_with_its_file(project: Project):
    first, _ = _versions(project, "movie")
    chunk = project.path / "data/02_intermediate/animal/session/movie.zarr" / first / "movie.zarr/c/1/0/0"
    sound = chunk.read_bytes()
    for damage, message in ((None, "is missing"), (sound[:-100], "is damaged"), (bytes(len(sound)), "is damaged")):
        chunk.unlink()
        if damage is not None:
            chunk.write_bytes(damage)
        with pytest.raises(Exception, match=rf"{first}/movie\.zarr/c/1/0/0 {message}"):
            project.run(
                pipeline_names=["motion_correction"],
                load_versions=_pinned(first),
                params={"motion_correction": {"max_shift_px": 9}},
            )
        chunk.write_bytes(sound)
