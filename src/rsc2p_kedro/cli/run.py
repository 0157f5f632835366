"""`kedro run`: Kedro's own command, with short messages for errors that users can correct."""

from collections.abc import Callable, Iterable
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.startup import ProjectMetadata


def explain(
    error: Exception,
    project: ProjectMetadata | None,
    env: str | None,
    runtime_params: dict[str, Any],
    namespaces: Iterable[str],
) -> str | None:
    """Describes an error that the user can correct in a few lines.

    Args:
        error: error that stopped the run.
        project: the project. None means the packaged project.
        env: environment of the run. None uses the default one.
        runtime_params: parameters given with the command.
        namespaces: namespaces given with the command.

    Returns:
        The message, or None for errors that need their traceback.
    """
    from kedro.pipeline.pipeline import OutputNotUniqueError
    from kedro.validation.exceptions import ParameterValidationError

    from rsc2p_kedro.cli.environment import read_parameters
    from rsc2p_kedro.manifest.checks import ManifestError, parameter_problems
    from rsc2p_kedro.manifest.configuration_files import ConfigurationError
    from rsc2p_kedro.nwb.metadata_checks import MetadataError
    from rsc2p_kedro.runners.cluster import ClusterError
    from rsc2p_kedro.runners.freshness import StaleInputsError
    from rsc2p_kedro.runners.recording import RunFailedError

    expected = ManifestError | MetadataError | ConfigurationError | RunFailedError | StaleInputsError | ClusterError
    if isinstance(error, expected):
        return str(error)
    if isinstance(error, ParameterValidationError):
        problems = parameter_problems(read_parameters(project, env, runtime_params))
        lines = [line for of_group in problems.values() for line in of_group]
        return "Parameters have errors:\n" + "\n".join(f"  - {line}" for line in lines) if lines else str(error)
    if isinstance(error, ValueError) and "Failed to find the pipeline" in str(error):
        return str(error)
    if isinstance(error, OutputNotUniqueError) and "inspection_table" in str(error):
        return _metadata_message(project, env, runtime_params)  # `--pipelines export,reporting` without metadata
    if isinstance(error, ValueError) and "Pipeline does not contain" in str(error):
        exports = any(name.endswith(".export") for name in namespaces)
        message = _metadata_message(project, env, runtime_params) if exports else None
        return message or "\n".join([str(error), *_similar_namespaces(namespaces)])
    return None


def _metadata_message(project: ProjectMetadata | None, env: str | None, runtime_params: dict[str, Any]) -> str | None:
    """Message about missing metadata of the recordings of a run; None if nothing is missing."""
    from rsc2p_kedro.cli.environment import environment, read_parameters
    from rsc2p_kedro.manifest.checks import parse_manifest
    from rsc2p_kedro.nwb.metadata_checks import MetadataError, check_metadata

    parameters = read_parameters(project, env, runtime_params)
    try:
        check_metadata(parameters.get("nwb") or {}, parse_manifest(parameters.get("recordings")), env=environment(env))
    except MetadataError as error:
        return str(error)
    return None


def _similar_namespaces(namespaces: Iterable[str]) -> list[str]:
    from kedro.framework.project import pipelines

    from rsc2p_kedro.core.parameters import did_you_mean

    full = {node.namespace for node in pipelines["__default__"].nodes if node.namespace}
    levels = {".".join(name.split(".")[: depth + 1]) for name in full for depth in range(name.count(".") + 1)}
    return [f"There is no namespace {name}.{did_you_mean(name, levels)}" for name in namespaces if name not in levels]


_kedro_callback: Callable[..., Any] = kedro_run.callback  # type: ignore[assignment]


PARTS = ("node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "tags", "pipeline", "pipelines")
"""Options that select a part of the pipeline; whoever uses them decides what runs."""


RUNNERS = {"": "ProjectRunner", "dask": "DaskRunner", "local": "RecordingRunner"}
"""Runners of this project by the short names that `--runner` accepts besides Kedro's own; the first is the default."""


def _run(*, force: bool = False, **options: Any) -> Any:
    runner = (options["runner"] or "").removeprefix("rsc2p_kedro.runners.")
    runner = RUNNERS.get(runner, runner)
    if runner in RUNNERS.values():
        complete = not any(options[name] for name in (*PARTS, "load_versions"))
        options["runner"] = f"rsc2p_kedro.runners.{runner}"
        options["runner_params"] = {"force": force, "complete": complete, **(options["runner_params"] or {})}
    elif force:
        raise click.UsageError(
            "--force belongs to the runners of this project: leave out --runner, or name dask or local."
        )
    if options["namespaces"]:
        # Only these recordings are read and registered, so that the start takes no longer with thousands of others.
        names = sorted({".".join(name.split(".")[:2]) for name in options["namespaces"]})
        options["params"] = {"only_recordings": names, **options["params"]}
    try:
        return _kedro_callback(**options)
    except Exception as error:
        project = click.get_current_context().obj
        message = explain(error, project, options["env"], options["params"], options["namespaces"])
        if message is None:
            raise
        raise click.ClickException(message) from error


force_option = click.Option(["--force"], is_flag=True, help="Make all selected results again, fresh or not.")
run = click.Command(
    "run",
    params=[*kedro_run.params, force_option],
    callback=_run,
    help="Run the pipeline: make what is missing or stale, and reuse what is fresh.",
)
