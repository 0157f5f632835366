"""`kedro recordings prune`: removes old versions of results."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.cli.environment import count, no_recordings, read_recordings
from rsc2p_kedro.datasets.pruning import (
    NEWEST,
    Removable,
    Result,
    StoredDataset,
    clear_leftovers,
    inputs_on_disk,
    kept_results,
    removables,
    remove,
    size_in_words,
    size_of,
)
from rsc2p_kedro.runners.freshness import dataset_of
from rsc2p_kedro.runners.places import Places
from rsc2p_kedro.runners.recording import ALL_RECORDINGS
from rsc2p_kedro.runners.run_folder import run_folder

_SMALL, _NAMED = 1_000_000, 2
"""Size in bytes below which datasets share a line of the list, and number of versions that a line names."""


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
        places = Places(session.load_context().catalog)  # type: ignore[attr-defined]
        stored, folder = _stored_datasets(places), run_folder(places)
    groups: dict[str, list[StoredDataset]] = defaultdict(list)
    for dataset in stored.values():
        groups[_recording(dataset.name)].append(dataset)
    kept, freed, busy = kept_results(stored, keep), 0, []
    for name, datasets in groups.items():
        with folder.lock_if_free(name) if folder else nullcontext(True) as free:
            if free:
                # A run may have made results in the meantime, so its own results are looked at again under its lock.
                kept = {**kept_results({one.name: one for one in datasets}, keep), **kept}
                freed += _prune(name, datasets, kept, dry_run)
            else:
                busy.append(name)
    if freed:
        click.echo(f"\n{size_in_words(freed)} {'would be ' if dry_run else ''}removed.")
    elif not busy:
        click.echo("\nNothing to remove.")
    if busy:
        raise click.ClickException(f"A run works on {', '.join(busy)}: nothing was removed there. Try again later.")


def _recording(dataset: str) -> str:
    """Recording that a dataset belongs to."""
    parts = dataset.split(".")
    return ".".join(parts[:2]) if len(parts) > 2 else ALL_RECORDINGS


def _stored_datasets(places: Places) -> dict[str, StoredDataset]:
    """All datasets that any pipeline makes and that are stored, by name."""
    nodes = {node.name: node for pipeline in pipelines.values() for node in pipeline.nodes}.values()
    inputs = {
        dataset_of(output): [dataset_of(name) for name in node.inputs if not name.startswith("params:")]
        for node in nodes
        for output in node.outputs
    }
    outputs = sorted({output for node in nodes for output in node.outputs})
    stored = {dataset_of(output): place for output in outputs if (place := places[output]) is not None}
    return {
        name: StoredDataset(name, place.path, place.versioned, inputs_on_disk(name, inputs, stored))
        for name, place in stored.items()
    }


def _prune(name: str, datasets: list[StoredDataset], kept: Mapping[Result, str], dry_run: bool) -> int:
    """Lists, and removes unless it is a dry run, what is old of one recording; returns its size in bytes."""
    found = {dataset.name: removables(dataset, kept) for dataset in datasets}
    sizes = {one: one.n_bytes for of_dataset in found.values() for one in of_dataset}
    lines = _removed_lines(name, found, sizes)
    for dataset in datasets:
        label = dataset.name.removeprefix(f"{name}.")
        lines += [_line(label, n_bytes, text.replace(f"{name}.", "")) for n_bytes, text in _kept_lines(dataset, kept)]
    if lines:
        click.secho(f"\n{name}", bold=True)
        click.echo("\n".join(lines))
    if not dry_run:
        for one in sizes:
            try:
                remove(one)
            except OSError as error:
                raise click.ClickException(f"{one.paths[0]} cannot be removed: {error}") from error
        clear_leftovers(datasets)
    return sum(sizes.values())


def _removed_lines(name: str, found: Mapping[str, list[Removable]], sizes: Mapping[Removable, int]) -> list[str]:
    """A line for each dataset, the largest first; those of less than `_SMALL` bytes in one line together."""
    lines, small = [], []
    totals = {dataset: sum(sizes[one] for one in removed) for dataset, removed in found.items() if removed}
    for dataset, n_bytes in sorted(totals.items(), key=lambda item: -item[1]):
        if n_bytes < _SMALL:
            small.append(dataset)
            continue
        what = [one.what for one in found[dataset]]
        text = ", ".join(what) if len(what) <= _NAMED else f"{what[0]} ... {what[-1]}, {len(what)} versions"
        lines.append(_line(dataset.removeprefix(f"{name}."), n_bytes, text))
    if small:
        versions = count(sum(len(found[dataset]) for dataset in small), "version")
        lines.append(_line(count(len(small), "small dataset"), sum(totals[dataset] for dataset in small), versions))
    return lines


def _line(label: str, n_bytes: int, text: str) -> str:
    return f"  {label:<28} {size_in_words(n_bytes):>9}  {text}"


def _kept_lines(dataset: StoredDataset, kept: Mapping[Result, str]) -> list[tuple[int, str]]:
    """Size of what is kept beside the newest versions, if anything, and why."""
    others = [result for result in dataset.results() if result.version and kept.get(result, NEWEST) != NEWEST]
    if not others:
        return []
    n_bytes = sum(size_of(dataset.place(result.version)) for result in others)
    return [(n_bytes, f"kept, {count(len(others), 'version')}: {kept[others[0]]}")]
