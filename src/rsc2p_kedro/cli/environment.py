"""What commands know of the project and of the environment they run in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from rsc2p_kedro.manifest.checks import ManifestError, parse_manifest
from rsc2p_kedro.manifest.commands import command
from rsc2p_kedro.manifest.recordings import Recording


def environment(env: str | None) -> str:
    """Name of the environment that a command uses.

    Args:
        env: the one that was given; None: the one of KEDRO_ENV, or Kedro's default.

    Returns:
        Its name.
    """
    return env or os.environ.get("KEDRO_ENV") or str(settings.CONFIG_LOADER_ARGS.get("default_run_env", "local"))


def conf_folder(project: ProjectMetadata | None) -> Path:
    """The project's folder of configuration.

    Args:
        project: the project; None: the packaged one, whose configuration lies in the present folder.

    Returns:
        Its path.
    """
    return Path(project.project_path if project else Path.cwd()) / settings.CONF_SOURCE


def read_parameters(
    project: ProjectMetadata | None, env: str | None, runtime_params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All parameters of an environment.

    Args:
        project: the project; None: the packaged one.
        env: environment; None: the default one.
        runtime_params: parameters given with a command.

    Returns:
        Parameters as the configuration loader gives them.
    """
    loader = settings.CONFIG_LOADER_CLASS(
        str(conf_folder(project)),
        env=environment(env),
        runtime_params=dict(runtime_params or {}),
        **settings.CONFIG_LOADER_ARGS,
    )
    return loader["parameters"]


def read_recordings(project: ProjectMetadata, env: str | None) -> list[Recording]:
    """The recordings of an environment.

    Args:
        project: the project.
        env: environment; None: the default one.

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
    """What to say where the manifest is empty.

    Args:
        env: environment; None: the default one.

    Returns:
        A message with the commands that help.
    """
    name = environment(env)
    return (
        f"There are no recordings in environment {name}. `{command('recordings scan DIR', name)}` finds yours; "
        "`--env demo` has two simulated ones."
    )


def count(number: int, what: str) -> str:
    """A number with its noun.

    Args:
        number: how many.
        what: of what, in the singular.

    Returns:
        For example `1 problem` or `2 problems`.
    """
    return f"{number} {what}{'s' * (number != 1)}"
