"""`kedro recordings import`: enters a table of sessions into the manifest."""

from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.cli.environment import conf_folder, count, environment
from rsc2p_kedro.core.commands import command
from rsc2p_kedro.core.problems import name_recordings
from rsc2p_kedro.manifest.manifest_file import write_text
from rsc2p_kedro.manifest.scan import ScanError
from rsc2p_kedro.manifest.session_import import Import, enter_sessions
from rsc2p_kedro.manifest.session_table import TableError, columns, read_sessions


@click.command(name="import")
@click.argument("table", type=click.Path(path_type=Path), required=False)
@click.option("--overwrite", is_flag=True, help="Replace values of the manifest that differ from those of the table.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--columns", "show_columns", is_flag=True, help="List the columns that a table may have.")
@env_option(help="Environment whose manifest is changed (default: local).")
@click.pass_obj
def import_sessions(
    project: ProjectMetadata, table: Path | None, overwrite: bool, dry_run: bool, show_columns: bool, env: str | None
) -> None:
    """Enter TABLE, a CSV with one row a session, into the manifest.

    Columns are `animal` and `session`, or `path`, and fields of the manifest such as `frame_rate_hz`, `subject.sex` or
    `session.session_start_time`; `--columns` lists all. Separators may be commas, semicolons or tabs. Empty cells say
    nothing. Lines and comments of the manifest are kept.
    """
    if show_columns:
        click.echo("\n".join(columns()))
        return
    if table is None:
        raise click.UsageError(
            f"Give the table of your sessions: {command('recordings import sessions.csv', environment(env))}"
        )
    manifest = conf_folder(project) / environment(env) / "parameters_recordings.yml"
    try:
        rows = read_sessions(table)
        result = enter_sessions(table, rows, manifest, project.project_path, overwrite=overwrite)
    except (TableError, ScanError) as error:
        raise click.ClickException(str(error)) from error
    if not dry_run and (result.added or result.written):
        write_text(manifest, result.text)
    _show(result, len(rows), manifest.relative_to(project.project_path), dry_run)
    click.echo(f"Next: {command('recordings check', environment(env))}")


def _show(result: Import, n_rows: int, manifest: Path, dry_run: bool) -> None:
    """Prints what is written, each field once."""
    fields: dict[str, list[str]] = {}
    for name, written in result.written.items():
        for field in written:
            fields.setdefault(field, []).append(name)
    number = sum(map(len, fields.values()))
    would = "would be written to" if dry_run else "written to"
    click.echo(
        f"{count(n_rows, 'row')}: {count(number, 'value')} {would} {manifest}, {result.unchanged} there already."
    )
    if result.added:
        click.echo(f"  new recordings: {name_recordings(result.added)}")
    for field, names in fields.items():
        click.echo(f"  {field}: {name_recordings(names)}")
