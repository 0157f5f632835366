"""`kedro recordings check`: all checks that are possible before a computation."""

from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata
from pydantic import ValidationError

from rsc2p_kedro.cli.environment import count, environment, no_recordings, read_parameters
from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings, EvaluationParameters
from rsc2p_kedro.datasets.raw import RawRecording, RecordingError, inspect_recording
from rsc2p_kedro.datasets.raw.tiff import SUFFIXES as TIFF_SUFFIXES
from rsc2p_kedro.engines.caiman import caiman_problem
from rsc2p_kedro.manifest.checks import examine_manifest, parameter_problems, stage_problems
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.acquisition import cannot_link
from rsc2p_kedro.nwb.metadata_checks import MetadataError, check_metadata


@click.command()
@env_option
@click.pass_obj
def check(project: ProjectMetadata, env: str | None) -> None:
    """Check manifest, parameters, metadata and raw data, without computing anything.

    Lists all problems of all recordings; the exit code is 1 if there are any.
    """
    parameters = read_parameters(project, env)
    recordings, manifest_problems = examine_manifest(parameters.get("recordings"))
    if not recordings and not manifest_problems:
        raise click.ClickException(no_recordings(env))
    problems = {
        "manifest": manifest_problems,
        **parameter_problems(parameters),
        "caiman engine": _caiman_problems(parameters, recordings),
    }
    metadata = _metadata_error(parameters, recordings, environment(env))
    for recording in recordings:
        own = [*stage_problems(recording, parameters), *_raw_problems(recording, project.project_path)]
        own += _link_problems(recording, project.project_path, parameters.get("nwb") or {})
        problems[recording.name] = own
        number = len(own) + (len(metadata.problems.get(recording.name, [])) if metadata else 0)
        number += sum(problem.startswith(f"recordings.{recording.name}.") for problem in manifest_problems)
        click.echo(f"{recording.name:<32} {count(number, 'problem') if number else 'ok'}")
    for name, lines in problems.items():
        if lines:
            click.echo(f"\n{name}:\n" + "\n".join(f"  - {line}" for line in lines))
    if metadata:
        click.echo(f"\n{metadata}")
    if metadata or any(problems.values()):
        raise SystemExit(1)


def _caiman_problems(parameters: dict[str, Any], recordings: list[Recording]) -> list[str]:
    """Problems of the installation of CaImAn, if any stage of any recording uses it."""
    stages = [parameters.get(stage) or {} for stage in STAGE_PARAMETERS]
    stages += [stage for recording in recordings for stage in recording.parameters.values()]
    if not any(stage.get("engine") == "caiman" for stage in stages):
        return []
    try:
        shared = EvaluationParameters.model_validate(parameters.get("evaluation") or {})
        evaluations = [recording.override(shared) for recording in recordings]
        settings = CaimanSettings.model_validate(parameters.get("caiman") or {})
    except ValidationError:
        return []  # reported with the parameters
    needs_cnn = any(one.engine == "caiman" and one.use_classifier for one in evaluations)
    problem = caiman_problem(settings, use_cnn=needs_cnn)
    return [problem] if problem else []


def _metadata_error(parameters: dict[str, Any], recordings: list[Recording], env: str) -> MetadataError | None:
    try:
        check_metadata(parameters.get("nwb") or {}, recordings, env=env)
    except MetadataError as error:
        return error
    return None


def _raw_problems(recording: Recording, project: Path) -> list[str]:
    """Problems with the files of a recording. Raw frames of simulated recordings are written by the run."""
    problems = [
        f"{name}: there is no file {path}; correct the path or remove the line."
        for unit in recording.units
        for name, path in {"seeds": unit.seeds, "curation": unit.curation}.items()
        if path is not None and not (project / path).is_file()
    ]
    if recording.simulation is None:
        raw = inspect_recording(project / recording.path, layout=recording.layout)
        lines = [line for unit in recording.units for line in _selection_problems(unit, raw)]
        problems += [f"raw data: {line}" for line in dict.fromkeys(lines)]
    return problems


def _selection_problems(unit: Recording, raw: RawRecording) -> list[str]:
    """Problems of the frames of one plane, of its functional and its structural channel."""
    problems: list[str] = []
    for structural in (False, True) if unit.has_structural_channel else (False,):
        try:
            unit.select(raw, structural=structural)
        except RecordingError as error:
            problems += error.problems
    return problems


def _link_problems(recording: Recording, project: Path, nwb: dict[str, Any]) -> list[str]:
    """Problems of links from the NWB file to the raw data, which can only lead to TIFFs."""
    if nwb.get("raw") != "external" or recording.simulation is not None:
        return []
    raw = inspect_recording(project / recording.path, layout=recording.layout)
    others = [file for file in raw.files if file.path.suffix.lower() not in TIFF_SUFFIXES]
    return [f"nwb.raw: {cannot_link(raw.format)}"] if others else []
