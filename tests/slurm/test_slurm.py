"""The demo's recordings through SLURM itself: by dask-jobqueue, and as a job array. `make test-slurm` runs this."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from tests.slurm.one_node import CannotStartError, slurm_of_one_node

ROOT = Path(__file__).parents[2]
DEMO = ["demo_1.day_7", "demo_2.day_7", "demo_3.day_1"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("RSC2P_TEST_SLURM" not in os.environ, reason="`make test-slurm` runs it"),
]


@pytest.fixture(scope="module")
def slurm():
    """Environment in which SLURM's commands find the one that was started."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        try:
            with slurm_of_one_node(Path(name)) as configuration:
                yield {**os.environ, "SLURM_CONF": str(configuration), "KEDRO_DISABLE_TELEMETRY": "1"}
        except CannotStartError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def project(tmp_path_factory, slurm) -> Path:
    """The project with the demo's recordings, and a cluster of jobs of one core."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("base", "demo"):
        shutil.copytree(ROOT / "conf" / name, folder / "conf" / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "src").mkdir()
    (folder / "conf" / "local").mkdir()
    cluster = {
        "type": "dask_jobqueue.SLURMCluster",
        "cores": 1,
        "memory": "3GB",
        "walltime": "01:00:00",
        "jobs": {"minimum": 0, "maximum": 2},
    }
    text = yaml.safe_dump({"compute": {"cluster": cluster}})
    (folder / "conf" / "local" / "parameters_compute.yml").write_text(text)
    return folder


def kedro(project: Path, environment: dict[str, str], *words: str) -> str:
    """Runs a command; returns what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "kedro", *words],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def logs(project: Path) -> Path:
    return project / "data" / "08_reporting" / "logs"


def test_jobs_of_slurm_process_the_recordings_of_the_demo(project, slurm):
    said = kedro(project, slurm, "run", "--env", "demo")
    assert "3 made, 0 reused, 0 failed" in said.replace("\n", " ")
    for name in DEMO:
        (log,) = logs(project).glob(f"*/{name}.log")
        assert "SLURM job" in log.read_text()
    assert (project / "data" / "08_reporting" / "index_demo.html").is_file()
    assert not [*logs(project).glob("*.owner.json")]
    again = kedro(project, slurm, "run", "--env", "demo", "--runner", "local")
    assert "0 made, 3 reused, 0 failed" in again.replace("\n", " "), "the same results as of a run without a cluster"


def test_a_job_array_of_slurm_makes_what_is_not_fresh(project, slurm):
    (project / "conf" / "local" / "parameters_evaluation.yml").write_text("evaluation: {min_snr: 2.2}\n")
    index = project / "data" / "08_reporting" / "index_demo.html"
    before = index.stat().st_mtime_ns
    kedro(project, slurm, "recordings", "slurm", "--env", "demo", "--cores", "1", "--memory", "3G", "--time", "1:00:00")
    subprocess.run(["bash", "slurm_recordings.sh"], cwd=project, env=slurm, check=True)
    deadline = time.monotonic() + 1800
    while subprocess.run(["squeue", "--noheader"], env=slurm, capture_output=True, check=True).stdout.strip():
        assert time.monotonic() < deadline
        time.sleep(1)
    assert index.stat().st_mtime_ns > before, "the last job has made the page over all recordings"
    again = kedro(project, slurm, "run", "--env", "demo", "--runner", "local")
    assert "0 made, 3 reused, 0 failed" in again.replace("\n", " ")
