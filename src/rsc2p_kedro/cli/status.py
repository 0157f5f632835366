"""`kedro recordings status`: what is fresh, stale, missing or failed, for every recording and stage."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata
from kedro.pipeline.node import Node

from rsc2p_kedro.cli.environment import environment, no_recordings
from rsc2p_kedro.core.commands import command
from rsc2p_kedro.manifest.checks import ManifestError
from rsc2p_kedro.runners.freshness import Freshness, NodeState, by_recording, stage_of
from rsc2p_kedro.runners.messages import reason_of
from rsc2p_kedro.runners.recording import ALL_RECORDINGS
from rsc2p_kedro.runners.run_folder import Failure, run_folder

_SYMBOLS = {"fresh": "fresh", "stale": "STALE", "missing": "-", "failed": "FAILED", "waiting": "waits"}


@click.command()
@env_option
@click.pass_obj
def status(project: ProjectMetadata, env: str | None) -> None:
    """Show which results are fresh, stale (and why), missing or failed, without running anything."""
    with KedroSession.create(project_path=project.project_path, env=env) as session:
        try:
            catalog = session.load_context().catalog  # type: ignore[attr-defined]
            nodes = pipelines["__default__"].nodes
        except ManifestError as error:
            raise click.ClickException(str(error)) from error
        freshness = Freshness(nodes, catalog)
        recordings = by_recording(freshness.nodes.values())
        if not recordings:
            click.echo(no_recordings(env))
            return
        folder = run_folder(freshness.places)
        rows = {
            name: _with_export(
                status_of(freshness, of_recording, folder.read_failure(name) if folder else None), of_recording, env
            )
            for name, of_recording in recordings.items()
        }
        joint = {name: freshness.state(node) for name, node in _joint_nodes().items()}
    _show(rows, joint)
    fresh = all(state in ("fresh", "waiting") for row in rows.values() for state, _ in row.values())
    fresh = fresh and all(state.status == "fresh" for state in joint.values())
    if not fresh:
        click.echo(f"\nMake what is not fresh with: {command('run', environment(env))}")


def status_of(
    freshness: Freshness, nodes: Sequence[Node], failure: Failure | None = None
) -> dict[str, tuple[str, str]]:
    """The state of each stage of a recording.

    Args:
        freshness: tells which results are fresh.
        nodes: nodes of the recording.
        failure: of its last run. None if it did not fail.

    Returns:
        By stage: `fresh`, `stale`, `missing` or `failed`; and why, or when it failed.
    """
    stages: dict[str, list[NodeState]] = {}
    for node in nodes:
        stages.setdefault(stage_of(node), []).append(freshness.state(node))
    row = {stage: _of_stage(states) for stage, states in stages.items()}
    if failure is not None and row.get(failure.stage, ("fresh", ""))[0] != "fresh":
        row[failure.stage] = ("failed", f"{failure.at[:16]}: {failure.error}".splitlines()[0])
    return row


def _with_export(row: dict[str, tuple[str, str]], nodes: Sequence[Node], env: str | None) -> dict[str, tuple[str, str]]:
    """The states of a recording, with that of the export if this waits for metadata and so is not part of a run."""
    if not any(node.name.endswith(".explain_missing_nwb") for node in nodes):
        return row
    why = f"waits for metadata; `{command('recordings check', environment(env))}` prints the lines to add"
    stages = [stage for stage in row if stage != "reporting"]
    return {**{stage: row[stage] for stage in stages}, "export": ("waiting", why), "reporting": row["reporting"]}


def _of_stage(states: Sequence[NodeState]) -> tuple[str, str]:
    """State of a stage from those of its nodes."""
    if all(state.status == "fresh" for state in states):
        return "fresh", ""
    if all(state.status == "missing" for state in states):
        return "missing", ""
    return "stale", reason_of([state for state in states if state.status != "fresh"], len(states))


def _joint_nodes() -> Mapping[str, Node]:
    """Nodes of the tables and pages over all recordings, by the name of their output."""
    return {node.outputs[0]: node for node in pipelines[ALL_RECORDINGS].nodes if node.outputs}


def _show(rows: Mapping[str, Mapping[str, tuple[str, str]]], joint: Mapping[str, Any]) -> None:
    """Prints the table of all recordings, and the reasons below it."""
    stages = list(dict.fromkeys(stage for row in rows.values() for stage in row))
    width = max(len("recording"), *map(len, rows))
    click.secho("  ".join(["recording".ljust(width), *stages]), bold=True)
    for name, row in rows.items():
        cells = [_SYMBOLS[row[stage][0]].ljust(len(stage)) if stage in row else " " * len(stage) for stage in stages]
        click.echo("  ".join([name.ljust(width), *cells]).rstrip())
    click.echo(f"{'all recordings'.ljust(width)}  " + ", ".join(f"{k} {s.status}" for k, s in joint.items()))
    for name, row in rows.items():
        reasons = [f"  {stage}: {why}" for stage, (_, why) in row.items() if why]
        if reasons:
            click.echo("\n".join([f"\n{name}", *reasons]))
