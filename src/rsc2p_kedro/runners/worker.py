"""What runs on the workers of a cluster: one recording, with the same fresh-or-stale logic as in a local run.

A task carries names, not data: the worker opens the project in its own process (once for each run) and finds the
nodes there. It refuses to if it does not see the folder of the results, or if its code or parameters differ from those
of the run.
"""

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask
import zarr
from distributed import Worker, WorkerPlugin, get_worker
from kedro.framework import project
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks, _register_hooks_entry_points
from kedro.framework.project import configure_project, settings
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from threadpoolctl import threadpool_limits

from rsc2p_kedro import __version__
from rsc2p_kedro.core.versions import STAGE_VERSIONS
from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader
from rsc2p_kedro.runners.freshness import Freshness, recording_of
from rsc2p_kedro.runners.recording import RecordingRunner, Run

logger = logging.getLogger(__name__)

PACKAGE = __name__.partition(".")[0]
TOPIC = "rsc2p-kedro"
"""Topic of the messages of workers to the run."""

_ATTEMPTS, _PAUSE_S = 5, 1.0
"""How often a worker looks for the folder of the results: network file systems show new files some seconds late."""

_one_opens = threading.Lock()
"""Kedro keeps the pipelines of a project in a variable of the process: one thread at a time opens a recording."""


class UnfitWorkerError(RuntimeError):
    """A worker cannot process recordings of this project."""


@dataclass(frozen=True)
class ProjectName:
    """What a worker needs to open the project as the run has opened it.

    Attributes:
        path: folder of the project.
        conf_source: folder of the configuration.
        env: environment. None means the default one.
        runtime_params: parameters given with the command.
        identity: of the parameters that the run has read.
        run_id: of the run; also the version of what it saves.
    """

    path: str
    conf_source: str
    env: str | None
    runtime_params: Mapping[str, Any]
    identity: str
    run_id: str

    def __hash__(self) -> int:
        return hash(self.run_id)


@dataclass(frozen=True)
class RecordingTask:
    """A recording to process.

    Attributes:
        project: the project.
        recording: name of the recording.
        nodes: names of its selected nodes.
        load_versions: version of each dataset that `--load-versions` names.
        options: of the runner.
        share: how many such recordings the worker takes at once; each has this part of its cores.
    """

    project: ProjectName
    recording: str
    nodes: tuple[str, ...]
    load_versions: Mapping[str, str]
    options: Mapping[str, Any]
    share: int


@dataclass(frozen=True)
class Outcome:
    """A recording that was processed.

    Attributes:
        made: whether anything was made.
        seconds: run time.
        peak_memory_gb: most memory that the worker's process has held since it started.
        threads: threads that it used.
        worker: host and process.
        error: type and text of the error; empty if there was none.
    """

    made: bool
    seconds: float
    peak_memory_gb: float
    threads: int
    worker: str
    error: str = ""


@dataclass(frozen=True)
class Fitness(WorkerPlugin):
    """Prepares each worker, and ends it with a message if it cannot do what it is meant for.

    Attributes:
        token: file that the run has written into the folder of the logs, beside the results.
        content: its content.
        versions: of the project's code.
        quiet: keep the messages of the worker out of the terminal, which it shares with the run.
        owned: the run has started the cluster, and ends workers that it cannot use.
    """

    token: Path
    content: str
    versions: Mapping[str, Any]
    quiet: bool = False
    owned: bool = True
    name = "rsc2p-kedro"

    async def setup(self, worker: Worker) -> None:
        """Checks and prepares a worker when it starts, or when the run does.

        Args:
            worker: the worker.
        """
        try:
            check_worker(self.token, self.content, self.versions)
        except UnfitWorkerError as error:
            await worker.scheduler.log_event(topic=TOPIC, msg=str(error))
            if self.owned:  # it would fail one recording after the other, faster than others process them
                worker.loop.add_callback(worker.close, reason=str(error))
            raise
        prepare_worker(worker.state.nthreads, quiet=self.quiet)


def code_versions() -> dict[str, Any]:
    """Versions that decide about results.

    Returns:
        Version of the package, and the number of each stage.
    """
    return {"version": __version__, **STAGE_VERSIONS}


def check_worker(token: Path, content: str, versions: Mapping[str, Any]) -> None:
    """Checks that this machine sees the folder of the results, may write to it, and has the same code.

    Args:
        token: file in that folder.
        content: its content.
        versions: :func:`code_versions` of the run.

    Raises:
        UnfitWorkerError: it does not.
    """
    host = socket.gethostname()
    advice = "Results must lie on a file system that all machines see under the same path."
    for attempt in range(_ATTEMPTS):
        found = token.read_text() if token.is_file() else None
        if found == content:
            break
        if attempt < _ATTEMPTS - 1 and token.parent.parent.is_dir():
            time.sleep(_PAUSE_S)
    else:
        what = "does not see" if found is None else "sees another file at"
        raise UnfitWorkerError(f"{host} {what} {token}, which the run has written. {advice}")
    probe = token.with_name(f".{host}-{os.getpid()}.probe")
    try:
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UnfitWorkerError(f"{host} cannot write to {token.parent} ({error}). {advice}") from error
    own = code_versions()
    other = [
        f"{name} {own.get(name)} instead of {version}" for name, version in versions.items() if own.get(name) != version
    ]
    if other:
        raise UnfitWorkerError(
            f"{host} has another version of {PACKAGE} than the run ({', '.join(other)}). Start the workers from the "
            "same environment, and do not change it during a run."
        )


def prepare_worker(threads: int, *, quiet: bool) -> None:
    """Keeps libraries from using more threads than the worker has cores.

    Args:
        threads: cores of the worker.
        quiet: show nothing but errors in the terminal.
    """
    dask.config.set(scheduler="threads")  # within a task, dask would send the blocks of a movie to other workers
    threadpool_limits(limits=1)
    zarr.config.set({"threading.max_workers": threads})
    if quiet:
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.ERROR)


@lru_cache(maxsize=1)
def _read_project(name: ProjectName) -> ManifestConfigLoader:
    """Configuration of the project, read once for each run."""
    configure_project(PACKAGE)
    loader = ManifestConfigLoader(
        name.conf_source, env=name.env, runtime_params=dict(name.runtime_params), **settings.CONFIG_LOADER_ARGS
    )
    if loader.identity() != name.identity:
        raise RuntimeError(
            "the parameters were changed while the run went on, or this machine reads others. "
            "Start the run again: it makes what is not fresh then."
        )
    return loader


@lru_cache(maxsize=1)
def _hook_manager() -> Any:
    """Hooks of the project, as in a session."""
    manager = _create_hook_manager()
    _register_hooks(manager, settings.HOOKS)
    _register_hooks_entry_points(manager, settings.DISABLE_HOOKS_FOR_PLUGINS)
    return manager


def open_recording(task: RecordingTask, threads: int) -> tuple[CatalogProtocol, dict[str, Node], Any]:
    """Opens the project for one recording.

    Args:
        task: names the project and the recording.
        threads: that process blocks of a movie.

    Returns:
        The catalog, all nodes of the recording by name, and the hooks.
    """
    with _one_opens:
        whole = _read_project(task.project)
        compute = whole["parameters"].get("compute") or {}
        animal = task.recording.partition(".")[0]  # what a session is made of may depend on the others of its animal
        sessions = [f"{animal}.{session}" for session in whole["parameters"]["recordings"][animal]]
        loader = whole.only(
            sessions, threads=min(threads, compute.get("threads") or threads), show_progress=False, cluster=None
        )
        hooks = _hook_manager()
        context = settings.CONTEXT_CLASS(
            package_name=PACKAGE,
            project_path=Path(task.project.path),
            config_loader=loader,
            env=task.project.env,
            hook_manager=hooks,
            runtime_params=dict(task.project.runtime_params),
        )
        hooks.hook.after_context_created(context=context)
        catalog = context._get_catalog(save_version=task.project.run_id, load_versions=dict(task.load_versions))
        found = {node.name: node for node in project.pipelines["__default__"].nodes}
        if not found.keys() >= set(task.nodes):  # of pipelines that are not part of a plain run
            found |= {node.name: node for pipeline in project.pipelines.values() for node in pipeline.nodes}
    return catalog, {name: node for name, node in found.items() if recording_of(node) == task.recording}, hooks


def run_recording(task: RecordingTask) -> Outcome:
    """Processes one recording on the worker that this function is called on.

    Args:
        task: names it.

    Returns:
        What was done. An error of the recording is told in it, so that it need not be one that can be sent.
    """
    threads = max(1, get_worker().state.nthreads // task.share)
    catalog, nodes, hooks = open_recording(task, threads)
    runner = RecordingRunner(**task.options, joint=False)
    own_log = f"{task.project.run_id}/{task.recording}"
    run = Run(runner, Freshness(nodes.values(), catalog), catalog, hooks, own_log)
    start, start_cpu = time.perf_counter(), time.process_time()
    with run.log():
        logger.info("%s with %d threads on %s", task.recording, threads, worker_name())
        run.all_recordings({task.recording: [nodes[name] for name in task.nodes]})
        seconds, cpu, peak = time.perf_counter() - start, time.process_time() - start_cpu, peak_memory_gb()
        logger.info("%s took %.1f s, %.1f s of the processor", task.recording, seconds, cpu)
        logger.info("Peak memory of this worker so far: %.2f GB", peak)
    error = next(iter(run.report.failures.values()), None)
    text = "" if error is None else f"{type(error).__name__}: {error}"
    return Outcome(bool(run.report.seconds), seconds, peak, threads, worker_name(), text)


def peak_memory_gb() -> float:
    """Most memory (resident set size) that this process has held since it started.

    Returns:
        Memory in GB; 0 where the system does not tell it (Windows).
    """
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def worker_name() -> str:
    """Names the process that this function is called in.

    Returns:
        Host and process, with the job of SLURM if there is one.
    """
    job = os.environ.get("SLURM_JOB_ID")
    return f"{socket.gethostname()}, process {os.getpid()}" + (f", SLURM job {job}" if job else "")
