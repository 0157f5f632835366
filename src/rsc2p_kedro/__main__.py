"""``python -m rsc2p_kedro``: ``kedro run`` for the project as installed from the wheel that ``kedro package`` makes."""

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Runs pipelines of the installed project.

    Args:
        *args: arguments of ``kedro run``.
        **kwargs: options of the click command.

    Returns:
        The result of the run in an interactive session; otherwise the process ends.
    """
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()
