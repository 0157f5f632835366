"""What a cluster costs by itself: many recordings of which each takes a second, and computes nothing.

    python -m benchmarks.cluster_scale [--recordings 1000] [--workers 8] [--seconds 1]

A temporary project gets so many recordings. Everything is as in `kedro run` on a cluster of this machine (the start of
the project, the plan of each recording, Dask's scheduler, processes as workers), but workers only wait. Printed are the
start of the client, the processor time that client and scheduler (one process) take for each recording, the time in
which workers had nothing to do, and the memory of that process on the way.
"""

import argparse
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copy, copytree
from unittest import mock

import psutil
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from rsc2p_kedro.runners import DaskRunner, worker
from rsc2p_kedro.runners.worker import Outcome, RecordingTask, worker_name

ROOT = Path(__file__).parents[1]


def wait(task: RecordingTask) -> Outcome:
    """What a worker does instead of processing a recording."""
    seconds = float(task.project.runtime_params["compute"]["cluster"]["options"]["env"]["WAIT_S"])
    time.sleep(seconds)
    return Outcome(False, seconds, 0.0, 1, worker_name())


@dataclass
class Cost:
    """What a run has cost besides the recordings.

    Attributes:
        start_s, start_cpu_s: until workers got the first recording, of which `project_cpu_s` for Kedro's project.
        wall_s: from then on to the end.
        cpu_per_recording_s: of client and scheduler.
        idle_per_recording_s: of a worker, between two recordings.
        memory_gb: of client and scheduler, by number of recordings done.
    """

    start_s: float = 0.0
    start_cpu_s: float = 0.0
    wall_s: float = 0.0
    cpu_per_recording_s: float = 0.0
    idle_per_recording_s: float = 0.0
    memory_gb: dict[int, float] = field(default_factory=dict)


def make_project(folder: Path, n_recordings: int) -> None:
    """A project of one simulated recording for each animal: sessions of one would wait for their tracking."""
    copytree(ROOT / "conf" / "base", folder / "conf" / "base")
    copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    entry = {
        "frame_rate_hz": 30.0,
        "pixel_size_um": [1.2, 1.2],
        "subject": {"species": "Mus musculus", "sex": "U", "age": "P90D"},
        "session": {"session_start_time": "2019-05-06T10:30:00+02:00", "session_description": "Simulated."},
        "simulation": {"n_frames": 100, "height_px": 64, "width_px": 64, "n_neurons": 4},
    }
    recordings: dict = {}
    for k in range(n_recordings):
        recordings[f"animal_{k}"] = {"day_0": {"path": f"data/01_raw/{k}", **entry}}
    (folder / "conf" / "local").mkdir()
    text = yaml.safe_dump({"recordings": recordings})
    (folder / "conf" / "local" / "parameters_recordings.yml").write_text(text, encoding="utf-8")


def measure(n_recordings: int, n_workers: int, seconds: float) -> Cost:
    """Runs so many recordings that take so long."""
    process, cost, stopped = psutil.Process(), Cost(), threading.Event()
    first: dict[str, float] = {}
    last: dict[str, float] = {}

    def on_first(run: object, name: str) -> None:
        first.setdefault("wall", time.perf_counter())
        first.setdefault("cpu", time.process_time())
        submit(run, name)

    def on_ended(run: object, name: str, future: object) -> None:
        take(run, name, future)
        last.update(wall=time.perf_counter(), cpu=time.process_time())

    def sample(report) -> None:
        while not stopped.wait(0.5):
            done = report().n_done
            cost.memory_gb.setdefault(done // 100 * 100, process.memory_info().rss / 1e9)

    from rsc2p_kedro.runners import dask_runner

    submit, take = dask_runner._RunOnCluster._submit, dask_runner._RunOnCluster._take
    with tempfile.TemporaryDirectory() as name:
        make_project(Path(name), n_recordings)
        cluster = {"n_workers": n_workers, "threads_per_worker": 1, "memory_limit": "2GB", "recording_memory_gb": 1.0}
        params = {"compute": {"cluster": {**cluster, "options": {"env": {"WAIT_S": str(seconds)}}}}}
        wall, cpu = time.perf_counter(), time.process_time()
        bootstrap_project(Path(name))
        runner, reports = DaskRunner(), []
        process_all = runner._process

        def process_seen(run, recordings) -> None:
            reports.append(run.report)
            process_all(run, recordings)

        runner._process = process_seen
        sampler = threading.Thread(target=sample, args=(lambda: reports[0] if reports else _NOTHING,), daemon=True)
        sampler.start()
        with (
            mock.patch.object(worker, "run_recording", wait),
            mock.patch.object(dask_runner._RunOnCluster, "_submit", on_first),
            mock.patch.object(dask_runner._RunOnCluster, "_take", on_ended),
            KedroSession.create(project_path=name, runtime_params=params) as session,
        ):
            session.run(runner=runner)
        stopped.set()
        sampler.join()
    cost.start_s, cost.start_cpu_s = first["wall"] - wall, first["cpu"] - cpu
    cost.wall_s = last["wall"] - first["wall"]
    cost.cpu_per_recording_s = (last["cpu"] - first["cpu"]) / n_recordings
    cost.idle_per_recording_s = (cost.wall_s * n_workers - n_recordings * seconds) / n_recordings
    cost.memory_gb[n_recordings] = process.memory_info().rss / 1e9
    return cost


class _NOTHING:
    n_done = 0


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0)
    asked = parser.parse_args()
    cost = measure(asked.recordings, asked.workers, asked.seconds)
    print(f"start of the client: {cost.start_s:.1f} s, {cost.start_cpu_s:.1f} s of processor time")
    print(
        f"then: {cost.wall_s:.1f} s for {asked.recordings} recordings of {asked.seconds:g} s on {asked.workers} workers"
    )
    print(f"client and scheduler: {1e3 * cost.cpu_per_recording_s:.1f} ms of processor time for each recording")
    print(f"a worker waits {1e3 * cost.idle_per_recording_s:.1f} ms between two recordings")
    print("memory of client and scheduler by recordings done:", {n: round(gb, 3) for n, gb in cost.memory_gb.items()})


if __name__ == "__main__":
    main()
