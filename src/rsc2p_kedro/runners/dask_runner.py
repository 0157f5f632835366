"""Recordings beside one another on a cluster of Dask, each with the logic of a local run.

The run itself plans: it knows what is not fresh, gives workers no more recordings than they take at once (so that a
worker that ends takes along only those that it works on), decides what is tried again, and makes the tables and pages
over all recordings at the end.
"""

import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from kedro.pipeline.node import Node

from rsc2p_kedro.core.parameters import Cluster, Compute
from rsc2p_kedro.manifest.config_loader import running_config_loader
from rsc2p_kedro.runners.cluster import RESOURCE, ClusterError, connect, estimated_memory_gb, import_extra
from rsc2p_kedro.runners.messages import duration
from rsc2p_kedro.runners.recording import RecordingRunner, Run
from rsc2p_kedro.runners.run_folder import Failure, now

logger = logging.getLogger(__name__)

_TELL_EVERY_S, _REPEAT_AFTER_S = 10.0, 300.0
"""Time in s between two lines of progress, at least, and after which a line is repeated that says the same. Not
tuned."""

_WAIT_FOR_SCHEDULER_S = 60.0
"""Time in s in which a scheduler that was lost can come back; longer than a restart takes. Not tuned."""

_MOST_UNFIT = 10
"""Messages about workers that cannot be used after which the run ends, as new jobs seem to end up there again."""

_SEEN_WITHIN_S = 60.0
"""Time in s within which a network file system shows new files to other machines: NFS keeps what it knows of a folder
for up to 60 s."""


class FailedOnWorkerError(RuntimeError):
    """A recording failed on a worker, or its worker ended."""


class DaskRunner(RecordingRunner):
    """Runs recordings beside one another on a cluster; otherwise as the :class:`RecordingRunner`.

    The parameter `compute.cluster` describes the cluster. Without it, worker processes of this machine are used.

    Example:
        ``kedro run --runner dask``
    """

    _without_parameters: Cluster | None = Cluster.model_validate({})

    def _process(self, run: Run, recordings: dict[str, list[Node]]) -> None:
        settings = Compute.model_validate(run.catalog.get("params:compute").load()).cluster or self._without_parameters
        if settings is None:
            super()._process(run, recordings)
            return
        _RunOnCluster(run, recordings, settings, {"force": self._force, "complete": self._complete}).process()


class ProjectRunner(DaskRunner):
    """The runner of `kedro run`: on the cluster of `compute.cluster` if there is one, else one after the other here."""

    _without_parameters = None


class _RunOnCluster:
    """The recordings of one run: which wait, which are being processed, and how often each was tried."""

    def __init__(
        self, run: Run, recordings: dict[str, list[Node]], settings: Cluster, options: Mapping[str, Any]
    ) -> None:
        if run.folder is None:
            raise ClusterError("The datasets of this catalog are in memory, which workers do not share.")
        import_extra("distributed")
        self._run, self._recordings, self._settings, self._options = run, recordings, settings, options
        run.report.n_recordings = max(run.report.n_recordings, len(recordings))
        self._folder = run.folder
        self._logs = run.folder.path / run.run_id
        self._waiting, self._planned = deque(recordings), deque[str]()
        self._running: dict[Any, str] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._unfit: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._n_unfit = self._n_lost = 0
        self._tries: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._told: tuple[int, ...] = ()
        self._told_at = 0.0

    def process(self) -> None:
        """Processes all recordings.

        Raises:
            ClusterError: the cluster cannot be used, or was lost. What was made until then is there.
        """
        compute = Compute.model_validate(self._run.catalog.get("params:compute").load())
        self._needed_gb = self._settings.recording_memory_gb or estimated_memory_gb(compute.memory_gb)
        self._logs.mkdir(parents=True, exist_ok=True)
        with connect(
            self._settings, needed_gb=self._needed_gb, n_recordings=len(self._recordings), logs=self._logs
        ) as (client, capacity):
            self._client, self._capacity = client, capacity
            self._prepare_workers()
            try:
                while self._start_next() or self._running:
                    self._take_ended()
            finally:
                client.cancel([*self._running], reason="the run has ended")
        logger.info("Logs of the workers: %s", self._logs)

    def _prepare_workers(self) -> None:
        """Has each worker checked and prepared: those that are there now, and those to come."""
        from rsc2p_kedro.runners.worker import TOPIC, Fitness, ProjectName, UnfitWorkerError, code_versions

        loader = running_config_loader()
        if loader is None:
            raise ClusterError("Workers open the project, and so it must be run by a session of Kedro.")
        self._project = ProjectName(
            str(loader.root),
            str(Path(loader.conf_source).resolve()),
            loader.env,
            dict(loader.runtime_params or {}),
            loader.identity(),
            self._run.run_id,
        )
        self._token = self._logs / "token"
        self._token.write_text(str(uuid4()))
        fitness = Fitness(
            self._token.resolve(),
            self._token.read_text(),
            code_versions(),
            quiet=self._settings.type == "local" and not self._settings.scheduler,
            owned=not self._settings.scheduler,
        )
        self._client.subscribe_topic(TOPIC, lambda event: self._unfit.put(event[1]))
        try:
            self._client.register_plugin(fitness)
        except UnfitWorkerError as error:
            raise ClusterError(str(error)) from error

    def _start_next(self) -> bool:
        """Gives workers as many recordings as they take; whether any is left."""
        places = self._places()
        while (self._planned or self._waiting) and len(self._running) < places:
            if self._planned or self._plan_next():
                self._submit(self._planned.popleft())
        while self._waiting and len(self._planned) < places:  # while workers are busy
            self._plan_next()
            if not self._ended.empty():
                break
        return bool(self._planned or self._waiting)

    def _plan_next(self) -> bool:
        """Finds out whether there is anything to make of the next recording."""
        name = self._waiting.popleft()
        try:
            stage = self._run.next_stage(name, self._recordings[name], tell=not self._tries[name])
        except Exception as error:
            self._run.fail(name, error)
            return False
        if not stage:
            self._run.done(name, made=False, seconds=0.0)
            return False
        self._planned.append(name)
        return True

    def _places(self) -> int:
        """Recordings that all workers take at once, those included that a queue system has not yet started."""
        settings = self._settings
        at_once = self._capacity.at_once(self._needed_gb)
        if settings.scheduler or settings.type == "local":
            return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"])) * at_once
        return settings.jobs.maximum * settings.options.get("processes", 1) * at_once

    def _submit(self, name: str) -> None:
        from rsc2p_kedro.runners.worker import RecordingTask, run_recording

        self._tries[name] += 1
        share = 1 if name in self._alone else self._capacity.at_once(self._needed_gb)
        task = RecordingTask(
            self._project,
            name,
            tuple(node.name for node in self._recordings[name]),
            {key: version for key, version in self._load_versions().items() if key.startswith(f"{name}.")},
            self._options,
            share,
        )
        # Slightly less than its part, as sums of parts must not exceed the whole by an error of rounding.
        resources = {RESOURCE: self._capacity.memory_gb / share * (1 - 1e-9)} if self._capacity.declared else None
        key = f"{name}-{self._run.run_id}-{self._tries[name]}-{self._n_lost}"
        future = self._client.submit(run_recording, task, key=key, pure=False, resources=resources)
        self._running[future] = name
        future.add_done_callback(self._ended.put)

    def _load_versions(self) -> Mapping[str, str]:
        return getattr(self._run.catalog, "_load_versions", None) or {}

    def _take_ended(self) -> None:
        """Waits for recordings to end, but not for long, and deals with those that have."""
        with suppress(queue.Empty):
            future = self._ended.get(timeout=_TELL_EVERY_S)
            name = self._running.pop(future, None)
            if name is not None:
                self._take(name, future)
        while not self._unfit.empty():
            self._count_unfit(self._unfit.get())
        self._tell_progress()

    def _take(self, name: str, future: Any) -> None:
        """Deals with a recording that has ended in one way or another."""
        distributed = import_extra("distributed")
        if future.status == "finished":
            outcome = future.result()
            if outcome.error:
                log = self._logs / f"{name}.log"
                self._try_again(name, f"{outcome.error}\n    (on {outcome.worker}; log: {log})")
                return
            if outcome.made:
                self._wait_until_seen(name)
            self._run.done(name, made=outcome.made, seconds=outcome.seconds)
            self._note_memory(name, outcome)
        elif future.status == "error":
            error = future.exception()
            if isinstance(error, distributed.scheduler.KilledWorker):
                self._alone.add(name)
                self._try_again(name, self._describe_end(name, error), ended=True)
            else:
                self._try_again(name, f"{type(error).__name__}: {error}")
        else:
            self._scheduler_lost(name)

    def _try_again(self, name: str, reason: str, *, ended: bool = False) -> None:
        if self._tries[name] <= self._settings.retries:
            logger.warning("%s: %s Trying again (%d of %d).", name, reason, self._tries[name], self._settings.retries)
            self._waiting.append(name)
            return
        tried = f" It was tried {self._tries[name]} times." if self._tries[name] > 1 else ""
        if ended:  # otherwise the worker has written what failed
            stage = self._run.next_stage(name, self._recordings[name], tell=False)
            self._folder.write_failure(name, Failure("", stage, reason, now()))
        self._run.fail(name, FailedOnWorkerError(f"{reason}{tried}"))

    def _describe_end(self, name: str, error: Any) -> str:
        stage = self._run.next_stage(name, self._recordings[name], tell=False)
        memory = f"{self._capacity.memory_gb:.1f} GB"
        return (
            f"the worker {error.last_worker.address} ended during {stage or 'the last stage'}, in most cases for lack "
            f"of memory (it has {memory}) or of time; its log is in {self._logs}."
        )

    def _scheduler_lost(self, name: str) -> None:
        """Waits for a scheduler that was lost, and gives it the recordings again that it had."""
        lost = [name, *self._running.values()]
        self._running.clear()
        while not self._ended.empty():
            self._ended.get()
        self._n_lost += 1
        address = self._settings.scheduler or "of this run"
        logger.warning("The scheduler %s was lost with %d recordings. Waiting for it.", address, len(lost))
        deadline = time.monotonic() + _WAIT_FOR_SCHEDULER_S
        while self._client.status == "connecting" and time.monotonic() < deadline:
            time.sleep(0.5)
        if self._client.status != "running" or self._n_lost > 1 + self._settings.retries:
            raise ClusterError(
                f"The Dask scheduler {address} was lost, with {len(lost)} recordings in work. Results so far are "
                "kept: the same command makes the rest."
            )
        self._prepare_workers()
        for again in lost:
            self._tries[again] -= 1
        self._waiting.extendleft(reversed(lost))

    def _count_unfit(self, message: str) -> None:
        self._n_unfit += 1
        logger.warning("A worker cannot be used: %s", message)
        if self._n_unfit > _MOST_UNFIT:
            raise ClusterError(
                f"{self._n_unfit} workers could not be used, at last: {message} Exclude such machines "
                "(`options: {job_extra_directives: [--exclude=NAME]}`), then run again."
            )

    def _wait_until_seen(self, name: str) -> None:
        """Waits until this machine, too, sees the results that a worker has written."""
        if self._options["force"]:
            return
        deadline = time.monotonic() + _SEEN_WITHIN_S
        while stage := self._run.next_stage(name, self._recordings[name], tell=False):
            if time.monotonic() > deadline:
                logger.warning("%s was processed, but %s is not fresh as seen from here.", name, stage)
                return
            time.sleep(1.0)

    def _note_memory(self, name: str, outcome: Any) -> None:
        """Tells a user whose recordings need more than was thought."""
        if outcome.peak_memory_gb > self._needed_gb * self._capacity.at_once(self._needed_gb):
            logger.warning(
                "%s took %.1f GB, more than the %.1f GB that it was given. Set compute.cluster.recording_memory_gb.",
                name,
                outcome.peak_memory_gb,
                self._needed_gb,
            )

    def _tell_progress(self) -> None:
        """Logs how far the run is, if that has changed or was not told for long."""
        report, since = self._run.report, time.monotonic() - self._told_at
        n_failed, n_running = len(report.failures), sum(map(len, self._client.processing().values()))
        waiting = (
            len(self._waiting) + len(self._planned) + max(0, len(self._running) - n_running)
        )  # those of jobs that have not started
        counts = (report.n_done - n_failed, n_running, waiting, n_failed)
        if since < (_REPEAT_AFTER_S if counts == self._told else _TELL_EVERY_S if self._running else 0):
            return
        self._told, self._told_at = counts, time.monotonic()
        left, made = report.n_recordings - report.n_done, len(report.seconds)
        per_recording = (time.perf_counter() - report.start) / max(made, 1)
        remaining = f", about {duration(per_recording * left)} left" if made and left else ""
        text = "{} of {} done, {} running, {} waiting, {} failed".format(counts[0], report.n_recordings, *counts[1:])
        logger.info("Recordings: %s%s", text, remaining)
