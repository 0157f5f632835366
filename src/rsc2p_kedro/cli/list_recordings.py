"""`kedro recordings list`: lists the recordings of the manifest."""

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.cli.environment import no_recordings, read_recordings


@click.command(name="list")
@env_option
@click.pass_obj
def list_recordings(project: ProjectMetadata, env: str | None) -> None:
    """List the recordings of the manifest."""
    recordings = read_recordings(project, env)
    for recording in recordings:
        window = f", frames {recording.frames[0]} to {recording.frames[1]}" if recording.frames else ""
        planes = f", {recording.n_planes} planes" if recording.n_planes > 1 else ""
        kind = ", simulated" if recording.simulation else ""
        click.echo(f"{recording.name:<32} {recording.frame_rate_hz:g} Hz  {recording.path}{window}{planes}{kind}")
    if not recordings:
        click.echo(no_recordings(env))
