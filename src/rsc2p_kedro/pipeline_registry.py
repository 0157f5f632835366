"""The pipelines: every stage, for every recording of the manifest."""

import os
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Node, Pipeline
from kedro.utils import find_kedro_project

from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader
from rsc2p_kedro.manifest.recordings import Recording, explain_how_to_start, parse_manifest
from rsc2p_kedro.pipelines import (
    evaluation,
    export,
    ingestion,
    motion_correction,
    reporting,
    simulation,
    source_extraction,
)

STAGES = {
    "simulation": simulation,
    "ingestion": ingestion,
    "motion_correction": motion_correction,
    "source_extraction": source_extraction,
    "evaluation": evaluation,
    "export": export,
    "reporting": reporting,
}

# Kedro refuses an empty pipeline in words that help nobody: a manifest without recordings gets a node that explains.
_HOW_TO_START = Pipeline([Node(explain_how_to_start, inputs="params:recordings", outputs=None)])


def register_pipelines() -> dict[str, Pipeline]:
    """Each stage over all recordings under its name, and everything as `__default__`."""
    recordings = _recordings()
    if not recordings:
        return dict.fromkeys([*STAGES, "__default__"], _HOW_TO_START)
    pipelines = {
        name: sum((_of_recording(name, recording) for recording in recordings), start=Pipeline([])) for name in STAGES
    }
    pipelines["evaluation"] += evaluation.create_table_of_all(recordings)
    pipelines["reporting"] += reporting.create_index_pipeline(recordings)
    pipelines["__default__"] = sum(pipelines.values(), start=Pipeline([]))
    return pipelines


def _of_recording(stage_name: str, recording: Recording) -> Pipeline:
    """One stage of one recording, in the namespace `animal.session.stage`."""
    if stage_name == "simulation" and recording.simulation is None:
        return Pipeline([])
    stage = STAGES[stage_name].create_pipeline(recording)
    parameters = {name for name in stage.inputs() if name.startswith("params:")}
    shared = {name: name for name in parameters - {"params:recording"}}
    return Pipeline(
        Pipeline(
            stage, namespace=stage_name, prefix_datasets_with_namespace=False, parameters={p: p for p in parameters}
        ),
        namespace=recording.name,
        parameters={**shared, "params:recording": f"params:recordings.{recording.name}"},
        tags=[recording.animal, recording.session_key, stage_name],
    )


def _recordings() -> list[Recording]:
    """The recordings of the running session, or, where there is none (`kedro registry list`), of the environment."""
    loader = ManifestConfigLoader.latest
    if loader is None:
        root = find_kedro_project(Path.cwd()) or Path.cwd()
        folder, env = str(root / settings.CONF_SOURCE), os.environ.get("KEDRO_ENV")
        loader = ManifestConfigLoader(folder, env=env, **settings.CONFIG_LOADER_ARGS)
    parameters = loader["parameters"]
    return parse_manifest(parameters.get("recordings"), parameters.get("nwb"))
