"""`kedro recordings check`: all checks that are possible before a computation."""

from collections.abc import Iterable
from typing import Any

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata
from pydantic import ValidationError

from rsc2p_kedro.algorithms.registration.frames import size_problem
from rsc2p_kedro.cli.environment import count, environment, no_recordings, read_parameters
from rsc2p_kedro.core.commands import command
from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings, EvaluationParameters
from rsc2p_kedro.core.problems import group_problems, name_recordings
from rsc2p_kedro.datasets.raw import RawRecording, RecordingError
from rsc2p_kedro.datasets.raw.tiff import SUFFIXES as TIFF_SUFFIXES
from rsc2p_kedro.engines.caiman import caiman_problem
from rsc2p_kedro.manifest.checks import examine_manifest, parameter_problems, stage_problems
from rsc2p_kedro.manifest.doubts import recording_doubts, shared_data
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.acquisition import cannot_link
from rsc2p_kedro.nwb.metadata_checks import examine_metadata, how_to_add, split_missing, yaml_to_add

_SCREEN = 25
"""Lines that the output takes at most, unless `--verbose` is given."""
_MOST_DOUBTS = 6
"""Lines about what is valid but unusual, which come on top of these."""


@click.command()
@click.option("--verbose", is_flag=True, help="Tell each problem of each recording, not only each kind of problem.")
@env_option
@click.pass_obj
def check(project: ProjectMetadata, verbose: bool, env: str | None) -> None:
    """Check manifest, parameters, metadata and raw data, without computing anything.

    Each kind of problem is told once, with the recordings that it concerns. The exit code is 1 if there are any.
    Values and files that are valid but unusual are told as well.
    """
    parameters = read_parameters(project, env)
    recordings, problems = examine_manifest(parameters.get("recordings"))
    if not recordings and not problems:
        raise click.ClickException(no_recordings(env))
    of_all = [line for lines in parameter_problems(parameters).values() for line in lines]
    problems[""] = [*problems.get("", []), *of_all, *_caiman_problems(parameters, recordings)]
    metadata = examine_metadata(parameters.get("nwb") or {}, recordings)
    same_data, doubts = shared_data(recordings)
    missing: dict[tuple[str, str], list[str]] = {}
    for recording in recordings:
        lines = problems.get(recording.name, [])
        raw = None if recording.simulation is not None else recording.inspect()
        known_rate = not any(line.startswith("frame_rate_hz") for line in lines)
        of_units = [stage_problems(unit, parameters, raw=raw) for unit in recording.units] if known_rate else []
        lines += _each_once(of_units)
        lines += [*_raw_problems(recording, raw), *same_data.get(recording.name, [])]
        doubts[recording.name] = [*doubts.get(recording.name, []), *recording_doubts(recording, raw=raw)]
        lines += _link_problems(raw, parameters.get("nwb") or {})
        lines += [line for line in metadata[recording.animal, recording.session_key] if line not in lines]
        missing[recording.animal, recording.session_key], problems[recording.name] = split_missing(lines)
    state = _state(recordings, problems, missing, verbose)
    to_add = how_to_add(yaml_to_add(missing), environment(env)).splitlines()
    if to_add and not any("frame_rate_hz" in fields for fields in missing.values()):
        run = command("run", environment(env))
        state.append(f"What is missing is needed for NWB files only: until then, `{run}` does all but the export.")
    _show(state, [f"  - {line}" for line in group_problems(problems, each=verbose)], to_add, env, verbose)
    _show_doubts(group_problems(doubts, each=verbose), verbose)
    if any(problems.values()) or to_add:
        raise SystemExit(1)


def _state(
    recordings: list[Recording],
    problems: dict[str, list[str]],
    missing: dict[tuple[str, str], list[str]],
    verbose: bool,
) -> list[str]:
    """Lines that say which recordings are in order: one for each recording if `verbose`."""
    names = dict.fromkeys([recording.name for recording in recordings] + [name for name in problems if name])
    numbers = {name: len(problems.get(name, [])) for name in names}
    for (animal, session), fields in missing.items():
        numbers[f"{animal}.{session}"] += len(fields)
    if verbose:
        return [f"{name:<32} {count(number, 'problem') if number else 'ok'}" for name, number in numbers.items()]
    sound = [name for name in names if not numbers[name]]
    others = [name for name in names if numbers[name]]
    return [f"{state:<8}{name_recordings(found)}" for state, found in (("ok", sound), ("not ok", others)) if found]


def _show(state: list[str], problems: list[str], to_add: list[str], env: str | None, verbose: bool) -> None:
    """Prints the state of recordings, their problems and the lines to add, on one screen unless `verbose`."""
    if not verbose:
        more = f"... more: {command('recordings check --verbose', environment(env))}"
        left = _SCREEN - len(state) - 2
        problems = _first(problems, max(5, left - len(to_add)), f"  {more}")
        to_add = _first(to_add, left - len(problems), f"# {more}")
    click.echo("\n\n".join("\n".join(block) for block in (state, problems, to_add) if block))


def _show_doubts(doubts: list[str], verbose: bool) -> None:
    """Prints what is valid but unusual, a few lines of it unless `verbose`."""
    if doubts:
        lines = [f"  - {line}" for line in doubts]
        lines = lines if verbose else _first(lines, _MOST_DOUBTS, "  ... more with --verbose")
        click.echo("\n".join(["\nValid, but please look again:", *lines]))


def _first(lines: list[str], most: int, more: str) -> list[str]:
    """The first lines, and a last one that says that there are more."""
    return lines if len(lines) <= most else [*lines[: most - 1], more]


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


def _each_once(of_units: Iterable[list[str]]) -> list[str]:
    """Problems of all planes of a recording, each once."""
    return list(dict.fromkeys(line for lines in of_units for line in lines))


def _raw_problems(recording: Recording, raw: RawRecording | None) -> list[str]:
    """Problems with the files of a recording; None for a simulated one, whose files are written by the run."""
    if raw is None:
        return []
    return [f"raw data: {line}" for line in _each_once(_selection_problems(unit, raw) for unit in recording.units)]


def _selection_problems(unit: Recording, raw: RawRecording) -> list[str]:
    """Problems of the frames of one plane, of its functional and its structural channel."""
    problems: list[str] = []
    for structural in (False, True) if unit.has_structural_channel else (False,):
        try:
            too_small = size_problem(unit.select(raw, structural=structural).movie.shape[1:])
            problems += [f"{too_small}."] if too_small else []
        except RecordingError as error:
            problems += error.problems
    return problems


def _link_problems(raw: RawRecording | None, nwb: dict[str, Any]) -> list[str]:
    """Problems of links from the NWB file to the raw data, which can only lead to TIFFs."""
    if nwb.get("raw") != "external" or raw is None:
        return []
    others = [file for file in raw.files if file.path.suffix.lower() not in TIFF_SUFFIXES]
    return [f"nwb.raw: {cannot_link(raw.format)}"] if others else []
