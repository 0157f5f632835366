"""The same recordings one after the other, on two workers of Dask, and as jobs of SLURM: cost, and whether they agree.

    python -m benchmarks.cluster [--recordings 4] [--ways local dask slurm] [--folder FOLDER]

Each way starts `kedro run` in a project of its own with the same simulated recordings (750 frames of 128 x 128 px, 30
neurons), each recording on one core. Printed are wall time, processor time and peak memory (unique set size) of all
processes together, and then whether each result equals that of the first way to the last bit
(`benchmarks.same_results`). SLURM is started on this machine, where its packages are installed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from shutil import copy, copytree

import psutil
import yaml
from tests.slurm.one_node import CannotStartError, slurm_of_one_node

ROOT = Path(__file__).parents[1]
CLUSTERS = {
    "local": None,
    "dask": {"type": "local", "n_workers": 2, "threads_per_worker": 1, "memory_limit": "4GB"},
    "slurm": {
        "type": "dask_jobqueue.SLURMCluster",
        "cores": 1,
        "memory": "4GB",
        "walltime": "02:00:00",
        "jobs": {"minimum": 2, "maximum": 2},
    },
}


def make_project(folder: Path, n_recordings: int, way: str) -> None:
    """A project of simulated recordings, with the cluster of one way of running them."""
    copytree(ROOT / "conf" / "base", folder / "conf" / "base")
    copy(ROOT / "conf" / "logging.yml", folder / "conf")
    copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    demo = yaml.safe_load((ROOT / "conf" / "demo" / "parameters_recordings.yml").read_text())["recordings"]
    nwb = yaml.safe_load((ROOT / "conf" / "demo" / "parameters_nwb.yml").read_text())
    entry = demo["demo_1"]["day_7"]
    recordings = {
        f"animal_{k}": {
            "day_1": {**entry, "path": f"data/01_raw/{k}", "simulation": {**entry["simulation"], "seed": k}}
        }
        for k in range(1, n_recordings + 1)
    }
    compute = {"show_progress": False, "threads": 1, "cluster": CLUSTERS[way]}
    (folder / "conf" / "local").mkdir()
    text = yaml.safe_dump({"recordings": recordings, "compute": compute, **nwb})
    (folder / "conf" / "local" / "parameters_all.yml").write_text(text, encoding="utf-8")


class Sampler(threading.Thread):
    """Samples processor time and memory of a command, its children, and the workers that its logs name."""

    def __init__(self, command: subprocess.Popen, logs: Path) -> None:
        super().__init__(daemon=True)
        self.cpu_s: dict[int, float] = {}
        self.peak_gb = 0.0
        self._command, self._logs = command, logs
        self.start()

    def run(self) -> None:
        """Takes a sample every half second until the command has ended."""
        while self._command.poll() is None:
            total = 0
            for process in self._processes():
                try:
                    times = process.cpu_times()
                    self.cpu_s[process.pid] = times.user + times.system
                    total += process.memory_full_info().uss
                except psutil.Error:
                    continue
            self.peak_gb = max(self.peak_gb, total / 1e9)
            time.sleep(0.5)

    def _processes(self) -> set[psutil.Process]:
        found: set[psutil.Process] = set()
        named = [
            int(pid) for log in self._logs.glob("*/*.log") for pid in re.findall(r"process (\d+)", log.read_text())
        ]
        for pid in {self._command.pid, *named}:
            try:
                process = psutil.Process(pid)
                found |= {process, *process.children(recursive=True)}
            except psutil.Error:
                continue
        return found


def run(folder: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Runs the project; returns wall time in s, processor time in s and peak memory in GB."""
    start = time.perf_counter()
    with (folder / "said.log").open("w") as said:
        command = subprocess.Popen(
            [sys.executable, "-m", "kedro", "run"], cwd=folder, env=environment, stdout=said, stderr=said
        )
        sampler = Sampler(command, folder / "data" / "08_reporting" / "logs")
        if command.wait() != 0:
            raise SystemExit((folder / "said.log").read_text()[-3000:])
    sampler.join()
    return time.perf_counter() - start, sum(sampler.cpu_s.values()), sampler.peak_gb


def main() -> int:
    """Prints the table; 1 where a result differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=4)
    parser.add_argument("--ways", nargs="+", choices=CLUSTERS, default=[*CLUSTERS])
    parser.add_argument("--folder", type=Path, help="where the projects are made; by default a temporary folder")
    asked = parser.parse_args()
    differ = False
    with ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}
        for way in asked.ways:
            if way == "slurm":
                slurm = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
                try:
                    environment["SLURM_CONF"] = str(stack.enter_context(slurm_of_one_node(slurm)))
                except CannotStartError as error:
                    print(f"slurm: not run: {error}")
                    continue
            make_project(folder / way, asked.recordings, way)
            wall, cpu, peak = run(folder / way, environment)
            print(f"{way}: {wall:.0f} s, {cpu:.0f} s of the processor, {peak:.2f} GB", flush=True)
            if way != asked.ways[0]:
                command = [sys.executable, "-m", "benchmarks.same_results"]
                data = [folder / name / "data" for name in (asked.ways[0], way)]
                differ |= subprocess.run([*command, *data], cwd=ROOT, check=False).returncode != 0
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
