"""`kedro recordings prune`: removes old versions of results."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout
from kedro.framework.cli.utils import env_option
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata
from kedro.io import DataCatalog

from rsc2p_kedro.cli.environment import count, no_recordings, read_recordings
from rsc2p_kedro.datasets.pruning import (
    NEWEST,
    Result,
    StoredDataset,
    clear_leftovers,
    inputs_on_disk,
    kept_results,
    removables,
    remove,
    size_of,
)

_ALL = "all_recordings"
"""Name under which tables and pages over all recordings are listed, and locked."""


@click.command()
@click.option("--keep", type=click.IntRange(min=1), default=1, show_default=True, help="Newest versions to keep.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@env_option
@click.pass_obj
def prune(project: ProjectMetadata, env: str | None, keep: int, dry_run: bool) -> None:
    """Remove old versions of results, and tell their sizes.

    Keeps the newest versions of each dataset, and all versions that kept results were made of. A recording that a run
    is working on is left alone; the exit code is 1 then.
    """
    if not read_recordings(project, env):
        click.echo(no_recordings(env))
        return
    with KedroSession.create(project_path=project.project_path, env=env) as session:
        stored = _stored_datasets(session.load_context().catalog)  # type: ignore[attr-defined]
    groups: dict[str, list[StoredDataset]] = defaultdict(list)
    for dataset in stored.values():
        groups[_recording(dataset.name)].append(dataset)
    logs = stored["index"].path.parent / "logs" if "index" in stored else None
    kept, freed, busy = kept_results(stored, keep), 0, []
    for name, datasets in groups.items():
        with _lock(logs, name) as free:
            if free:
                # A run may have made results in the meantime, so its own results are looked at again under its lock.
                kept = {**kept_results({one.name: one for one in datasets}, keep), **kept}
                freed += _prune(name, datasets, kept, dry_run)
            else:
                busy.append(name)
    if freed:
        click.echo(f"\n{_size(freed)} {'would be ' if dry_run else ''}removed.")
    elif not busy:
        click.echo("\nNothing to remove.")
    if busy:
        raise click.ClickException(f"A run works on {', '.join(busy)}: nothing was removed there. Try again later.")


def _recording(dataset: str) -> str:
    """Recording that a dataset belongs to."""
    parts = dataset.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else _ALL


def _stored_datasets(catalog: DataCatalog) -> dict[str, StoredDataset]:
    """All local datasets that any pipeline makes, by name."""
    nodes = {node.name: node for pipeline in pipelines.values() for node in pipeline.nodes}.values()
    inputs = {
        _plain(output): [_plain(name) for name in node.inputs if not name.startswith("params:")]
        for node in nodes
        for output in node.outputs
    }
    places: dict[str, tuple[Path, bool]] = {}
    for output in sorted({output for node in nodes for output in node.outputs}):
        dataset: Any = catalog.get(output) if output in catalog else None
        path = getattr(dataset, "_filepath", None)
        if path is not None and getattr(dataset, "_protocol", "file") == "file":
            places[_plain(output)] = Path(path), getattr(dataset, "_version", None) is not None
    return {
        name: StoredDataset(name, path, versioned, inputs_on_disk(name, inputs, places))
        for name, (path, versioned) in places.items()
    }


def _plain(name: str) -> str:
    return name.partition("@")[0]


@contextmanager
def _lock(folder: Path | None, name: str) -> Iterator[bool]:
    """Keeps runs from a recording during the block; gives False if a run is working on it."""
    if folder is None or not folder.is_dir():  # there was no run that takes locks
        yield True
        return
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _prune(name: str, datasets: list[StoredDataset], kept: Mapping[Result, str], dry_run: bool) -> int:
    """Lists, and removes unless it is a dry run, what is old of one recording; returns its size in bytes."""
    freed, lines = 0, []
    for dataset in datasets:
        label = dataset.name.removeprefix(f"{name}.")
        found = removables(dataset, kept)
        for one in found:
            n_bytes = one.n_bytes
            lines.append(f"  {label:<28} {_size(n_bytes):>9}  {one.what}")
            freed += n_bytes
            if not dry_run:
                try:
                    remove(one)
                except OSError as error:
                    raise click.ClickException(f"{one.paths[0]} cannot be removed: {error}") from error
        lines += [f"  {label:<28} {line.replace(f'{name}.', '')}" for line in _kept_lines(dataset, kept)]
    if not dry_run:
        clear_leftovers(datasets)
    if lines:
        click.secho(f"\n{name}", bold=True)
        click.echo("\n".join(lines))
    return freed


def _kept_lines(dataset: StoredDataset, kept: Mapping[Result, str]) -> list[str]:
    """What is kept beside the newest versions, and why."""
    others = [result for result in dataset.results() if result.version and kept.get(result, NEWEST) != NEWEST]
    if not others:
        return []
    n_bytes = sum(size_of(dataset.place(result.version)) for result in others)
    return [f"{_size(n_bytes):>9}  kept, {count(len(others), 'version')}: {kept[others[0]]}"]


def _size(n_bytes: int) -> str:
    """A size in words, such as 1.2 GB."""
    size, units = float(n_bytes), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if size < 1000 or unit == units[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
