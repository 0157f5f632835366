"""Context and hooks of Kedro: configuration of the session, and checks at the start of a run.

No result depends on a hook, because worker processes of Kedro run none.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from kedro.framework import project
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsc2p_kedro.core.commands import command, use_environment
from rsc2p_kedro.core.problems import group_problems, name_recordings
from rsc2p_kedro.manifest.checks import ManifestError, stage_problems
from rsc2p_kedro.manifest.config_loader import ManifestConfigLoader
from rsc2p_kedro.manifest.doubts import recording_doubts, shared_data
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.metadata_checks import check_metadata, missing_metadata
from rsc2p_kedro.runners.freshness import Freshness, refuse_stale_inputs

logger = logging.getLogger(__name__)


class SessionConfiguration:
    """Keeps the configuration of the running session, which Kedro does not pass to `register_pipelines`.

    It is filled by :class:`RecordingsContext` and not by a hook, since Kedro-Viz switches hooks off.

    Attributes:
        config_loader: loader of the session that was started last. None before the first session.
    """

    def __init__(self) -> None:
        self.config_loader: ManifestConfigLoader | None = None

    def update(self, config_loader: ManifestConfigLoader) -> None:
        """Stores the configuration, and has the pipelines registered again for it.

        Args:
            config_loader: of a session that starts. An earlier session in the same process may have used another
                environment with other recordings.
        """
        self.config_loader = config_loader
        project.pipelines.configure(f"{project.PACKAGE_NAME}.pipeline_registry")


class RecordingsContext(KedroContext):
    """Kedro's context; passes its configuration to the :class:`SessionConfiguration` of the settings."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        use_environment(self.env)
        self._pipelines_to_validate = ["__default__"]  # has the nodes of all stages; sessions that run others add them
        for hook in project.settings.HOOKS:
            if isinstance(hook, SessionConfiguration) and isinstance(self.config_loader, ManifestConfigLoader):
                hook.update(self.config_loader)

    def _get_parameters(self) -> dict[str, Any]:
        """Parameters for the catalog, without those fields of recordings that no node names.

        Kedro makes a dataset for each nested value, such as `params:recordings.animal_1.day_7.subject.age`: a hundred
        for a recording, and 4 of the 25 s of `kedro recordings status` with 500 recordings.
        """
        named = {name for pipeline in project.pipelines.values() for node in pipeline.nodes for name in node.inputs}
        found = super()._get_parameters()
        return {name: value for name, value in found.items() if name in named or not _is_field_of_entry(name)}


def _is_field_of_entry(name: str) -> bool:
    """Whether a parameter is a part of an entry of a recording (`params:recordings.animal.session`) or of its plane."""
    levels = {"params:recordings": 3, "params:units": 4}
    parts = name.split(".")
    return len(parts) > levels.get(parts[0], len(parts))


class StartHook:
    """Stops a run at its start if parameters or metadata of its recordings are invalid, or its inputs are stale."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Checks the recordings of the run, and tells which of them cannot be exported.

        Args:
            run_params: options of the run.
            pipeline: pipeline that will run.
            catalog: catalog with the parameters.

        Raises:
            ManifestError: parameters of a recording contradict each other, or its files are invalid.
            MetadataError: metadata that NWB or DANDI require of a recording to be exported are missing.
            StaleInputsError: Kedro's own runner shall run a part of the pipeline whose inputs are stale. The runner of
                this project sees to that itself, and can make them.
        """
        inputs = pipeline.inputs()
        entries = [
            catalog.load(name) for name in sorted(inputs) if name.startswith(("params:recordings.", "params:units."))
        ]
        running = [entry for entry in entries if isinstance(entry, Recording)]
        shared = {
            name: catalog.load(f"params:{name}") for name in ("motion_correction", "source_extraction", "evaluation")
        }
        sessions = {one.session_name: one for one in running}  # any plane of a session has its path and its metadata
        same_data, doubts = shared_data(list(sessions.values()))
        units = {unit.name: unit for one in running for unit in one.units}  # files of planes have `{plane}` in sessions
        problems = {name: stage_problems(unit, shared) for name, unit in units.items()}
        for name, lines in same_data.items():
            problems[name] = [*problems.get(name, []), *lines]
        if any(problems.values()):
            raise ManifestError.listing(problems)
        for name, one in sessions.items():
            is_read = f"{name}.raw_frames" in inputs
            doubts[name] = [*doubts.get(name, []), *recording_doubts(one, read_files=is_read)]
        for line in group_problems(doubts):
            logger.warning("%s", line)
        self._check_export(sessions, pipeline, catalog, run_params.get("env"))
        if "RecordingRunner" not in str(run_params.get("runner")):
            nodes = {node.name: node for node in [*project.pipelines["__default__"].nodes, *pipeline.nodes]}
            refuse_stale_inputs(Freshness(nodes.values(), catalog), pipeline.nodes)

    def _check_export(
        self, sessions: Mapping[str, Recording], pipeline: Pipeline, catalog: CatalogProtocol, env: str | None
    ) -> None:
        """Stops a run that exports recordings without their metadata, and says which are not exported."""
        functions: dict[str, set[str]] = defaultdict(set)
        for node in pipeline.nodes:
            session = ".".join((node.namespace or "").split(".")[:2])
            functions[node.name.rpartition(".")[2]].add(session)
        to_export = [one for name, one in sessions.items() if name in functions["build_nwb"]]
        if to_export:
            check_metadata(catalog.load("params:nwb"), to_export, env=env)
        without = [one for name, one in sessions.items() if name in functions["explain_missing_nwb"]]
        if without:
            shared = NwbParameters.model_validate(catalog.load("params:nwb"))
            missing = dict.fromkeys(path for one in without for path in missing_metadata(shared, one))
            logger.warning(
                "No NWB file is written for %s, as metadata are missing: %s. `%s` prints the lines to add.",
                name_recordings([one.session_name for one in without]),
                ", ".join(missing),
                command("recordings check", env),
            )
