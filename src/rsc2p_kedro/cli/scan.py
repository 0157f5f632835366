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

    What you have written there is kept, byte for byte.
    """
    manifest = conf_folder(project) / environment(env) / "parameters_recordings.yml"
    try:
        found = manifest_scan.find_recordings(folder, pattern=pattern, animal=animal, each_file=each_file)
        new = manifest_scan.new_recordings(found, manifest_scan.read_manifest(manifest), project.project_path)
        _show(found, new, folder)
        if new and not dry_run:
            manifest_scan.extend_manifest(manifest, new, project.project_path)
    except manifest_scan.ScanError as error:
        raise click.ClickException(str(error)) from error
    if new:
        place = manifest.relative_to(project.project_path)
        click.echo(f"\n{count(len(new), 'recording')} {'would be added to' if dry_run else 'added to'} {place}.")
        click.echo(f"Complete the empty fields there, then run: {command('recordings check', environment(env))}")


def _show(found: list[manifest_scan.RecordingOnDisk], new: list[manifest_scan.RecordingOnDisk], folder: Path) -> None:
    if not found:
        click.echo(f"No TIFF (.tif, .tiff) at or below {folder}.")
    names = {recording.path: recording for recording in new}
    for recording in found:
        known = recording.path not in names
        shown = names.get(recording.path, recording)
        click.echo(f"{'known' if known else shown.name:<32} {shown.summary}  {shown.path}")
        for problem in recording.files.problems:
            click.secho(f"    {problem}", fg="yellow")
