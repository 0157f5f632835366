"""What is said around a run. Nothing that must happen hangs here: workers of other processes know no hooks."""

import logging
from collections import defaultdict
from time import perf_counter
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsc2p_kedro.manifest.recordings import ManifestError, Recording, stage_problems
from rsc2p_kedro.nwb.metadata_checks import check_metadata

logger = logging.getLogger(__name__)


class StartHook:
    """Stops a run whose parameters or metadata cannot be right, before hours of computing."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        parameters = catalog.load("parameters")
        namespaces = [node.namespace or "" for node in pipeline.nodes]
        exported = {name.removesuffix(".export") for name in namespaces if name.endswith(".export")}
        sessions = (parameters.get("recordings") or {}).values()
        recordings = [r for s in sessions for r in s.values() if isinstance(r, Recording)]
        running = {".".join(name.split(".")[:2]) for name in namespaces}
        problems = [f"{r.name}: {p}" for r in recordings if r.name in running for p in stage_problems(r, parameters)]
        if problems:
            raise ManifestError("The manifest of recordings needs mending:\n" + "\n".join(f"  - {p}" for p in problems))
        if exported:
            check_metadata(parameters["nwb"], [r for r in recordings if r.name in exported])


class StageTimesHook:
    """Says at the end of a run how long each stage took, loading and saving included."""

    def __init__(self) -> None:
        self._spans: dict[tuple[str, ...], list[float]] = defaultdict(list)

    @hook_impl
    def before_pipeline_run(self) -> None:
        self._spans.clear()

    def _note(self, node: Node) -> None:
        self._spans[(*(node.namespace or "all recordings").split("."), node.short_name)].append(perf_counter())

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        self._note(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        self._note(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        self._note(node)

    @hook_impl
    def after_pipeline_run(self) -> None:
        stages: dict[str, float] = defaultdict(float)
        for name, moments in self._spans.items():
            stages[".".join(name[:-1])] += moments[-1] - moments[0]
        if stages:
            lines = [f"  {name:<44}{seconds:8.1f} s" for name, seconds in stages.items()]
            logger.info("Time by stage, loading and saving included:\n%s", "\n".join(lines))
        self._spans.clear()
