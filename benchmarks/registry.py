"""How the start of a command grows with the number of recordings: CPU time of `kedro registry list` and of a small run.

    python -m benchmarks.registry [--recordings 1 50 500 2000] [--repeat 3] [--planes 3]

Each command runs in a process of its own, in a temporary project with the configuration of this one. CPU time is user
and system time of that process, the median of the repeats; the run does `simulation` and `ingestion` of one recording
of 64 frames, among so many in the manifest.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def write_manifest(project: Path, n: int, planes: int) -> None:
    """A project with n recordings, ten of each animal; the first one is simulated, and of one plane."""
    entry = {
        "path": "data/01_raw/none",
        "frame_rate_hz": 14.7,
        "pixel_size_um": [1.17, 1.17],
        "decay_time_s": 0.4,
        "subject": {"species": "Mus musculus", "sex": "U", "age": "P90D"},
        "session": {"session_start_time": "2019-05-06T10:30:00+02:00"},
    }
    recordings: dict[str, dict] = {}
    for i in range(n):
        recordings.setdefault(f"animal_{i // 10}", {})[f"day_{i % 10}"] = dict(entry) | (
            {"planes": planes} if i and planes > 1 else {}
        )
    small = {"n_frames": 64, "height_px": 64, "width_px": 64, "n_neurons": 4}
    recordings["animal_0"]["day_0"] |= {"path": "data/01_raw/frames", "simulation": small}
    shutil.copytree(ROOT / "conf" / "base", project / "conf" / "base")
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "src").mkdir()
    (project / "conf" / "local").mkdir()
    manifest = project / "conf" / "local" / "parameters_recordings.yml"
    manifest.write_text(yaml.safe_dump({"recordings": recordings}), encoding="utf-8")


def cpu_seconds(project: Path, *arguments: str) -> float:
    """CPU time of one command of Kedro, in s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "KEDRO_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "kedro", *arguments]
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


COMMANDS = {
    "registry list": ("registry", "list"),
    "run of one recording": ("run", "--pipelines=simulation,ingestion", "--namespaces=animal_0.day_0"),
}


def main() -> None:
    """Prints a table of medians, and the ratio to the smallest manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, nargs="+", default=[1, 50, 500, 2000])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--planes", type=int, default=1)
    asked = parser.parse_args()
    print("| recordings | " + " | ".join(f"{name}, CPU s | ratio" for name in COMMANDS) + " |")
    print("|---" * (1 + 2 * len(COMMANDS)) + "|")
    first: dict[str, float] = {}
    for n in asked.recordings:
        cells = []
        with tempfile.TemporaryDirectory() as folder:
            write_manifest(Path(folder), n, asked.planes)
            for name, arguments in COMMANDS.items():
                seconds = statistics.median(cpu_seconds(Path(folder), *arguments) for _ in range(asked.repeat))
                first.setdefault(name, seconds)
                cells.append(f"{seconds:.2f} | {seconds / first[name]:.2f}")
        print(f"| {n} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
