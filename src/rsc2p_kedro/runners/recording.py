"""A runner that goes recording by recording, and does not let one bad recording stop the others."""

import logging
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

logger = logging.getLogger(__name__)


class RecordingRunner(SequentialRunner):
    """Runs all stages of one recording, then those of the next; failures are reported together at the end.

    What comes after the recordings (tables over all of them) runs only where none has failed. Use it with
    ``kedro run --runner rsc2p_kedro.runners.RecordingRunner``.
    """

    def _run(self, pipeline: Pipeline, catalog: CatalogProtocol, *args: Any, **kwargs: Any) -> None:
        """Runs a pipeline.

        Raises:
            RuntimeError: names every recording that failed, and why; chained to the first failure.
        """
        failures: dict[str, Exception] = {}
        for name, part in _by_recording(pipeline).items():
            logger.info("Recording %s: %d nodes", name, len(part.nodes))
            try:
                super()._run(part, catalog, *args, **kwargs)
            except Exception as error:
                logger.exception("Recording %s failed; going on with the others.", name)
                failures[name] = error
        if failures:
            reasons = "\n".join(f"  - {name}: {type(error).__name__}: {error}" for name, error in failures.items())
            raise RuntimeError(f"{len(failures)} recording(s) failed:\n{reasons}") from next(iter(failures.values()))
        rest = Pipeline([node for node in pipeline.nodes if node.namespace is None])
        if rest.nodes:
            super()._run(rest, catalog, *args, **kwargs)


def _by_recording(pipeline: Pipeline) -> dict[str, Pipeline]:
    """The nodes of each recording, by its name `animal.session`, in the order of their first node."""
    parts: dict[str, list] = {}
    for node in pipeline.nodes:
        if node.namespace is not None:
            parts.setdefault(".".join(node.namespace.split(".")[:2]), []).append(node)
    return {name: Pipeline(nodes) for name, nodes in parts.items()}
