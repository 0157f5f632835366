"""The script of jobs for SLURM, started with a stand-in of `sbatch` that writes down what it gets."""

import shutil
import subprocess
from pathlib import Path

import pytest

from rsc2p_kedro.cli.slurm import slurm_script

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
FAKE_SBATCH = """\
#!/bin/bash
n=$(ls {folder} | grep -c options || true)
printf '%s\\n' "$@" > {folder}/$n.options
[ -t 0 ] || cat > {folder}/$n.job
echo $((100 + n))
"""
FAKE_PYTHON = '#!/bin/bash\necho "$@" >> {folder}/ran\n[[ $* != *a.2* ]]\n'


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """Submits the jobs of some recordings, and returns the folder with what `sbatch` got."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    for name, text in (("sbatch", FAKE_SBATCH), ("python", FAKE_PYTHON)):
        (tmp_path / name).write_text(text.format(folder=jobs))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    def submit(*names: str, **options) -> Path:
        script = tmp_path / "jobs.sh"
        given = {"folder": tmp_path, "env": "demo", "output": "jobs.sh", "options": ["--mem=8G"], "cores": 4} | options
        script.write_text(slurm_script([*names], **given))
        subprocess.run(["bash", script], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return jobs

    return submit


def run_task(jobs: Path, number: int) -> int:
    """Runs a task of the array; returns its exit code."""
    return subprocess.run(["bash", jobs / "0.job"], env={"SLURM_ARRAY_TASK_ID": str(number)}, check=False).returncode


def test_there_is_one_task_for_each_recording_and_a_last_job_for_the_tables(submitted):
    jobs = submitted("a.1", "a.2", "b.1", at_once=2)
    assert {"--array=0-2%2", "--mem=8G"} <= set((jobs / "0.options").read_text().split("\n"))
    last = (jobs / "1.options").read_text().split("\n")
    assert {"--dependency=afterany:100", "--mem=8G"} <= set(last), "also after recordings that failed"
    assert any("run --env demo --pipelines=all_recordings" in option for option in last)
    assert [run_task(jobs, number) for number in range(3)] == [0, 1, 0], "a recording that fails is a task that fails"
    ran = (jobs / "ran").read_text().splitlines()
    assert [line.partition("--namespaces=")[2].split()[0] for line in ran] == ["a.1", "a.2", "b.1"]
    assert all("--runner-params=joint=False" in line and "compute.threads=4" in line for line in ran)


def test_a_task_of_several_recordings_goes_on_after_one_has_failed(submitted):
    jobs = submitted("a.1", "a.2", "b.1", "b.2", "c.1", per_task=3)
    assert "--array=0-1" in (jobs / "0.options").read_text().split("\n")
    assert [run_task(jobs, number) for number in range(2)] == [1, 0]
    assert (jobs / "ran").read_text().count("--namespaces=") == 5


def test_one_job_runs_all_recordings_of_the_environment(submitted):
    jobs = submitted("a.1", "a.2", array=False)
    assert "--array" not in (jobs / "0.options").read_text()
    subprocess.run(["bash", jobs / "0.job"], check=True)
    assert "--namespaces" not in (jobs / "ran").read_text()
    assert "run --env demo" in (jobs / "ran").read_text()
