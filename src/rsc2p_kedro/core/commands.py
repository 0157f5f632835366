"""Commands as messages recommend them, with the environment that they apply to.

The context of Kedro tells the environment of the running session (:func:`use_environment`), so that messages of any
module name the command that applies to the configuration they are about.
"""

from pathlib import Path

from kedro.utils import find_kedro_project

PACKAGE = __name__.partition(".")[0]

_used: dict[str, str | None] = {}


def use_environment(env: str | None) -> None:
    """Sets the environment of commands that name none.

    Args:
        env: of the session that starts. None means the default one.
    """
    _used["env"] = env


def command(words: str, env: str | None = None, *, default: str = "local") -> str:
    """Writes a command as it should be typed.

    Args:
        words: the command after `kedro`, such as `run` or `recordings check`.
        env: environment that it applies to. None means that of the running session.
        default: environment that Kedro uses if none is given.

    Returns:
        The command, with `--env` unless the environment is the default one. Outside of a Kedro project, where the
        installed package runs, it begins with `python -m` instead of `kedro`.
    """
    program = "kedro" if find_kedro_project(Path.cwd()) else f"python -m {PACKAGE}"
    env = env or _used.get("env")
    return f"{program} {words}" + (f" --env {env}" if env and env != default else "")
