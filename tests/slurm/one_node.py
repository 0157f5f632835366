"""SLURM on this machine alone, as the user who runs the tests, with all that it writes in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={next_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class CannotStartError(RuntimeError):
    """SLURM cannot be started here; the message says why."""


@contextmanager
def slurm_of_one_node(folder: Path) -> Iterator[Path]:
    """Starts SLURM for the block, and ends it.

    Args:
        folder: for its files; its path must be short, as the name of a socket is.

    Yields:
        Path of the configuration, for the environment variable SLURM_CONF.

    Raises:
        CannotStartError: a program is missing, or does not start.
    """
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    programs = {name: shutil.which(name, path=search) for name in PROGRAMS}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        raise CannotStartError(f"{', '.join(missing)} not found: apt-get install slurm-wlm munge")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(_configuration(folder))
    processes: list[subprocess.Popen] = []

    def start(name: str, *arguments: str) -> None:
        log = (folder / f"{name}.out").open("w")
        command = [str(programs[name]), *arguments]
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=_environment(configuration)))

    try:
        files = [f"--{part}-file={folder}/munge.{part}" for part in ("key", "pid", "log", "seed")]
        start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        _wait_for(lambda: (folder / "munge.socket").exists(), processes, folder)
        start("slurmctld", "-D", "-f", str(configuration))
        start("slurmd", "-D", "-f", str(configuration), "-N", _host())
        _wait_for(lambda: "idle" in _sinfo(programs["sinfo"], configuration), processes, folder)
        yield configuration
    finally:
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _configuration(folder: Path) -> str:
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    return CONFIGURATION.format(
        host=_host(),
        user=user,
        folder=folder,
        cores=os.cpu_count(),
        memory_mb=int(memory_mb * 0.9),
        port=ports[0],
        next_port=ports[1],
    )


def _environment(configuration: Path) -> dict[str, str]:
    return {**os.environ, "SLURM_CONF": str(configuration)}


def _sinfo(program: str | None, configuration: Path) -> str:
    command = [str(program), "--noheader", "--format=%t"]
    return subprocess.run(
        command, env=_environment(configuration), capture_output=True, text=True, check=False, timeout=30
    ).stdout


def _wait_for(ready, processes: list[subprocess.Popen], folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        ended = any(process.poll() is not None for process in processes)
        if ended or time.monotonic() > deadline:
            logs = sorted([*folder.glob("*.out"), *folder.glob("*.log")])
            tails = [f"{path.name}: {path.read_text(errors='replace')[-300:].strip()}" for path in logs]
            raise CannotStartError("SLURM did not start. " + " | ".join(tail for tail in tails if tail))
        time.sleep(0.2)
