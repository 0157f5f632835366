"""A runner that processes one recording after the other and continues when one of them fails."""

import logging
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

logger = logging.getLogger(__name__)


class RecordingRunner(SequentialRunner):
    """Runs all stages of one recording, then those of the next; failures are reported together at the end.

    Nodes without a namespace (tables and figures of all recordings) run last, and only if no recording failed.

    Example:
        ``kedro run --runner rsc2p_kedro.runners.RecordingRunner``
    """

    def _run(self, pipeline: Pipeline, catalog: CatalogProtocol, *args: Any, **kwargs: Any) -> None:
        """Runs a pipeline, recording by recording.

        Raises:
            RuntimeError: One or more recordings failed; names each and its error, and is chained to the first error.
        """
        failures: dict[str, Exception] = {}
        for name, recording in _by_recording(pipeline).items():
            logger.info("Recording %s: %d nodes", name, len(recording.nodes))
            try:
                super()._run(recording, catalog, *args, **kwargs)
            except Exception as error:
                logger.exception("Recording %s failed; continuing with the others.", name)
                failures[name] = error
        if failures:
            reasons = "\n".join(f"  - {name}: {type(error).__name__}: {error}" for name, error in failures.items())
            raise RuntimeError(f"{len(failures)} recording(s) failed:\n{reasons}") from next(iter(failures.values()))
        joint = Pipeline([node for node in pipeline.nodes if node.namespace is None])
        if joint.nodes:
            super()._run(joint, catalog, *args, **kwargs)


def _by_recording(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Pipeline of each recording by its name `animal.session`, in the order of their first nodes."""
    nodes: dict[str, list] = {}
    for node in pipeline.nodes:
        if node.namespace is not None:
            nodes.setdefault(".".join(node.namespace.split(".")[:2]), []).append(node)
    return {name: Pipeline(of_recording) for name, of_recording in nodes.items()}
