"""Registration of the pipelines: all stages, for all recordings of the manifest."""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from kedro.framework.project import settings
from kedro.pipeline import Node, Pipeline
from kedro.utils import find_kedro_project

from rsc2p_kedro.manifest.checks import (
    ManifestError,
    explain_how_to_start,
    misspelled_groups,
    parse_manifest,
)
from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader, running_config_loader
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.metadata_checks import missing_metadata
from rsc2p_kedro.pipelines import (
    engine_comparison,
    evaluation,
    export,
    ingestion,
    motion_correction,
    reporting,
    reproducibility,
    simulation,
    source_extraction,
    tracking,
)
from rsc2p_kedro.pipelines.stage import bind
from rsc2p_kedro.runners.joint import sessions_of_fields
from rsc2p_kedro.runners.recording import ALL_RECORDINGS

STAGES = {
    "simulation": simulation,
    "ingestion": ingestion,
    "motion_correction": motion_correction,
    "source_extraction": source_extraction,
    "evaluation": evaluation,
    "tracking": tracking,
    "export": export,
    "reporting": reporting,
}


OF_SESSION = ("simulation", "export")
"""Stages that process all planes of a recording together; the others process each plane on its own."""

ON_REQUEST = {"engine_comparison": engine_comparison, "reproducibility": reproducibility}
"""Pipelines that are not part of a plain `kedro run`, because they repeat the work of the stages."""


class Registered(Mapping[str, Pipeline]):
    """Pipelines by name. Those that few runs use are made when they are asked for: they have two nodes of five."""

    def __init__(self, made: Mapping[str, Pipeline], later: Mapping[str, Callable[[], Pipeline]]) -> None:
        """Stores the pipelines.

        Args:
            made: those that are there.
            later: functions that make the others.
        """
        self._made, self._later = {**made}, {**later}

    def __getitem__(self, name: str) -> Pipeline:
        if name in self._later:
            self._made[name] = self._later.pop(name)()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._made, *self._later])

    def __len__(self) -> int:
        return len(self._made) + len(self._later)


def register_pipelines() -> Mapping[str, Pipeline]:
    """Registers all pipelines, each over all recordings of the manifest.

    A plain run exports the recordings whose metadata are complete, and the others do all but the export. The pipeline
    `export` holds all recordings, so that asking for it stops with the list of what is missing.

    Returns:
        Each stage under its name, all stages as `__default__`, those of `ON_REQUEST`, which are not part of it, and
        the tables and pages over all recordings, of the whole manifest whatever `only_recordings` selects.

    Raises:
        ManifestError: the manifest is invalid, or the name of a group of parameters is misspelled.
    """
    loader = _config_loader()
    parameters = loader["parameters"]
    misspelled = misspelled_groups(parameters)
    if misspelled:
        raise ManifestError("\n".join(line for lines in misspelled.values() for line in lines))
    recordings = parse_manifest(parameters.get("recordings"), parameters.get("nwb"), env=loader.run_env)
    if not recordings:
        # Kedro rejects an empty pipeline without an explanation.
        start = Node(bind(explain_how_to_start, loader.run_env), inputs="params:recordings", outputs=None)
        return dict.fromkeys([*STAGES, *ON_REQUEST, ALL_RECORDINGS, "__default__"], Pipeline([start]))
    shared = NwbParameters.model_validate(parameters.get("nwb") or {})
    complete = [recording for recording in recordings if not missing_metadata(shared, recording)]
    units = [unit for recording in recordings for unit in recording.units]
    names = loader.all_names
    tracked = {name for of_field in sessions_of_fields(names).values() for name in of_field}
    pipelines = {
        name: stage.create_pipeline(recordings if name in OF_SESSION else units)
        for name, stage in STAGES.items()
        if name not in ("tracking", "export", "reporting")
    }
    exported = {unit.name for recording in complete for unit in recording.units}
    pipelines["tracking"] = tracking.create_pipeline(units, names)
    pipelines["export"] = export.create_pipeline(recordings, tracked)
    pipelines["reporting"] = reporting.create_pipeline(units, exported=exported, tracked=tracked)
    all_recordings = Pipeline([*tracking.over_sessions(names).nodes, *reporting.over_all_recordings(names).nodes])
    if parameters.get("only_recordings"):
        # Tables and pages over all recordings (nodes without a namespace) would show only some of them.
        pipelines = {name: Pipeline([node for node in p.nodes if node.namespace]) for name, p in pipelines.items()}
    made = {
        **pipelines,
        ALL_RECORDINGS: all_recordings,
        # One Pipeline of all nodes: adding pipelines one to another copies all of them at each step.
        "__default__": Pipeline(list({**pipelines, "export": export.create_pipeline(complete, tracked)}.values())),
    }
    return Registered(made, {name: partial(module.create_pipeline, units) for name, module in ON_REQUEST.items()})


def _config_loader() -> ManifestConfigLoader:
    """Configuration of the running session, or that of KEDRO_ENV if there is none (`kedro registry list`)."""
    loader = running_config_loader()
    if loader is not None:
        return loader
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    folder, env = str(root / settings.CONF_SOURCE), os.environ.get("KEDRO_ENV")
    return ManifestConfigLoader(folder, env=env, **settings.CONFIG_LOADER_ARGS)
