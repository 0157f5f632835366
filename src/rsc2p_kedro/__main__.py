"""``python -m rsc2p_kedro``: the project as installed from the wheel that ``kedro package`` makes.

Without a command it is ``kedro run``, as in every packaged project; ``run`` and ``recordings ...`` are the commands of
this project. The configuration is the folder ``conf`` in the present folder.
"""

import sys
from pathlib import Path
from typing import Any

from kedro import __version__ as kedro_version
from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project
from kedro.framework.startup import ProjectMetadata

PACKAGE = Path(__file__).parent.name


def main(*args: Any, **kwargs: Any) -> Any:
    """Runs a command of the installed project.

    Args:
        *args: arguments of ``kedro run``.
        **kwargs: options of the click command.

    Returns:
        The result of the run in an interactive session; otherwise the process ends.
    """
    configure_project(PACKAGE)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    words = [] if args else sys.argv[1:]
    if words[:1] == ["recordings"]:
        from rsc2p_kedro.cli import cli

        return cli(words, obj=_project(), prog_name=f"python -m {PACKAGE}", **kwargs)
    if words[:1] == ["run"]:
        args = (words[1:],)
    return find_run_command(PACKAGE)(*args, **kwargs)


def _project() -> ProjectMetadata:
    """The present folder as a project, which has a configuration and data but no source."""
    folder = Path.cwd()
    return ProjectMetadata(
        folder / "pyproject.toml", PACKAGE, PACKAGE, folder, Path(__file__).parents[1], kedro_version, [], ""
    )


if __name__ == "__main__":
    main()
