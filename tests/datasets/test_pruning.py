"""Pruning removes old versions, and never one that a kept result was made of."""

import json
import os
import random
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from rsc2p_kedro.datasets.atomic import record_path
from rsc2p_kedro.datasets.pruning import (
    Result,
    StoredDataset,
    clear_leftovers,
    inputs_on_disk,
    kept_results,
    removables,
    remove,
    size_in_words,
    size_of_old_versions,
)

INPUTS = {
    "movie": [],
    "corrected": ["movie"],
    "motion": ["movie"],
    "components": ["corrected", "motion"],
    "quality": ["components", "corrected"],
    "nwb": ["movie", "components", "quality"],
}


def version(day: int) -> str:
    return f"2026-01-{day:02d}T00.00.00.000Z"


class Store:
    """A data folder with the datasets of one recording."""

    def __init__(self, folder: Path) -> None:
        self.datasets = {
            name: StoredDataset(name, folder / name, name != "nwb", tuple(inputs)) for name, inputs in INPUTS.items()
        }

    def save(self, name: str, day: int, made_of: Mapping[str, int] | None = None) -> None:
        """Saves a version of one day; `made_of` gives the days of its inputs for its record, None saves no record."""
        dataset = self.datasets[name]
        place = dataset.place(version(day) if dataset.versioned else None)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("x" * day)
        seconds = 1767225600 + 86400 * (day - 1) + 3600  # an hour after midnight of that day, UTC
        os.utime(place, (seconds, seconds))
        if made_of is not None:
            record = {"input_versions": {one: version(made) for one, made in made_of.items()}}
            record_path(place).write_text(json.dumps(record))

    def days(self, name: str) -> list[int]:
        return [int(one[8:10]) for one in reversed(self.datasets[name].versions())]

    def prune(self, keep: int = 1) -> dict[Result, str]:
        kept = kept_results(self.datasets, keep)
        for dataset in self.datasets.values():
            for removable in removables(dataset, kept):
                remove(removable)
        return kept


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_newest_versions_stay_and_older_ones_go_with_all_their_files(store: Store):
    for day in (1, 2, 3):
        store.save("movie", day, {})
    (store.datasets["movie"].path / version(1) / "note.txt").write_text("beside it")
    found = removables(store.datasets["movie"], kept_results(store.datasets, 1))
    assert [(one.what, one.n_bytes) for one in found] == [
        (version(2), 2 + len('{"input_versions": {}}')),
        (version(1), 1 + len("beside it") + len('{"input_versions": {}}')),
    ]
    store.prune(keep=2)
    assert store.days("movie") == [2, 3]
    store.prune()
    assert sorted(path.name for path in store.datasets["movie"].path.iterdir()) == [version(3)]


def test_version_that_a_kept_result_was_made_of_stays_however_far_up(store: Store):
    for day in (1, 2, 3):
        store.save("movie", day, {})
    store.save("corrected", 2, {"movie": 1})  # of a movie that was pinned by --load-versions
    store.save("motion", 3, {"movie": 3})
    store.save("components", 3, {"corrected": 2, "motion": 3})
    kept = store.prune()
    assert store.days("movie") == [1, 3]
    assert kept[Result("movie", version(1))] == f"corrected {version(2)} was made of it"


def test_result_without_versions_holds_what_it_was_made_of(store: Store):
    for day in (1, 2):
        store.save("movie", day, {})
        store.save("components", day, {"corrected": 1, "motion": 1})
        store.save("quality", day, {"components": day, "corrected": 1})
    store.save("nwb", 1, {"movie": 1, "components": 1, "quality": 1})
    store.prune()
    assert store.days("movie") == store.days("components") == [1, 2]
    store.save("nwb", 2, {"movie": 2, "components": 2, "quality": 2})
    store.prune()
    assert store.days("movie") == store.days("components") == [2]


@pytest.mark.parametrize("record", [None, "half of a rec", "[]", '{"input_versions": 3}'])
def test_result_without_a_record_holds_all_that_it_may_have_been_made_of(store: Store, record: str | None):
    for day in (1, 2, 4):
        store.save("movie", day, {})
    store.save("motion", 3)
    if record is not None:
        (store.datasets["motion"].path / version(3) / "motion.made.json").write_text(record)
    store.save("movie", 5, {})
    kept = store.prune()
    assert store.days("movie") == [1, 2, 5]
    assert kept[Result("movie", version(1))] == f"motion {version(3)} does not tell what it was made of"


def test_inputs_that_a_record_does_not_name_may_be_any(store: Store):
    for day in (1, 2, 3):
        store.save("corrected", day, {})
        store.save("motion", day, {})
    store.save("components", 3, {"motion": 2})
    store.prune()
    assert store.days("motion") == [2, 3]
    assert store.days("corrected") == [1, 2, 3]


def test_versions_with_names_of_their_own_count_as_possible_inputs(store: Store):
    for name in ("0_before", version(1), version(2)):
        place = store.datasets["movie"].place(name)
        place.parent.mkdir(parents=True)
        place.write_text("x")
    store.save("motion", 1)
    store.prune()
    assert set(store.datasets["movie"].versions()) == {"0_before", version(1), version(2)}


def test_removal_that_was_interrupted_is_finished(store: Store, monkeypatch: pytest.MonkeyPatch):
    for day in (1, 2):
        store.save("movie", day, {})
    monkeypatch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.prune()
    monkeypatch.undo()
    assert store.days("movie") == [2]
    assert len(list(store.datasets["movie"].path.iterdir())) == 2
    store.prune()
    assert [path.name for path in store.datasets["movie"].path.iterdir()] == [version(2)]


def test_movie_of_a_project_without_versions_goes_once_there_is_one_with(store: Store):
    old = store.datasets["movie"].path
    (old / "c" / "0").mkdir(parents=True)
    (old / "c" / "0" / "0").write_text("chunk")
    (old / "zarr.json").write_text("{}")
    assert removables(store.datasets["movie"], {}) == []
    store.save("movie", 1, {})
    (found,) = removables(store.datasets["movie"], kept_results(store.datasets, 1))
    assert (found.what, found.n_bytes) == ("without a version, of an earlier version of this project", 7)
    remove(found)
    assert [path.name for path in old.iterdir()] == [version(1)]


@pytest.mark.skipif(os.name != "posix", reason="asks for processes by signal")
def test_what_killed_runs_left_is_cleared(store: Store):
    store.save("movie", 1, {})
    half = store.datasets["movie"].path / version(2) / f".movie.{socket.gethostname()}-{2**22 + 1}.new.tmp"
    half.mkdir(parents=True)
    clear_leftovers(store.datasets.values())
    assert [path.name for path in store.datasets["movie"].path.iterdir()] == [version(1)]


def test_inputs_behind_datasets_in_memory_are_found():
    inputs = {"table": ["costs", "quality"], "costs": ["movie", "more costs"], "more costs": ["costs", "motion"]}
    assert inputs_on_disk("table", inputs, ["movie", "motion", "quality"]) == ("quality", "movie", "motion")


def _ancestry(result: Result, made_of: Mapping[Result, set[Result]]) -> set[Result]:
    found = set(made_of[result])
    for one in made_of[result]:
        found |= _ancestry(one, made_of)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_no_history_of_runs_makes_it_remove_what_is_needed_or_keep_what_is_not(tmp_path: Path, seed: int):
    rng, store = random.Random(seed), Store(tmp_path)
    made_of: dict[Result, set[Result]] = {}
    for day in range(1, 15):
        for name, inputs in INPUTS.items():
            there = {one: store.days(one) for one in inputs}
            if rng.random() < 0.4 or not all(there.values()):
                continue  # only some stages run
            days = {one: rng.choice(found) if rng.random() < 0.3 else found[-1] for one, found in there.items()}
            store.save(name, day, days)
            result = Result(name, None if name == "nwb" else version(day))
            made_of[result] = {Result(one, version(made)) for one, made in days.items()}
    keep = rng.choice([1, 2])
    before = {result for dataset in store.datasets.values() for result in dataset.results()}
    newest = {result for dataset in store.datasets.values() for result in dataset.results(keep)}
    store.prune(keep)
    after = {result for dataset in store.datasets.values() for result in dataset.results()}
    assert after == newest.union(*(_ancestry(result, made_of) for result in newest))
    assert len(after) < len(before)


def test_old_versions_are_measured_and_sizes_put_into_words(tmp_path):
    store = Store(tmp_path)
    for day in (3, 4, 5):
        store.save("movie", day)
    store.save("nwb", 9)
    assert size_of_old_versions(store.datasets.values()) == 3 + 4
    assert [size_in_words(n) for n in (0, 999, 1500, 2_340_000_000)] == ["0 B", "999 B", "1.5 kB", "2.3 GB"]
