"""Configuration of the project for its commands, and the environment that they use."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.core.commands import command
from rsc2p_kedro.manifest.checks import ManifestError, parse_manifest
from rsc2p_kedro.manifest.configuration_files import ConfigurationError
from rsc2p_kedro.manifest.recordings import Recording


def environment(env: str | None) -> str:
    """Name of the environment that a command uses.

    Args:
        env: name given with the command. None uses the environment variable KEDRO_ENV, or Kedro's default.

    Returns:
        The name of the environment.
    """
    return env or os.environ.get("KEDRO_ENV") or str(settings.CONFIG_LOADER_ARGS.get("default_run_env", "local"))


def conf_folder(project: ProjectMetadata | None) -> Path:
    """The configuration folder of the project.

    Args:
        project: the project. None means the packaged project, whose configuration is in the present folder.

    Returns:
        The path of the folder.
    """
    return Path(project.project_path if project else Path.cwd()) / settings.CONF_SOURCE


def read_parameters(
    project: ProjectMetadata | None, env: str | None, runtime_params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All parameters of an environment.

    Args:
        project: the project. None means the packaged project.
        env: environment. None uses the default one.
        runtime_params: parameters given with a command.

    Returns:
        Parameters as the configuration loader returns them.

    Raises:
        ClickException: a file of the configuration cannot be read, or the defaults of the manifest cannot be meant so.
    """
    loader = settings.CONFIG_LOADER_CLASS(
        str(conf_folder(project)),
        env=environment(env),
        runtime_params=dict(runtime_params or {}),
        **settings.CONFIG_LOADER_ARGS,
    )
    try:
        return loader["parameters"]
    except (ConfigurationError, ManifestError) as error:
        raise click.ClickException(str(error)) from error


def read_recordings(project: ProjectMetadata, env: str | None) -> list[Recording]:
    """The recordings of an environment.

    Args:
        project: the project.
        env: environment. None uses the default one.

    Returns:
        The recordings in the order of the manifest.

    Raises:
        ClickException: the manifest has errors; all are listed.
    """
    try:
        return parse_manifest(read_parameters(project, env).get("recordings"))
    except ManifestError as error:
        raise click.ClickException(str(error)) from error


def no_recordings(env: str | None) -> str:
    """Message for an empty manifest.

    Args:
        env: environment. None uses the default one.

    Returns:
        The message, with the commands that add recordings.
    """
    name = environment(env)
    return (
        f"There are no recordings in environment {name}. Add yours with `{command('recordings scan DIR', name)}`, or "
        "use the simulated ones of `--env demo`."
    )


def count(number: int, what: str) -> str:
    """A number with its noun.

    Args:
        number: the number.
        what: the noun, in the singular.

    Returns:
        For example `1 problem` or `2 problems`.
    """
    return f"{number} {what}{'s' * (number != 1)}"
