"""Commands as messages recommend them, with the environment that they apply to."""

from pathlib import Path

from kedro.utils import find_kedro_project

PACKAGE = __name__.partition(".")[0]


def command(words: str, env: str | None, *, default: str = "local") -> str:
    """Writes a command as it should be typed.

    Args:
        words: the command after `kedro`, such as `run` or `recordings check`.
        env: environment that it applies to. None means the default one.
        default: environment that Kedro uses if none is given.

    Returns:
        The command, with `--env` unless the environment is the default one. Outside of a Kedro project, where the
        installed package runs, it begins with `python -m` instead of `kedro`.
    """
    program = "kedro" if find_kedro_project(Path.cwd()) else f"python -m {PACKAGE}"
    return f"{program} {words}" + (f" --env {env}" if env and env != default else "")
