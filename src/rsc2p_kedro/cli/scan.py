"""`kedro recordings scan`: finds recordings and adds them to the manifest."""

from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.cli.environment import conf_folder, count, environment
from rsc2p_kedro.manifest import scan as manifest_scan
from rsc2p_kedro.manifest.commands import command


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--pattern",
    help="Position of the names in paths below FOLDER, such as '{animal}/2p/{session}'; * matches any characters.",
)
@click.option("--animal", help="Name of the animal of all recordings found.")
@click.option("--each-file", is_flag=True, help="Treat each stack as a separate recording, not as part of one.")
@click.option("--dry-run", is_flag=True, help="Show the recordings that would be added, and write nothing.")
@env_option(help="Environment whose manifest is extended (default: local).")
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
    """Find the recordings in FOLDER and add new ones to the manifest.

    Existing lines of the manifest are not changed.
    """
    manifest = conf_folder(project) / environment(env) / "parameters_recordings.yml"
    try:
        on_disk = manifest_scan.find_recordings(folder, pattern=pattern, animal=animal, each_file=each_file)
        new = manifest_scan.new_recordings(on_disk, manifest_scan.read_manifest(manifest), project.project_path)
        _show(on_disk, new, folder)
        if new and not dry_run:
            manifest_scan.extend_manifest(manifest, new, project.project_path)
    except manifest_scan.ScanError as error:
        raise click.ClickException(str(error)) from error
    if new:
        place = manifest.relative_to(project.project_path)
        click.echo(f"\n{count(len(new), 'recording')} {'would be added to' if dry_run else 'added to'} {place}.")
        click.echo(f"Complete the empty fields there, then run: {command('recordings check', environment(env))}")


def _show(on_disk: list[manifest_scan.RecordingOnDisk], new: list[manifest_scan.RecordingOnDisk], folder: Path) -> None:
    """Prints the recordings found on disk, with their problems, and which of them the manifest already contains."""
    if not on_disk:
        click.echo(f"No TIFF (.tif, .tiff) was found in {folder} or its subfolders.")
    new_by_path = {recording.path: recording for recording in new}
    for recording in on_disk:
        known = recording.path not in new_by_path
        shown = new_by_path.get(recording.path, recording)
        click.echo(f"{'known' if known else shown.name:<32} {shown.summary}  {shown.path}")
        for problem in recording.files.problems:
            click.secho(f"    {problem}", fg="yellow")
