"""Without the metadata of NWB everything runs but the export, which says what is missing."""

import logging
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.cli import cli
from rsc2p_kedro.nwb.metadata_checks import MetadataError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(hdmf|pynwb|nwbinspector|kedro).*"),
    pytest.mark.filterwarnings("ignore::UserWarning:(hdmf|pynwb).*"),
]


def incomplete(path: str) -> dict:
    """A small recording without subject and start time."""
    entry = simulated(path, n_frames=120, height_px=64, width_px=72, n_neurons=5)
    return {**entry, "subject": {}, "session": {}}


@pytest.fixture(scope="module")
def project(make_project) -> Project:
    complete = simulated("f/2", n_frames=120, height_px=64, width_px=72, n_neurons=5)
    return make_project({"a": {"1": incomplete("f/1")}, "b": {"1": complete}})


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """Messages of the check at the start of a run. Kedro configures logging anew, which removes pytest's handler."""
    found: list[str] = []
    logger, handler = logging.getLogger("rsc2p_kedro.hooks"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def node_names(name: str) -> set[str]:
    return {node.name for node in pipelines[name].nodes}


def test_a_plain_run_exports_only_what_is_complete_and_asking_for_the_export_means_all(project):
    with project.session() as session:
        session.load_context()
        assert {"b.1.export.build_nwb", "a.1.reporting.explain_missing_nwb"} <= node_names("__default__")
        assert "a.1.export.build_nwb" not in node_names("__default__")
        assert "b.1.reporting.explain_missing_nwb" not in node_names("__default__")
        assert {"a.1.export.build_nwb", "b.1.export.build_nwb"} <= node_names("export")


@pytest.mark.slow
def test_everything_runs_but_the_export_and_the_report_says_why(project, messages):
    project.run()
    (line,) = messages
    assert line.startswith("No NWB file is written for a.1, as metadata are missing: subject.species, subject.sex")
    assert "`kedro recordings check` prints the lines to add" in line
    written = [path.name for path in (project.path / "data/07_model_output/dandiset").rglob("*.nwb")]
    assert written == ["sub-b_ses-1_ophys.nwb"]
    report = project.load("a.1.report")
    assert "No NWB file was written, as metadata are missing: subject.species" in report
    assert "No NWB file was written" not in project.load("b.1.report")
    assessments = project.load("a.1.assessment_table").set_index("check")["level"]
    assert assessments["NWB file"] == "review"
    assert list(project.load("recordings_table")["recording"]) == ["a.1", "b.1"]


@pytest.mark.slow
def test_status_says_that_the_export_waits(project, monkeypatch):
    monkeypatch.chdir(project.path)
    outcome = CliRunner().invoke(cli, ["recordings", "status"], obj=bootstrap_project(project.path))
    header, first, second = outcome.output.splitlines()[:3]
    place = header.index("export")
    assert (first[:3], first[place : place + 5]) == ("a.1", "waits")
    assert (second[:3], second[place : place + 5]) == ("b.1", "fresh")
    assert "export: waits for metadata; `kedro recordings check` prints the lines to add" in outcome.output
    assert "Make what is not fresh" not in outcome.output


@pytest.mark.slow
def test_reporting_alone_runs_as_well(project):
    project.run(pipeline_names=["reporting"], namespaces=["a.1"])
    assert "session.session_start_time" in project.load("a.1.inspection_table")["message"][0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pipelines", "export"],
        ["--pipelines", "export,reporting"],
        ["--namespaces", "a.1.export"],
        ["--pipelines", "export", "--namespaces", "a.1"],
    ],
)
def test_asking_for_the_export_is_answered_with_the_lines_to_add(project, monkeypatch, arguments):
    monkeypatch.chdir(project.path)
    outcome = CliRunner().invoke(cli, ["run", *arguments], obj=bootstrap_project(project.path))
    assert outcome.exit_code == 1
    assert "The metadata for NWB and DANDI are incomplete" in outcome.output
    assert "<such as 2019-05-06T10:30:00+02:00>" in outcome.output
    assert "Traceback" not in outcome.output


def test_the_export_of_what_is_complete_is_checked_alone(project):
    with pytest.raises(MetadataError, match=r"a:\n"):
        project.run(pipeline_names=["export"])
