"""Pipelines of many recordings: what they hold, how they are selected, and what a wrong name is answered with."""

import importlib.util
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from tests.integration.conftest import Project, simulated

from rsc2p_kedro.cli import cli
from rsc2p_kedro.pipeline_registry import ON_REQUEST, register_pipelines
from rsc2p_kedro.runners.recording import ALL_RECORDINGS

NAMES = ["a.1", "a.2", "b.1"]


@pytest.fixture(scope="module")
def project(make_project) -> Project:
    """Three simulated recordings that are never run, and another environment with one."""
    project = make_project({"a": {"1": simulated("f/1"), "2": simulated("f/2")}, "b": {"1": simulated("f/3")}})
    (project.path / "conf" / "other").mkdir()
    other = yaml.safe_dump({"recordings": {"c": {"9": simulated("f/9")}}})
    (project.path / "conf" / "other" / "parameters.yml").write_text(other)
    return project


def recordings_of(name: str) -> set[str]:
    """Recordings that a registered pipeline has nodes of."""
    return {".".join(node.namespace.split(".")[:2]) for node in pipelines[name].nodes if node.namespace}


def test_every_dataset_of_every_pipeline_is_in_the_catalog(project):
    with project.session() as session:
        catalog = session.load_context().catalog
        in_memory = {"run", *(f"{kind}_cost" for kind in ("motion", "fit_components", "components", "dff"))}
        in_memory |= {"corrected_movie_cost", "component_quality_cost"}
        names = {name for pipeline in pipelines.values() for name in pipeline.datasets()}
        unknown = {name for name in names if name not in catalog and name.rpartition(".")[2] not in in_memory}
        assert unknown == set()


@pytest.fixture(scope="module")
def volumes(make_project) -> Project:
    """A simulated volume of two channels, a real one without, and a recording of one plane; never run."""
    channels = {"channels": {"functional": 1, "structural": 2, "n": 2}}
    volume = {**simulated("f/1"), "planes": 3, "seeds": "seeds_{plane}.csv", "frame_times": "times.csv", **channels}
    red = {"structural_label": "tdTomato", "structural_emission_wavelength_nm": 580}
    volume["imaging_plane"] = {**volume["imaging_plane"], **red}
    real = {name: value for name, value in simulated("f/2").items() if name != "simulation"}
    return make_project({"a": {"1": volume, "2": {**real, "planes": 2}}, "b": {"1": simulated("f/3")}})


def test_every_dataset_of_every_plane_is_in_the_catalog_and_in_a_file_of_its_own(volumes):
    with volumes.session() as session:
        catalog = session.load_context().catalog
        in_memory = ("run", "_cost")
        names = {name for pipeline in pipelines.values() for name in pipeline.datasets()}
        named = {name for name in names if "." in name and not name.startswith("params:")}
        unknown = {name for name in names if name not in catalog and not name.endswith(in_memory)}
        assert unknown == set()
        paths: dict[str, str] = {}
        twice = (*in_memory, ".new_tracked_ids")  # the file that `tracked_ids` of a session is read from
        for name in sorted(named - {name for name in named if name.endswith(twice)}):
            path = str(getattr(catalog.get(name), "_filepath", ""))
            assert paths.setdefault(path, name).partition("@")[0] == name.partition("@")[0]
        of_fields = (".tracking", ".tracking_table", ".tracking_report", ".tracking_summary")
        planes = {".".join(name.split(".")[:3]) for name in named if ".plane_" in name and not name.endswith(of_fields)}
        assert planes == {"a.1.plane_1", "a.1.plane_2", "a.1.plane_3", "a.2.plane_1", "a.2.plane_2"}
        assert all("/plane_" in path for path, name in paths.items() if ".plane_" in name and "seeds" not in path)


def test_planes_have_the_stages_of_a_recording_and_sessions_the_files_of_all_planes(volumes):
    with volumes.session() as session:
        session.load_context()
        namespaces = {node.namespace for node in pipelines["__default__"].nodes if node.namespace}
        own = ("ingestion", "motion_correction", "source_extraction", "evaluation")
        assert {name for name in namespaces if name.startswith("a.2.")} == {
            *(f"a.2.plane_{k}.{stage}" for k in (1, 2) for stage in (*own, "tracking")),  # as a.1 has these planes
            "a.2.export",
            "a.2.reporting.plane_1",
            "a.2.reporting.plane_2",
        }
        labels = {node.namespace for node in pipelines["__default__"].nodes if node.short_name == "measure_red_labels"}
        assert labels == {f"a.1.plane_{k}.evaluation" for k in (1, 2, 3)}
        simulation = next(node for node in pipelines["simulation"].nodes if "a.1" in node.namespace)
        assert set(simulation.outputs) == {"a.1.raw_frames", *(f"a.1.plane_{k}.truth" for k in (1, 2, 3))}


@pytest.mark.skipif(importlib.util.find_spec("kedro_viz") is None, reason="kedro-viz is not installed")
def test_in_kedro_viz_planes_open_inside_the_box_of_their_session(volumes):
    from kedro_viz.data_access.repositories.modular_pipelines import ModularPipelinesRepository

    with volumes.session() as session:
        session.load_context()
        whole = pipelines["__default__"]
    repository = ModularPipelinesRepository()
    repository.populate_tree(whole)
    inside = {child.id for child in repository.tree["a.1"].children}
    assert {"a.1.plane_1", "a.1.plane_2", "a.1.plane_3", "a.1.export", "a.1.reporting"} <= inside


def test_the_whole_is_the_sum_of_the_stages_and_not_what_runs_on_request(project):
    with project.session() as session:
        session.load_context()
        stages = set(pipelines) - {"__default__", ALL_RECORDINGS, *ON_REQUEST}
        assert {node.name for name in stages for node in pipelines[name].nodes} == {
            node.name for node in pipelines["__default__"].nodes
        }
        for name in ON_REQUEST:
            assert not {node.name for node in pipelines[name].nodes} & {
                node.name for node in pipelines["__default__"].nodes
            }
        stages -= {"tracking", "reporting"}  # they have more nodes for animals with several sessions
        counts = {name: sum(n.namespace is not None for n in pipelines[name].nodes) for name in stages}
        assert all(count % len(NAMES) == 0 for count in counts.values())


@pytest.mark.parametrize(
    ("only", "expected"), [(None, NAMES), ("a", ["a.1", "a.2"]), ("a.2 b", ["a.2", "b.1"]), (["b.1"], ["b.1"])]
)
def test_only_some_recordings(project, only, expected):
    with project.session(runtime_params={"only_recordings": only}) as session:
        session.load_context()
        assert recordings_of("__default__") == set(expected)
        assert all(recordings_of(name) == set(expected) for name in ON_REQUEST)
        of_all = {node.short_name for node in pipelines["__default__"].nodes if not node.namespace}
        joint = {"tabulate_recordings", "tabulate_all_components", "write_index"}
        joint |= {"track_sessions_of_a", "write_tracking_page_of_a"}  # the animal with several sessions
        assert of_all == (set() if only else joint)
        index = next(node for node in pipelines[ALL_RECORDINGS].nodes if node.short_name == "write_index")
        entries = [*(f"{name}.index_entry" for name in NAMES), "a.tracking_summary"]
        assert index.inputs == ["recordings_table", *entries], "of the whole manifest"


def test_each_session_has_the_recordings_of_its_own_environment(project):
    """Two sessions in one process, as in a notebook: pipelines are those of the session that runs."""
    for env, expected in (("other", {"c.9"}), ("local", set(NAMES)), ("other", {"c.9"})):
        with project.session(env=env) as session:
            session.load_context()
            assert recordings_of("motion_correction") == expected
            assert set(register_pipelines()) == set(pipelines)


@pytest.mark.skipif(importlib.util.find_spec("kedro_viz") is None, reason="kedro-viz is not installed")
@pytest.mark.parametrize(
    ("env", "params", "expected"),
    [("other", {}, {"c.9"}), (None, {}, set(NAMES)), (None, {"only_recordings": "a.2"}, {"a.2"})],
)
def test_kedro_viz_loads_the_recordings_of_its_environment_without_hooks(project, env, params, expected):
    from kedro_viz.integrations.kedro.data_loader import load_data

    _, loaded, _ = load_data(project.path, env=env, extra_params=params)
    nodes = loaded["__default__"].nodes
    assert {".".join(node.namespace.split(".")[:2]) for node in nodes if node.namespace} == expected


@pytest.mark.skipif(importlib.util.find_spec("kedro_viz") is None, reason="kedro-viz is not installed")
def test_in_kedro_viz_the_datasets_of_a_recording_stay_in_its_box(project):
    from kedro_viz.data_access.repositories.modular_pipelines import ModularPipelinesRepository
    from kedro_viz.utils import _hash_input_output

    with project.session() as session:
        session.load_context()
        whole = pipelines["__default__"]
    repository = ModularPipelinesRepository()
    repository.populate_tree(whole)
    names = {_hash_input_output(name): name for name in whole.datasets()}
    outside = {names[child.id] for child in repository.tree["__root__"].children if child.id in names}
    tracked = {f"a.{session}.{name}" for session in (1, 2) for name in ("field_of_view", "tracked_ids")}
    assert {name for name in outside if "." in name} == {f"{name}.index_entry" for name in NAMES} | tracked


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--namespaces=a.3"], "There is no animal or recording a.3. Did you mean a."),
        (["--namespaces=a.1.exprt"], "Did you mean a.1.export"),
        (["--params=evaluation.min_snrr=3"], "evaluation.min_snrr: there is no such parameter. Did you mean min_snr"),
        (["--params=evaluaton.min_snr=3"], "evaluaton: there is no such group of parameters. Did you mean evaluation?"),
        (
            ["--params=evaluation.min_snr=-1"],
            "evaluation.min_snr: Input should be greater than or equal to 0, given -1",
        ),
        (["--params=only_recordings=z"], "There is no animal or recording z"),
        (["--pipelines=motion_corection"], "motion_correction"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_ones_and_no_traceback(
    project, monkeypatch, arguments, expected
):
    monkeypatch.chdir(project.path)
    metadata = bootstrap_project(project.path)
    outcome = CliRunner().invoke(cli, ["run", *arguments], obj=metadata)
    assert outcome.exit_code == 1
    assert expected in outcome.output
    message = outcome.output[outcome.output.index("Error: ") :]
    assert len(message.splitlines()) <= 4
    assert "Traceback" not in outcome.output
    assert not list((project.path / "data").rglob("*.npz"))


def test_commands_that_are_advised_carry_the_environment(project, monkeypatch):
    monkeypatch.chdir(project.path)
    metadata = bootstrap_project(project.path)
    (project.path / "conf" / "empty").mkdir(exist_ok=True)
    for arguments, expected in (
        (["run", "--env", "empty"], "kedro recordings check --env empty and\n    kedro run --env empty"),
        (["recordings", "list", "--env", "empty"], "kedro recordings scan DIR --env empty"),
        (["recordings", "results", "--env", "other"], "no results yet; compute them with: kedro run --env other"),
    ):
        output = CliRunner().invoke(cli, arguments, obj=metadata).output
        assert " ".join(expected.split()) in " ".join(output.split()), output


def test_an_invalid_manifest_is_corrected_in_the_files_of_its_environment(project, monkeypatch):
    monkeypatch.chdir(project.path)
    metadata = bootstrap_project(project.path)
    (project.path / "conf" / "invalid").mkdir()
    no_metadata = {"path": "x", "frame_rate_hz": 3}
    manifest = {"recordings": {"a": {"1": {**no_metadata, "frames": [5, 2]}}, "b": {"1": no_metadata}}}
    (project.path / "conf" / "invalid" / "parameters.yml").write_text(yaml.safe_dump(manifest))
    output = CliRunner().invoke(cli, ["run", "--env", "invalid"], obj=metadata).output
    assert "frames should be" in output
    assert "conf/invalid/parameters_recordings.yml" in output
    assert "conf/local" not in output


def test_run_has_the_options_of_kedros_own_command():
    from kedro.framework.cli.project import run as kedro_run

    own = [option.opts for option in cli.commands["run"].params]
    assert own == [*(option.opts for option in kedro_run.params), ["--force"]]


def test_the_project_runs_as_a_package(project, monkeypatch, capsys):
    """As `python -m rsc2p_kedro` does where a wheel is installed: the present folder holds the configuration."""
    from rsc2p_kedro.__main__ import main

    monkeypatch.chdir(project.path)
    with pytest.raises(SystemExit) as stopped:
        main(["--pipelines", "simulation", "--namespaces", "a.1"])
    assert stopped.value.code in (None, 0)
    assert (project.path / "f" / "1").is_dir()
    monkeypatch.setattr("sys.argv", ["rsc2p_kedro", "recordings", "check"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert "a.1" in capsys.readouterr().out
    KedroSession.create(project_path=Path(project.path)).close()
