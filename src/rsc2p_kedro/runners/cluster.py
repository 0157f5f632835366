"""Clusters of Dask: those that a run starts (on this machine, or as jobs of a queue system), and those it finds."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from rsc2p_kedro.core.parameters import Cluster

logger = logging.getLogger(__name__)

RESOURCE = "memory_gb"
"""Resource of Dask that a recording takes from its worker."""

_BASE_GB, _PER_LIMIT_GB = 0.9, 1.0
_USABLE = 0.9
"""Part of the memory of a worker that recordings may take; its nanny ends a worker that uses 95 % of it."""


_CONNECT_S = 30
"""Time in s in which a scheduler that was started by others must answer, and have a worker. Not tuned."""


class ClusterError(RuntimeError):
    """A cluster cannot be started or used."""


@dataclass(frozen=True)
class Capacity:
    """What the workers of a cluster can take.

    Attributes:
        memory_gb: memory of one worker, of the smallest one.
        cores: cores of one worker, of the smallest one.
        declared: whether the workers have declared their memory as a resource of Dask.
    """

    memory_gb: float
    cores: int
    declared: bool = True

    def at_once(self, needed_gb: float) -> int:
        """Number of recordings that one worker takes at once.

        Args:
            needed_gb: memory that a recording needs.

        Returns:
            As many as its memory allows, at most one for each core, at least 1.
        """
        return max(1, min(self.cores, int(self.memory_gb * _USABLE / needed_gb)))


def estimated_memory_gb(memory_gb: float) -> float:
    """Estimates the memory that one recording needs.

    Args:
        memory_gb: `memory_gb` of the parameters `compute`, which bounds the pixels of a movie in memory.

    Returns:
        Memory of the process in GB: that of Python and its libraries, and the limit.
    """
    return _BASE_GB + _PER_LIMIT_GB * memory_gb


def import_extra(name: str) -> Any:
    """Imports a library of the optional dependencies `cluster`.

    Args:
        name: of the module.

    Returns:
        The module.

    Raises:
        ClusterError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"Running on a cluster needs {error.name}, which is not installed: pip install 'rsc2p-kedro[cluster]'."
        ) from error


def local_defaults(settings: Cluster, needed_gb: float, n_recordings: int) -> dict[str, Any]:
    """Divides this machine between workers.

    Args:
        settings: of the cluster; what they leave open is chosen here.
        needed_gb: memory that a recording needs.
        n_recordings: number of recordings.

    Returns:
        Arguments of Dask's `LocalCluster`: `n_workers`, `threads_per_worker` and `memory_limit` in bytes.
    """
    from dask.utils import parse_bytes

    cores, memory = _usable_cores(), psutil.virtual_memory().total * _USABLE
    per_worker = settings.threads_per_worker or 1
    fitting = max(1, min(cores // per_worker, int(memory / 1e9 / needed_gb), n_recordings))
    n_workers = settings.n_workers or fitting
    limit = parse_bytes(settings.memory_limit) if settings.memory_limit else int(memory / n_workers)
    return {
        "n_workers": n_workers,
        "threads_per_worker": settings.threads_per_worker or max(1, cores // n_workers),
        "memory_limit": limit,
    }


def _usable_cores() -> int:
    """Cores that this process may use, which a queue system may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def connect(settings: Cluster, *, needed_gb: float, n_recordings: int, logs: Path) -> Iterator[tuple[Any, Capacity]]:
    """Starts a cluster, or connects to one, for the duration of the block.

    Args:
        settings: of the cluster.
        needed_gb: memory that a recording needs.
        n_recordings: number of recordings.
        logs: folder for the output of jobs.

    Yields:
        Dask's client, and what one worker can take.

    Raises:
        ClusterError: a library is missing, or no scheduler answers.
    """
    distributed = import_extra("distributed")
    import dask

    for name in ("distributed", "distributed.http.proxy"):  # which tell of each connection
        logging.getLogger(name).setLevel(logging.WARNING)
    with ExitStack() as stack:
        # A worker that ends takes along all tasks that it had: the run itself decides which of them it tries again.
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            if settings.scheduler:
                target, capacity = settings.scheduler, None
            elif settings.type == "local":
                target, capacity = _start_local(stack, settings, needed_gb, n_recordings)
            else:
                target, capacity = _start_jobs(stack, settings, logs)
        try:
            # Not the default client of the process, which would send the run's own work to the workers.
            client = stack.enter_context(distributed.Client(target, set_as_default=False, timeout=_CONNECT_S))
        except OSError as error:
            raise ClusterError(f"There is no Dask scheduler at {target} ({error}).") from error
        logger.info("Cluster: %s", client.dashboard_link and f"dashboard at {client.dashboard_link}")
        yield client, capacity or _capacity_of(client)


def _start_local(stack: ExitStack, settings: Cluster, needed_gb: float, n_recordings: int) -> tuple[Any, Capacity]:
    distributed = import_extra("distributed")
    arguments = local_defaults(settings, needed_gb, n_recordings)
    capacity = Capacity(arguments["memory_limit"] / 1e9, arguments["threads_per_worker"])
    cluster = distributed.LocalCluster(
        **{
            **arguments,
            "processes": True,
            "resources": {RESOURCE: capacity.memory_gb},
            "silence_logs": logging.ERROR,
            **settings.options,
        }
    )
    logger.info(
        "Cluster: %d worker(s) on this machine, each with %d core(s) and %.1f GB",
        arguments["n_workers"],
        capacity.cores,
        capacity.memory_gb,
    )
    return stack.enter_context(cluster), capacity


def _start_jobs(stack: ExitStack, settings: Cluster, logs: Path) -> tuple[Any, Capacity]:
    from dask.utils import parse_bytes

    name = settings.type.rpartition(".")[2]
    cluster_class = getattr(import_extra("dask_jobqueue"), name, None)
    if cluster_class is None:
        raise ClusterError(f"compute.cluster.type: dask-jobqueue has no class {name}.")
    options = {"processes": 1, **settings.options}
    memory_gb = parse_bytes(settings.memory or "") / 1e9 / options["processes"]
    cores = max(1, (settings.cores or 1) // options["processes"])
    given = {"queue": settings.queue, "account": settings.account, "walltime": settings.walltime}
    resources = ["--resources", f"{RESOURCE}={memory_gb:g}"]
    cluster = cluster_class(
        **{
            "cores": settings.cores,
            "memory": settings.memory,
            "log_directory": str(logs),
            **{key: value for key, value in given.items() if value is not None},
            **options,
            "worker_extra_args": [*options.get("worker_extra_args", []), *resources],
        }
    )
    stack.enter_context(cluster)
    (logs / "job_script.sh").write_text(cluster.job_script(), encoding="utf-8")
    cluster.adapt(minimum_jobs=settings.jobs.minimum, maximum_jobs=settings.jobs.maximum)
    logger.info(
        "Cluster: %d to %d jobs by %s, each with %s core(s) and %s; their script is %s",
        settings.jobs.minimum,
        settings.jobs.maximum,
        name,
        settings.cores,
        settings.memory,
        logs / "job_script.sh",
    )
    return cluster, Capacity(memory_gb, cores)


def _capacity_of(client: Any) -> Capacity:
    """What the smallest worker of a cluster can take that somebody else has started."""
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except TimeoutError as error:
        raise ClusterError(
            f"The Dask scheduler at {client.scheduler.address} has no workers. Start some, then run again."
        ) from error
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    memory = [worker["resources"].get(RESOURCE, worker["memory_limit"] / 1e9) for worker in workers]
    declared = all(RESOURCE in worker["resources"] for worker in workers)
    if not declared:
        logger.warning(
            "Workers of %s declare no resource %s, so that Dask does not know how many recordings fit into one. Start "
            "them with: dask worker --resources '%s=28' ...",
            client.scheduler.address,
            RESOURCE,
            RESOURCE,
        )
    return Capacity(min(memory), min(worker["nthreads"] for worker in workers), declared)
