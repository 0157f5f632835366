"""`kedro recordings results`: lists the files of results, and shows the main tables."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata
from kedro.io import AbstractDataset, DataCatalog

from rsc2p_kedro.cli.environment import environment, no_recordings, read_recordings
from rsc2p_kedro.core.commands import command

_WIDE = 6
"""Tables with more columns are shown transposed, for the width of a terminal."""


@click.command()
@env_option
@click.pass_obj
def results(project: ProjectMetadata, env: str | None) -> None:
    """Show the paths of results and, for simulated recordings, their accuracy."""
    recordings = read_recordings(project, env)
    if not recordings:
        click.echo(no_recordings(env))
        return
    with KedroSession.create(project_path=project.project_path, env=env) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        names = sorted(_datasets())
        for recording in recordings:
            click.secho(f"\n{recording.name}", bold=True)
            own = [name for name in names if name.startswith(f"{recording.name}.")]
            _show_files(catalog, own, project, env)
            for unit in recording.units:
                plane = "" if unit.plane is None else f", plane {unit.plane}"
                title = f"Comparison with the ground truth{plane}:"
                _show_table(catalog, f"{unit.name}.truth_score_table", title)
        click.secho("\nAll recordings", bold=True)
        _show_files(catalog, [name for name in names if "." not in name], project, env)
        _show_table(catalog, "recordings_table", "Summary:")


def _datasets() -> set[str]:
    """Names of all datasets that the pipelines read or write, without parameters."""
    return {name for name in pipelines["__default__"].datasets() if name.split(":")[0] not in ("params", "parameters")}


def _show_files(catalog: DataCatalog, names: Iterable[str], project: ProjectMetadata, env: str | None) -> None:
    """Prints the paths of existing datasets, grouped by layer of the data folder."""
    layers: dict[str, dict[Path, str]] = defaultdict(dict)
    for name in names:
        path = _path(catalog.get(name)) if catalog.exists(name) else None
        if path is not None:
            place = path.relative_to(project.project_path) if path.is_relative_to(project.project_path) else path
            layer = place.parts[1] if place.parts[0] == "data" else "your files"
            layers[layer].setdefault(place, name.split(".")[-1].partition("@")[0])
    for layer, files in sorted(layers.items()):
        click.echo(f"  {layer}")
        click.echo("\n".join(f"    {label:<28} {place}" for place, label in files.items()))
    if not layers:
        click.echo(f"  no results yet; compute them with: {command('run', environment(env))}")


def _path(dataset: AbstractDataset | None) -> Path | None:
    """Path of a dataset: that of its latest version, if it has versions."""
    find = getattr(dataset, "_get_load_path", None)
    path = find() if find else getattr(dataset, "_filepath", None)
    return None if path is None else Path(path)


def _show_table(catalog: DataCatalog, name: str, title: str) -> None:
    """Prints a table as text; a wide one is transposed to fit the width of a terminal."""
    if name in catalog and catalog.exists(name):
        table = catalog.load(name)
        wide = len(table.columns) > _WIDE
        text = table.T.to_string(header=False) if wide else table.to_string(index=False)
        click.echo(f"  {title}\n" + "\n".join(f"    {line}" for line in text.splitlines()))
