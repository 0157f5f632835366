"""`kedro recordings scan`: finds recordings and adds them to the manifest."""

from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.cli.environment import conf_folder, count, environment, read_parameters
from rsc2p_kedro.core.commands import command
from rsc2p_kedro.manifest.inspection import ScanCache
from rsc2p_kedro.manifest.manifest_file import extend_manifest, read_manifest
from rsc2p_kedro.manifest.scan import RecordingOnDisk, ScanError, Search, find_recordings, new_recordings
from rsc2p_kedro.nwb.metadata_checks import given_metadata, shared_problems

CACHE = Path("data", "02_intermediate", "scan_cache.json")
"""What earlier scans have read from headers. It can be deleted at any time."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--pattern",
    help="Position of the names in paths below FOLDER, such as '{animal}/2p/{session}'; * matches any characters.",
)
@click.option("--animal", help="Name of the animal of all recordings found.")
@click.option("--each-file", is_flag=True, help="Treat each stack as a separate recording, not as part of one.")
@click.option("--dry-run", is_flag=True, help="Show the recordings that would be added, and write nothing.")
@click.option("--reread", is_flag=True, help="Read all headers again, also those of files that have not changed.")
@env_option(help="Environment whose manifest is extended (default: local).")
@click.pass_obj
def scan(
    project: ProjectMetadata,
    folder: Path,
    pattern: str | None,
    animal: str | None,
    each_file: bool,
    dry_run: bool,
    reread: bool,
    env: str | None,
) -> None:
    """Find the recordings in FOLDER and add new ones to the manifest.

    Existing lines of the manifest are not changed. What files and folders tell is filled in, with its source.
    """
    manifest = conf_folder(project) / environment(env) / "parameters_recordings.yml"
    cache = ScanCache(project.project_path / CACHE, reread=reread)
    try:
        found = find_recordings(folder, pattern=pattern, animal=animal, each_file=each_file, cache=cache)
        new = new_recordings(found.recordings, read_manifest(manifest), project.project_path)
        _show(found, new, folder)
        if new and not dry_run:
            extend_manifest(manifest, new, project.project_path, _known_fields(project, env))
    except ScanError as error:
        raise click.ClickException(str(error)) from error
    if new:
        place = manifest.relative_to(project.project_path)
        click.echo(f"\n{count(len(new), 'recording')} {'would be added to' if dry_run else 'added to'} {place}.")
        click.echo(f"Complete the empty fields there, then run: {command('recordings check', environment(env))}")


def _known_fields(project: ProjectMetadata, env: str | None) -> set[str]:
    """Metadata that are given for all recordings in parameters_nwb.yml."""
    shared, _ = shared_problems(read_parameters(project, env).get("nwb") or {})
    return set(given_metadata(shared)) if shared else set()


def _show(found: Search, new: list[RecordingOnDisk], folder: Path) -> None:
    """Prints the recordings found on disk, with their problems, which of them are new, and what was ignored."""
    if not found.recordings:
        click.echo(f"No recording was found in {folder} or its subfolders.")
    new_by_place = {(recording.path, recording.files): recording for recording in new}
    for recording in found.recordings:
        shown = new_by_place.get((recording.path, recording.files))
        files = f"/{recording.files[0]}" if recording.files else ""
        name = shown.name if shown else "known"
        click.echo(f"{name:<32} {recording.inspection.summary}  {recording.path}{files}")
        for note in recording.inspection.notes:
            click.echo(f"    {note}")
        for problem in recording.inspection.problems:
            click.secho(f"    {problem}", fg="yellow")
    for path, reason in found.ignored:
        click.secho(f"{'ignored':<32} {reason}  {path}", dim=True)
