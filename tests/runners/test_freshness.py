"""What has changed since the last run decides what runs: on a small pipeline of texts, with real files."""

import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from rsc2p_kedro.core import versions
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import FrozenModel
from rsc2p_kedro.datasets.made import read_record
from rsc2p_kedro.runners import RecordingRunner, freshness
from rsc2p_kedro.runners.freshness import Freshness, StaleInputsError, refuse_stale_inputs
from rsc2p_kedro.runners.recording import Run, RunFailedError

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain:UserWarning")

CALLS: list[str] = []


class Settings(FrozenModel):
    volume: int = 1
    echo: int = 2
    unused: int = 0


@uses(settings="volume")
def shout(raw: str, settings: Settings) -> str:
    CALLS.append("shout")
    if raw == "broken":
        raise ValueError("no voice")
    return raw.upper() + "!" * settings.volume


@uses(settings="echo")
def repeat(shouted: str, settings: Settings) -> str:
    CALLS.append("repeat")
    return shouted * settings.echo


def compare(shouted: str, repeated: str) -> str:
    CALLS.append("compare")
    return f"{shouted} {repeated}"


def join(*texts: str) -> str:
    CALLS.append("join")
    if any("UNFIT" in text for text in texts):
        raise ValueError("these do not fit")
    return "\n".join(texts)


def nodes_of(name: str) -> list[Node]:
    def node(function: Any, inputs: list[str], output: str, stage: str) -> Node:
        full = [text if ":" in text else f"{name}.{text}" for text in inputs]
        return Node(function, full, f"{name}.{output}", name=function.__name__, namespace=f"{name}.{stage}")

    return [
        node(shout, ["raw", "params:settings"], "shouted", "ingestion"),
        node(repeat, ["shouted", "params:settings"], "repeated", "motion_correction"),
        node(compare, ["shouted", "repeated"], "compared", "evaluation"),
    ]


class Toy:
    """A folder with raw texts, and runs over them; each run has its own version, as each session of Kedro has."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path, self.names, self.count = path, names, 0
        for name in names:
            self.raw(name).write_text(f"hello {name}")

    def raw(self, name: str) -> Path:
        return self.path / f"{name}.txt"

    def pipeline(self) -> Pipeline:
        joint = Node(join, [f"{name}.compared" for name in self.names], "index", name="join")
        return Pipeline([*(node for name in self.names for node in nodes_of(name)), joint])

    def catalog(self, version: str | None = None, load_versions: Any = None, **settings: int) -> DataCatalog:
        kind = {"type": "rsc2p_kedro.datasets.AtomicTextDataset"}
        entries = {f"{name}.raw": {**kind, "filepath": str(self.raw(name))} for name in self.names}
        pattern = {**kind, "filepath": str(self.path / "{animal}/{session}/{name}.txt"), "versioned": True}
        index = {**kind, "filepath": str(self.path / "index.html")}
        catalog = DataCatalog.from_config(
            {**entries, "{animal}.{session}.{name}": pattern, "index": index},
            save_version=version or f"2026-01-01T00.00.{self.count:02d}.000Z",
            load_versions=load_versions,
        )
        catalog["params:settings"] = Settings(**settings)
        return catalog

    def run(self, *parts: str, load_versions: Any = None, version: str | None = None, **options: Any) -> list[str]:
        """Runs the pipeline, or nodes of the given functions; returns what was called."""
        self.count += 1
        CALLS.clear()
        settings = {name: options.pop(name) for name in Settings.model_fields if name in options}
        pipeline = self.pipeline()
        if parts:
            pipeline = Pipeline([node for node in pipeline.nodes if node.func.__name__ in parts])
        runner = options.pop("runner", None) or RecordingRunner(**options)
        whole = {"__default__": self.pipeline(), "all_recordings": Pipeline([])}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kedro.framework.project.pipelines", whole)
            runner.run(pipeline, self.catalog(version, load_versions, **settings))
        return list(CALLS)

    def version_of(self, name: str) -> str:
        return sorted(path.name for path in (self.path / name.replace(".", "/")).with_suffix(".txt").iterdir())[-1]

    def result(self, name: str) -> Path:
        path = self.path / f"{name.replace('.', '/')}.txt"
        return path / self.version_of(name) / path.name


@pytest.fixture
def toy(tmp_path) -> Toy:
    """One recording that has run."""
    toy = Toy(tmp_path, "a.1")
    assert toy.run() == ["shout", "repeat", "compare", "join"]
    return toy


ALL = ["shout", "repeat", "compare", "join"]


def test_a_second_run_makes_nothing(toy):
    assert toy.run() == []


@pytest.mark.parametrize(
    ("settings", "remade"),
    [({"volume": 2}, ALL), ({"echo": 3}, ALL[1:]), ({"unused": 5}, []), ({"volume": 2, "echo": 3}, ALL)],
)
def test_a_changed_parameter_remakes_what_uses_it_and_what_comes_after(toy, settings, remade):
    assert toy.run(**settings) == remade
    assert toy.run(**settings) == []
    assert toy.run() == remade, "and back"


def test_changed_raw_data_remake_all(toy):
    toy.raw("a.1").write_text("good morning")
    assert toy.run() == ALL
    assert (toy.path / "index.html").read_text().startswith("GOOD MORNING!")


def test_the_time_and_the_place_of_files_change_nothing(toy, tmp_path_factory):
    toy.raw("a.1").touch()
    assert toy.run() == []
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    toy.path.rename(elsewhere)
    toy.path = elsewhere
    assert toy.run() == []


def test_a_missing_result_is_made_again_and_nothing_else(toy):
    toy.result("a.1.repeated").unlink()
    assert toy.run() == ["repeat"]


def test_a_result_of_which_nothing_is_known_is_made_again(toy):
    toy.result("a.1.shouted").with_name("shouted.txt.made.json").unlink()
    assert toy.run() == ["shout"], "it is the same as before, so what was made of it is fresh"


@pytest.mark.parametrize(
    "edit", [{"making": {"function": "shout", "version": 0, "parameters": None}}, {"made_at": 5}, {"fingerprint": "x"}]
)
def test_a_result_whose_record_was_edited_is_made_again(toy, edit):
    record = toy.result("a.1.shouted").with_name("shouted.txt.made.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | edit))
    assert toy.run() == ["shout"]


def test_parameters_that_were_edited_in_a_record_do_not_make_the_result_fresh(toy):
    record = toy.result("a.1.shouted").with_name("shouted.txt.made.json")
    contents = json.loads(record.read_text())
    contents["making"]["parameters"] = {"settings.volume": 2}
    record.write_text(json.dumps(contents))
    assert "shout" in toy.run(volume=2)
    assert (toy.path / "index.html").read_text().startswith("HELLO A.1!!")


def test_a_renamed_recording_has_new_results_where_its_name_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(freshness, "_NAMED_STAGES", ("evaluation",))
    toy = Toy(tmp_path, "a.1")
    toy.run()
    toy.raw("a.1").rename(toy.raw("a.2"))
    toy.names = ("a.2",)
    assert toy.run() == ALL, "under another name there is nothing"
    (tmp_path / "a" / "2").rename(tmp_path / "a" / "3")
    toy.raw("a.2").rename(toy.raw("a.3"))
    toy.names = ("a.3",)
    assert toy.run() == ["compare", "join"], "the results were renamed as well"


def test_a_result_that_is_saved_by_anything_else_is_not_taken_for_the_earlier_one(toy):
    toy.catalog().save("index", "something else")
    assert toy.run() == ["join"]


def test_a_raised_version_remakes_the_stage_and_those_after(toy, monkeypatch):
    changed = {**versions.STAGE_VERSIONS, "runners": 7}
    monkeypatch.setattr(freshness, "STAGE_VERSIONS", changed)
    monkeypatch.setattr(freshness, "_stage_of_function", lambda f: "runners" if f is repeat else "")
    assert toy.run() == ["repeat", "compare", "join"]


def test_force_makes_what_is_selected(toy):
    assert toy.run(force=True) == ALL
    assert toy.run("compare", force=True) == ["compare"]


def test_a_part_with_stale_inputs_is_refused_or_completed(toy):
    with pytest.raises(RunFailedError, match=r"a\.1\.shouted is stale \(volume 1 -> 2\)[\s\S]*--namespaces=a\.1"):
        toy.run("compare", volume=2)
    assert CALLS == []
    assert toy.run("compare", volume=2, complete=True) == ALL[:3]


def test_a_part_whose_inputs_are_missing_is_refused(toy):
    toy.result("a.1.repeated").unlink()
    toy.result("a.1.compared").unlink()
    with pytest.raises(RunFailedError, match=r"a\.1\.repeated is missing"):
        toy.run("compare")


def test_after_a_part_of_the_way_the_rest_is_stale(toy):
    toy.run("shout", volume=2)
    with pytest.raises(RunFailedError, match=r"repeated is stale \(made of older results\)"):
        toy.run("compare", volume=2)
    assert toy.run(volume=2) == ALL[1:]


def test_an_earlier_version_is_loaded_if_it_is_what_would_be_made_now(toy):
    first = {"a.1.shouted": toy.version_of("a.1.shouted")}
    toy.run(volume=3)
    assert toy.run("repeat", "compare", load_versions=first) == ["repeat", "compare"]
    assert toy.result("a.1.repeated").read_text() == "HELLO A.1!" * 2
    with pytest.raises(RunFailedError, match=r"shouted is stale \(volume 1 -> 3\)"):
        toy.run("repeat", load_versions=first, volume=3)
    with pytest.raises(RunFailedError, match="which --load-versions names, is stale"):
        toy.run(load_versions=first, volume=3)


def test_what_a_result_was_made_of_stands_beside_it(toy):
    record = read_record(toy.result("a.1.repeated"))
    assert record is not None
    assert record.making.parameters == {"settings.echo": 2}
    assert record.making.inputs == {"shouted": read_record(toy.result("a.1.shouted")).making.fingerprint}
    assert record.input_versions == {"a.1.shouted": toy.version_of("a.1.shouted")}
    assert record.provenance["libraries"]["kedro"]


def test_the_run_says_what_is_made_and_why(toy, caplog):
    with caplog.at_level(logging.INFO):
        toy.run(echo=3)
    lines = [record.message for record in caplog.records]
    expected = r"a.1: ingestion reused \(\S+\); motion_correction: echo 2 -> 3; then evaluation"
    assert any(re.fullmatch(expected, line) for line in lines), lines
    assert "Recordings: 1 made, 0 reused, 0 failed" in " ".join(lines)


def test_a_failure_does_not_stop_the_others_and_the_same_command_tries_it_again(tmp_path):
    toy = Toy(tmp_path, "a.1", "b.1")
    toy.raw("a.1").write_text("broken")
    with pytest.raises(RunFailedError, match=r"1 recording\(s\) failed:\n  - a\.1: ValueError: no voice"):
        toy.run()
    assert (tmp_path / "index.html").read_text() == toy.result("b.1.compared").read_text(), "of those with results"
    assert "no voice" in (tmp_path / "logs" / "a.1.failed.json").read_text()
    logs = list((tmp_path / "logs").glob("*.log"))
    assert len(logs) == 1
    assert "Traceback" in logs[0].read_text()
    toy.raw("a.1").write_text("well again")
    assert toy.run() == ALL
    assert not (tmp_path / "logs" / "a.1.failed.json").exists()
    assert len((tmp_path / "index.html").read_text().splitlines()) == 2


def test_an_interrupted_run_says_where_and_the_same_command_goes_on(toy, monkeypatch, caplog):
    run_node = Run._run_node

    def interrupt(run: Run, node: Node) -> None:
        if node.name.endswith("repeat"):
            raise KeyboardInterrupt
        run_node(run, node)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_run_node", interrupt)
        with pytest.raises(KeyboardInterrupt):
            toy.run(volume=2, echo=3)
    assert "Interrupted at a.1.motion_correction.repeat" in caplog.text
    assert toy.run(volume=2, echo=3) == ALL[1:]


def test_a_second_run_waits_for_the_first_and_then_finds_its_results(toy, caplog):
    lock = FileLock(toy.path / "logs" / "a.1.lock")
    lock.acquire()
    made: list[list[str]] = []
    with caplog.at_level(logging.INFO):
        thread = threading.Thread(target=lambda: made.append(toy.run("shout", "repeat", "compare", volume=4)))
        thread.start()
        deadline = time.monotonic() + 20
        while "is being processed by another run" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not made, "it waits"
        lock.release()
        thread.join(20)
    assert made == [ALL[:3]]


def test_the_lock_of_a_killed_process_is_free(toy):
    path = toy.path / "logs" / "a.1.lock"
    code = f"import filelock, time; filelock.FileLock({str(path)!r}).acquire(); print('ok', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait()
        process.stdout.close()
    assert toy.run(volume=2) == ALL


def test_results_of_a_run_that_started_earlier_and_comes_later_are_the_newest(toy):
    toy.run(volume=2)
    assert toy.run(version="2025-01-01T00.00.00.000Z", volume=3) == ALL
    assert toy.result("a.1.shouted").read_text() == "HELLO A.1!!!"
    assert toy.run(volume=3) == []


def test_results_of_kedros_own_runners_count_as_stale_and_their_parts_are_checked(toy):
    toy.run(runner=SequentialRunner())
    everything = Freshness(toy.pipeline().nodes, toy.catalog())
    compare_only = [node for node in toy.pipeline().nodes if node.func is compare]
    with pytest.raises(StaleInputsError, match="not known what it was made of"):
        refuse_stale_inputs(everything, compare_only)
    refuse_stale_inputs(everything, toy.pipeline().nodes)
    assert toy.run() == ALL


def test_datasets_may_be_loaded_and_saved_in_threads(tmp_path):
    toy = Toy(tmp_path, "a.1")
    assert toy.run(is_async=True) == ALL
    assert toy.run() == []


def test_a_failure_of_the_tables_over_all_recordings_is_told_with_those_of_recordings(tmp_path):
    toy = Toy(tmp_path, "a.1", "b.1")
    toy.raw("a.1").write_text("broken")
    toy.raw("b.1").write_text("unfit")
    with pytest.raises(RunFailedError, match=r"a\.1: .*no voice\n  - all_recordings: ValueError: these do not"):
        toy.run()
    toy.raw("a.1").write_text("well again")
    toy.raw("b.1").write_text("well again, too")
    assert toy.run() == [*ALL[:3], *ALL]


def test_old_versions_that_fill_the_disk_are_told_with_the_command_that_removes_them(toy, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    toy.run(echo=3)
    assert "Old versions" not in caplog.text, "a few bytes are no matter"
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    toy.run(volume=30)
    (line,) = [line for line in caplog.messages if "Old versions" in line]
    assert re.match(r"Old versions of these recordings take [\d.]+ k?B, and 1.0 kB are free.*recordings prune", line)
    assert len(list((toy.path / "a/1/shouted.txt").iterdir())) == 2, "none is removed"


def test_what_was_read_of_a_recording_is_forgotten_and_found_again(tmp_path):
    toy = Toy(tmp_path, "a.1", "a.12")
    toy.run()
    known = Freshness(toy.pipeline().nodes, toy.catalog())
    nodes = nodes_of("a.1")
    before = [known.state(node) for node in nodes]
    other = [known.state(node) for node in nodes_of("a.12")]
    known.forget("a.1")
    caches = [*known._makings, *known._files, *known.places.found]
    assert {name.rpartition(".")[0] for name in caches if name.startswith("a.1.")} == set()
    assert any(name.startswith("a.12.") for name in caches), "of no other recording"
    toy.raw("a.1").write_text("something else")
    assert [known.state(node).status for node in nodes] == ["stale"] * 3
    assert {state.status for state in before} == {"fresh"}
    assert other == [known.state(node) for node in nodes_of("a.12")]
