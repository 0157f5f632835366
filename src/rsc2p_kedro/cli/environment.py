"""What commands know of the project and of the environment they run in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from kedro.framework.project import settings
from kedro.utils import find_kedro_project

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


def conf_folder() -> Path:
    """The project's folder of configuration.

    Returns:
        Its path.
    """
    return (find_kedro_project(Path.cwd()) or Path.cwd()) / settings.CONF_SOURCE


def read_parameters(env: str | None, runtime_params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All parameters of an environment.

    Args:
        env: environment; None: the default one.
        runtime_params: parameters given with a command.

    Returns:
        Parameters as the configuration loader gives them.
    """
    loader = settings.CONFIG_LOADER_CLASS(
        str(conf_folder()),
        env=environment(env),
        runtime_params=dict(runtime_params or {}),
        **settings.CONFIG_LOADER_ARGS,
    )
    return loader["parameters"]


def read_recordings(env: str | None) -> list[Recording]:
    """The recordings of an environment.

    Args:
        env: environment; None: the default one.

    Returns:
        The recordings in the order of the manifest.

    Raises:
        ClickException: the manifest has errors; all are listed.
    """
    try:
        return parse_manifest(read_parameters(env).get("recordings"))
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
