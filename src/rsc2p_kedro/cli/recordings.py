"""`kedro recordings`: find recordings, check them before hours of computing, and see what came of them."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import pipelines, settings
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata
from kedro.io import AbstractDataset, DataCatalog
from pydantic import ValidationError

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings, Compute, FrozenModel
from rsc2p_kedro.datasets.tiff_frames import RecordingError, read_frames
from rsc2p_kedro.manifest import scan as manifest_scan
from rsc2p_kedro.manifest.recordings import ManifestError, Recording, examine_manifest, parse_manifest, stage_problems
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.metadata_checks import MetadataError, check_metadata

_NONE = "There is no recording. `kedro recordings scan DIR` finds yours; `--env demo` has two simulated ones."

_WIDE = 6


@click.group()
def recordings() -> None:
    """Find, list and check recordings, and see what came of them."""


@recordings.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--pattern", help="Where names stand in paths below FOLDER, as '{animal}/2p/{session}'; * is anything.")
@click.option("--animal", help="All recordings found are of this animal.")
@click.option("--each-file", is_flag=True, help="Each stack is a recording of its own, not a part of one.")
@click.option("--dry-run", is_flag=True, help="Show what would be added; write nothing.")
@env_option(help="Environment whose manifest is extended; local, if not given.")
@click.pass_obj
def scan(
    project: ProjectMetadata,
    folder: Path,
    pattern: str | None,
    animal: str | None,
    each_file: bool,
    dry_run: bool,
    env: str | None,
) -> None:
    """Find the recordings in FOLDER and add those that are new to the manifest.

    What you have written there stays as it is, to the byte.
    """
    manifest = _conf_folder(project) / _environment(env) / "parameters_recordings.yml"
    try:
        found = manifest_scan.find_recordings(folder, pattern=pattern, animal=animal, each_file=each_file)
        new = manifest_scan.new_recordings(found, manifest_scan.read_manifest(manifest), project.project_path)
        _show_found(found, new, folder)
        if new and not dry_run:
            manifest_scan.extend_manifest(manifest, new, project.project_path)
    except manifest_scan.ScanError as error:
        raise click.ClickException(str(error)) from error
    if new:
        place = manifest.relative_to(project.project_path)
        done = "would be added to" if dry_run else "added to"
        click.echo(f"\n{_count(len(new), 'recording')} {done} {place}.")
        click.echo("Fill in what stands empty there, then run: kedro recordings check")


@recordings.command(name="list")
@env_option
@click.pass_obj
def list_recordings(project: ProjectMetadata, env: str | None) -> None:
    """List the recordings of the manifest."""
    known = _read_recordings(project, env)
    for recording in known:
        window = f", frames {recording.frames[0]} to {recording.frames[1]}" if recording.frames else ""
        kind = ", simulated" if recording.simulation else ""
        click.echo(f"{recording.name:<32} {recording.frame_rate_hz:g} Hz  {recording.path}{window}{kind}")
    if not known:
        click.echo(_NONE)


@recordings.command()
@env_option
@click.pass_obj
def check(project: ProjectMetadata, env: str | None) -> None:
    """Check manifest, parameters, metadata and raw data, without computing anything.

    Lists all problems of all recordings; the exit code is 1 if there are any.
    """
    parameters = _read_parameters(project, env)
    known, wrong = examine_manifest(parameters.get("recordings"))
    if not known and not wrong:
        raise click.ClickException(_NONE)
    problems = {
        "manifest": wrong,
        **_parameter_problems(parameters),
        "caiman engine": _caiman_problems(parameters, known),
    }
    metadata = _metadata_error(parameters, known)
    for recording in known:
        problems[recording.name] = stage_problems(recording, parameters)
        problems[recording.name] += _raw_problems(recording, project.project_path)
        number = len(problems[recording.name]) + (len(metadata.problems.get(recording.name, [])) if metadata else 0)
        number += sum(problem.startswith(f"recordings.{recording.name}.") for problem in wrong)
        click.echo(f"{recording.name:<32} {_count(number, 'problem') if number else 'ok'}")
    for name, found in problems.items():
        if found:
            click.echo(f"\n{name}:\n" + "\n".join(f"  - {problem}" for problem in found))
    if metadata:
        click.echo(f"\n{metadata}")
    if metadata or any(problems.values()):
        raise SystemExit(1)


@recordings.command()
@env_option
@click.pass_obj
def results(project: ProjectMetadata, env: str | None) -> None:
    """Show where results lie and, for simulated recordings, how they compare with the truth."""
    known = _read_recordings(project, env)
    if not known:
        click.echo(_NONE)
        return
    with KedroSession.create(project_path=project.project_path, env=env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        names = sorted(_made_datasets())
        for recording in known:
            click.secho(f"\n{recording.name}", bold=True)
            _show_files(catalog, [name for name in names if name.startswith(f"{recording.name}.")], project)
            _show_table(catalog, f"{recording.name}.truth_score_table", "Compared with the simulated truth:")
        click.secho("\nAll recordings", bold=True)
        _show_files(catalog, [name for name in names if "." not in name], project)
        _show_table(catalog, "recordings_table", "At a glance:")


@recordings.command(name="compare-engines")
@click.argument("name")
@click.option("--caiman-python", help="Interpreter of the environment CaImAn is in; none: caiman.python of parameters.")
@env_option
@click.pass_obj
def compare_engines(project: ProjectMetadata, name: str, caiman_python: str | None, env: str | None) -> None:
    """Run both engines on the recording NAME (animal.session) and report how far they agree.

    From the raw movie, which is made first if it is not there, to dF/F. Writes a table and a figure, and nothing else:
    results of `kedro run` stay as they are.
    """
    parameters = _read_parameters(project, env)
    recording = next((one for one in _read_recordings(project, env) if one.name == name), None)
    if recording is None:
        raise click.ClickException(f"There is no recording {name}; `kedro recordings list` shows all.")
    if caiman_python:
        parameters = {**parameters, "caiman": {**(parameters.get("caiman") or {}), "python": caiman_python}}
    from rsc2p_kedro.engines.caiman import caiman_problem
    from rsc2p_kedro.engines.comparison import workflow_of, write_agreement

    workflow = workflow_of(recording, parameters)
    problem = caiman_problem(workflow.caiman, use_cnn=workflow.of("caiman", workflow.evaluation).use_classifier)
    if problem:
        raise click.ClickException(problem)
    catalog = _catalog_with_movie(project, env, recording)
    table = write_agreement(catalog, workflow)
    click.echo(table.drop(columns="description").to_string(index=False, na_rep=""))
    _show_files(catalog, [f"{name}.engine_agreement_{kind}" for kind in ("table", "figure")], project)


def _catalog_with_movie(project: ProjectMetadata, env: str | None, recording: Recording) -> DataCatalog:
    """A catalog in which the raw movie of a recording is there, made now if it was not."""
    with KedroSession.create(project_path=project.project_path, env=env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        if not catalog.exists(f"{recording.name}.movie"):
            stages = ["ingestion"] if recording.simulation is None else ["simulation", "ingestion"]
            session.run(pipeline_names=stages, namespaces=[recording.name])  # type: ignore[call-arg]
    return catalog


def _environment(env: str | None) -> str:
    return env or os.environ.get("KEDRO_ENV") or str(settings.CONFIG_LOADER_ARGS.get("default_run_env", "local"))


def _conf_folder(project: ProjectMetadata) -> Path:
    return Path(project.project_path) / settings.CONF_SOURCE


def _read_parameters(project: ProjectMetadata, env: str | None) -> dict[str, Any]:
    """All parameters of an environment."""
    folder = str(_conf_folder(project))
    return settings.CONFIG_LOADER_CLASS(folder, env=_environment(env), **settings.CONFIG_LOADER_ARGS)["parameters"]


def _read_recordings(project: ProjectMetadata, env: str | None) -> list[Recording]:
    """The recordings of an environment."""
    try:
        return parse_manifest(_read_parameters(project, env).get("recordings"))
    except ManifestError as error:
        raise click.ClickException(str(error)) from error


def _parameter_problems(parameters: dict[str, Any]) -> dict[str, list[str]]:
    """What is wrong with the parameters of stages and of NWB files, by the key they stand under."""
    problems = {}
    models: dict[str, type[FrozenModel]] = {
        **STAGE_PARAMETERS,
        "compute": Compute,
        "caiman": CaimanSettings,
        "nwb": NwbParameters,
    }
    for key, model in models.items():
        try:
            model.model_validate(parameters.get(key) or {})
        except ValidationError as error:
            problems[key] = [
                f"{'.'.join(map(str, (key, *detail['loc'])))}: {detail['msg']}, given {detail['input']!r}."
                for detail in error.errors()
            ]
    return problems


def _caiman_problems(parameters: dict[str, Any], known: list[Recording]) -> list[str]:
    """What keeps CaImAn from working, if any stage of any recording asks for it."""
    stages = [parameters.get(stage) or {} for stage in STAGE_PARAMETERS]
    stages += [stage for recording in known for stage in recording.parameters.values()]
    if not any(stage.get("engine") == "caiman" for stage in stages):
        return []
    from rsc2p_kedro.engines.caiman import caiman_problem

    judging = [{**(parameters.get("evaluation") or {}), **one.parameters.get("evaluation", {})} for one in known]
    use_classifier = any(one.get("engine") == "caiman" and bool(one.get("use_classifier")) for one in judging)
    try:
        problem = caiman_problem(CaimanSettings.model_validate(parameters.get("caiman") or {}), use_cnn=use_classifier)
    except ValidationError:
        return []  # that is said of the settings
    return [problem] if problem else []


def _metadata_error(parameters: dict[str, Any], known: list[Recording]) -> MetadataError | None:
    try:
        check_metadata(parameters.get("nwb") or {}, known)
    except MetadataError as error:
        return error
    return None


def _raw_problems(recording: Recording, project: Path) -> list[str]:
    """What is wrong with the files of a recording. Those of simulated recordings are made by the run."""
    problems = [
        f"{name}: there is no file {path}."
        for name, path in {"seeds": recording.seeds, "curation": recording.curation}.items()
        if path is not None and not (project / path).is_file()
    ]
    if recording.simulation is None:
        try:
            read_frames(project / recording.path, frames=recording.frames)
        except RecordingError as error:
            problems += [f"raw data: {line}" for line in error.problems]
    return problems


def _show_found(
    found: list[manifest_scan.FoundRecording], new: list[manifest_scan.FoundRecording], folder: Path
) -> None:
    if not found:
        click.echo(f"No TIFF (.tif, .tiff) lies at or below {folder}.")
    names = {recording.path: recording for recording in new}
    for recording in found:
        known = recording.path not in names
        shown = names.get(recording.path, recording)
        click.echo(f"{'known' if known else shown.name:<32} {shown.facts}  {shown.path}")
        for problem in recording.files.problems:
            click.secho(f"    {problem}", fg="yellow")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _made_datasets() -> set[str]:
    """Names of all datasets that the pipelines read or write, without parameters."""
    return {name for name in pipelines["__default__"].datasets() if name.split(":")[0] not in ("params", "parameters")}


def _show_files(catalog: DataCatalog, names: Iterable[str], project: ProjectMetadata) -> None:
    """Where existing datasets lie, by the layer of the data folder they are in."""
    layers: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = _path(catalog.get(name)) if catalog.exists(name) else None
        if path is not None:
            place = path.relative_to(project.project_path) if path.is_relative_to(project.project_path) else path
            layers[place.parts[1] if place.parts[0] == "data" else ""].append(f"    {name.split('.')[-1]:<28} {place}")
    for layer in sorted(layers):
        click.echo(f"  {layer}")
        click.echo("\n".join(layers[layer]))
    if not layers:
        click.echo("  nothing yet: kedro run")


def _path(dataset: AbstractDataset | None) -> Path | None:
    """Where a dataset lies: its latest version, if it has versions."""
    find = getattr(dataset, "_get_load_path", None)
    path = find() if find else getattr(dataset, "_filepath", None)
    return None if path is None else Path(path)


def _show_table(catalog: DataCatalog, name: str, title: str) -> None:
    """A table as text; a wide one on its side, for the width of a terminal."""
    if name in catalog and catalog.exists(name):
        table = catalog.load(name)
        wide = len(table.columns) > _WIDE
        text = table.T.to_string(header=False) if wide else table.to_string(index=False)
        click.echo(f"  {title}\n" + "\n".join(f"    {line}" for line in text.splitlines()))
