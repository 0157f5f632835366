"""The runner of this project: recording by recording, only what is not fresh, and on after failures."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from kedro.framework import project
from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io import CatalogProtocol, DatasetError, Version
from kedro.io.core import generate_timestamp
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner
from kedro.runner.task import Task

from rsc2p_kedro.core.provenance import collect_provenance
from rsc2p_kedro.datasets.made import MadeRecord, describe_files, write_record
from rsc2p_kedro.datasets.pruning import StoredDataset
from rsc2p_kedro.runners.freshness import (
    Freshness,
    Plan,
    StaleInputsError,
    by_recording,
    dataset_of,
    make_plan,
    stage_of,
)
from rsc2p_kedro.runners.joint import EARLY, by_field, split_at_state, without_missing_inputs
from rsc2p_kedro.runners.messages import RunReport, describe_plan, log_old_versions, remaining_time
from rsc2p_kedro.runners.run_folder import INDEX, ONLY_IN_FILE, Failure, now, run_folder

logger = logging.getLogger(__name__)

ALL_RECORDINGS = "all_recordings"
"""Registered pipeline of the tables and pages over all recordings; also the name of their lock."""


class RunFailedError(RuntimeError):
    """Some recordings failed, the others were processed. The message names each and its error."""


class RecordingRunner(SequentialRunner):
    """Runs one recording after the other, and of each only nodes whose outputs are missing or stale.

    Beside each output, it writes what the output was made of (:mod:`rsc2p_kedro.datasets.made`). If a recording fails,
    the others are processed all the same, and all failures are reported together at the end. Nodes without a namespace
    run over those recordings that have results: tables and pages over all of them last, those that track neurons before
    the sessions are exported.

    It is the runner of `kedro run` in this project. Kedro's own runners run all selected nodes, and as they do not
    write what outputs were made of, their results count as stale.

    Example:
        ``kedro run --runner rsc2p_kedro.runners.RecordingRunner --runner-params force=True``
    """

    def __init__(
        self, is_async: bool = False, *, force: bool = False, complete: bool = False, joint: bool = True
    ) -> None:
        """Stores the options.

        Args:
            is_async: load and save the datasets of a node in threads.
            force: run all selected nodes, fresh or not.
            complete: also run nodes that were not selected if their outputs are needed and not fresh, and remake the
                tables and pages over all recordings. If False, a recording with such inputs is refused.
            joint: make the tables and pages over all recordings. If False, another run does (one job for each
                recording, and a last one for these).
        """
        super().__init__(is_async=is_async)
        self._force, self._complete, self._joint = bool(force), bool(complete), bool(joint)

    def __repr__(self) -> str:
        # Kedro-Viz shows the run in its Workflow view if it finds this name.
        return "RecordingRunner, a kedro.runner.sequential_runner.SequentialRunner object"

    def run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any = None,
        run_id: str | None = None,
        only_missing_outputs: bool = False,
    ) -> dict[str, Any]:
        """Runs a pipeline.

        Args:
            pipeline: the selected nodes.
            catalog: its datasets.
            hook_manager: of the session.
            run_id: of the session; name of the log file.
            only_missing_outputs: run only what is missing, as Kedro's runners do.

        Returns:
            Datasets of the outputs of the pipeline, by name.

        Raises:
            RunFailedError: one or more recordings failed; names each and its error, and is chained to the first error.
        """
        if only_missing_outputs:
            pipeline = self._filter_pipeline_for_missing_outputs(pipeline, catalog)
        registered = project.pipelines.get("__default__", Pipeline([]))
        joint = list(project.pipelines[ALL_RECORDINGS].nodes) if self._complete and self._joint else []
        nodes = {node.name: node for node in [*registered.nodes, *pipeline.nodes, *joint]}
        run = Run(self, Freshness(nodes.values(), catalog), catalog, hook_manager or _NullPluginManager(), run_id)
        with run.log():
            before, after = split_at_state(pipeline.nodes)
            of_several = [*{node.name: node for node in [*pipeline.nodes, *joint] if node.namespace is None}.values()]
            self._process(run, by_recording(before))
            for field in by_field(of_several) if self._joint else ():
                run.joint_nodes(field, EARLY)
            rest = {name: nodes for name, nodes in by_recording(after).items() if name not in run.report.failures}
            if rest:
                self._process(run, rest)
            if self._joint:
                run.joint_nodes(node for node in of_several if EARLY not in node.tags)
            run.end()
        return {name: catalog[name] for name in pipeline.outputs()}

    def _process(self, run: "Run", recordings: dict[str, list[Node]]) -> None:
        """Processes the recordings of a run, here one after the other."""
        run.all_recordings(recordings)


class Run:
    """One run: its results so far, and what it needs to make them.

    Attributes:
        catalog: of the run.
        run_id: identifies the run; name of its log.
        folder: its logs, locks and failures. None if all datasets are in memory.
        report: what was done so far.
    """

    def __init__(
        self, runner: RecordingRunner, freshness: Freshness, catalog: Any, hook_manager: Any, run_id: str | None
    ) -> None:
        self._force, self._complete, self._is_async = runner._force, runner._complete, runner._is_async
        self._freshness, self.catalog = freshness, catalog
        self._hook_manager, self.run_id = hook_manager, run_id or now().replace(":", ".")
        self._provenance = {key: value for key, value in collect_provenance().items() if key != "engines"}
        self.report = RunReport()
        index = freshness.places[INDEX]
        self._index, self.folder = None if index is None else index.path, run_folder(freshness.places)
        self._running: Node | None = None

    @contextmanager
    def log(self) -> Iterator[None]:
        """Writes the log of the block to a file, and tells in it where the block was interrupted (Ctrl-C).

        Yields:
            Nothing.
        """
        with self.folder.log(self.run_id) if self.folder else nullcontext() as file:
            self.report.log = file
            try:
                yield
            except KeyboardInterrupt:
                at = "" if self._running is None else f" at {self._running.name}"
                logger.warning("Interrupted%s. What is complete is kept: the same command goes on from there.", at)
                raise

    def all_recordings(self, recordings: dict[str, list[Node]]) -> None:
        """Processes one recording after the other, and goes on after failures.

        Args:
            recordings: nodes of each, by its name.
        """
        self.report.n_recordings = max(self.report.n_recordings, len(recordings))
        for name, of_recording in recordings.items():
            nodes = sorted(of_recording, key=lambda node: self._freshness.order[node.name])
            start = time.perf_counter()
            try:
                made = self._process(name, nodes)
            except Exception as error:
                self.fail(name, error)
            else:
                self.done(name, made=made, seconds=time.perf_counter() - start)

    def done(self, name: str, *, made: bool, seconds: float) -> None:
        """Counts a recording that did not fail.

        Args:
            name: its name.
            made: whether anything was made.
            seconds: run time.
        """
        self.report.done(name, made=made, seconds=seconds, n_frames=self._n_frames(name) if made else 0)
        if self.folder and made:
            self.folder.forget_failure(name)

    def _n_frames(self, name: str) -> int:
        """Number of frames of a recording, of all its planes together; 0 if it has no movie that can be opened."""
        datasets = [dataset for dataset in self._freshness.producers if dataset.startswith(f"{name}.")]
        movies = [dataset for dataset in datasets if dataset.endswith(".movie") and self._freshness.available(dataset)]
        with suppress(DatasetError):
            return sum(len(self.catalog.load(dataset)) for dataset in movies)
        return 0

    def joint_nodes(self, nodes: Iterable[Node], name: str = ALL_RECORDINGS) -> None:
        """Runs nodes over several recordings, of those recordings that have results.

        Args:
            nodes: over several recordings.
            name: that their failure is kept by.
        """
        for whole in nodes:
            node = without_missing_inputs(whole, self._freshness.available)
            if node is None:
                continue
            if not node.outputs:  # it only explains why nothing can run
                self._run_nodes((node,))
                continue
            try:
                with self._lock(name):
                    if self._force or self._freshness.state(node).status != "fresh":
                        self._run_nodes((node,))
                        self.report.joint += node.outputs
            except Exception as error:
                self.fail(name, error)
                return
            left_out = {missing.rpartition(".")[0] for missing in set(whole.inputs) - set(node.inputs)} - {""}
            self.report.left_out = sorted({*self.report.left_out, *left_out})
        if self.folder and name not in self.report.failures:
            self.folder.forget_failure(name)

    def end(self) -> None:
        """Logs what was made, reused and failed.

        Raises:
            RunFailedError: something failed.
        """
        self.report.log_summary(self._index)
        made = [name for name in self._freshness.producers if ".".join(name.split(".")[:2]) in self.report.seconds]
        places = {name: place for name in made if (place := self._freshness.places[name]) is not None}
        log_old_versions([StoredDataset(name, place.path, place.versioned) for name, place in places.items()])
        if self.report.failures:
            raise RunFailedError(self.report.failed_text()) from next(iter(self.report.failures.values()))

    def next_stage(self, name: str, nodes: Sequence[Node], *, tell: bool = True) -> str:
        """Finds out where the work on a recording begins. What was found out is forgotten, to be asked again later.

        Args:
            name: name of the recording.
            nodes: its selected nodes.
            tell: log what will be made, and why.

        Returns:
            The first stage of which something is not fresh; empty if all is.
        """
        nodes = sorted(nodes, key=lambda node: self._freshness.order[node.name])
        try:
            plan = self._plan(name, nodes)
        finally:
            self._freshness.forget(name)
        if tell:
            logger.info(describe_plan(name, nodes, plan))
        return stage_of(plan.nodes[0]) if plan.nodes else ""

    def _process(self, name: str, nodes: Sequence[Node]) -> bool:
        """Processes one recording; returns whether anything was made."""
        plan = self._plan(name, nodes)
        if not plan.nodes:
            logger.info(describe_plan(name, nodes, plan))
            return False
        with self._lock(name):
            plan = self._plan(name, nodes)  # another run may have made it in the meantime
            logger.info(describe_plan(name, nodes, plan))
            self._run_nodes(plan.nodes, progress=self.report.progress(name))
        return bool(plan.nodes)

    def _plan(self, name: str, nodes: Sequence[Node]) -> Plan:
        plan = make_plan(self._freshness, nodes, force=self._force, complete=self._complete)
        if plan.refused:
            raise StaleInputsError.listing(plan.refused, name)
        return plan

    def _lock(self, name: str) -> Any:
        return self.folder.lock(name) if self.folder else nullcontext()

    def _run_nodes(self, nodes: Sequence[Node], progress: str = "") -> None:
        """Runs nodes, and writes what their outputs are made of."""
        self._prepare(nodes)
        uses = Counter(dataset_of(name) for node in nodes for name in node.inputs)
        stage = ""
        for node in nodes:
            self._running = node
            if progress and stage_of(node) != stage:
                stage = stage_of(node)
                logger.info("%s: %s%s", progress, stage, remaining_time(self.report))
            start = time.perf_counter()
            self._run_node(node)
            logger.info("%s took %.1f s", node.name, time.perf_counter() - start, extra=ONLY_IN_FILE)
            self._release(node, uses)
        self._running = None

    def _prepare(self, nodes: Sequence[Node]) -> None:
        """Makes the datasets and their version, and stops if one that no node makes is not in the catalog."""
        made = {dataset_of(name) for node in nodes for name in node.outputs}
        for node in nodes:
            for name in [*node.inputs, *node.outputs]:
                known = name in self.catalog
                self.catalog.get(name, fallback_to_runtime_pattern=True)
                if not known and dataset_of(name) not in made:
                    raise ValueError(f"{name}, an input of {node.name}, is not in the catalog.")
        outputs = [name for node in nodes for name in node.outputs]
        versioned = {name: place for name in outputs if (place := self._freshness.places[name]) and place.versioned}
        datasets = {name: self.catalog.get(name) for name in versioned}
        latest = max((place.version() or "" for place in versioned.values()), default="")
        if any(latest >= (dataset.resolve_save_version() or "") for dataset in datasets.values()):
            # A run that started later was here first: without a newer version, its results would be loaded.
            newer = generate_timestamp()
            for dataset in datasets.values():
                dataset._version = Version(dataset._version.load, newer)

    def _run_node(self, node: Node) -> None:
        making, versions = self._freshness.making(node), self._freshness.input_versions(node)
        Task(
            node=node,
            catalog=self.catalog,
            hook_manager=self._hook_manager,
            is_async=self._is_async,
            run_id=self.run_id,
        ).execute()
        for name in node.outputs:
            place = self._freshness.places[name]
            if place is not None:
                dataset = self.catalog.get(name)
                path = Path(dataset._get_load_path()) if place.versioned else place.path
                files = describe_files(path) if path.is_dir() and not place.versioned else None
                write_record(path, MadeRecord(making, versions, now(), files, self._provenance))

    def _release(self, node: Node, uses: Counter[str]) -> None:
        """Releases datasets that no other of the nodes needs: closes files, and frees memory."""
        uses.subtract(map(dataset_of, node.inputs))
        for name in [*node.inputs, *node.outputs]:
            if uses[dataset_of(name)] <= 0 and (self._freshness.places[name] is not None or self._is_used_up(name)):
                self.catalog.release(name)

    def _is_used_up(self, name: str) -> bool:
        """Whether only nodes of one recording make and need a dataset in memory."""
        if name not in self._freshness.producers:  # such as parameters, which every node has
            return False
        users = [node for node in self._freshness.nodes.values() if name in node.inputs]
        return bool(users) and all(node.namespace for node in users)

    def fail(self, name: str, error: Exception) -> None:
        """Keeps a failure for the end of the run and for later runs; its traceback is in the log file.

        Args:
            name: name of the recording.
            error: why it failed.
        """
        logger.error("%s failed (%s). Continuing with the others.", name, type(error).__name__)
        if not isinstance(error, StaleInputsError):
            logger.error("Traceback of %s:", name, exc_info=error, extra=ONLY_IN_FILE)
        self.report.failures[name] = error
        node, self._running = self._running, None
        if self.folder and node is not None:
            text = f"{type(error).__name__}: {error}"
            self.folder.write_failure(name, Failure(node.name, stage_of(node), text, now()))
