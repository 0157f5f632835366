"""``python -m rsc2p_kedro``: Kedro's ``run`` on the installed project, as ``kedro package`` leaves it."""

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
        What the run returns, where it is called from an interactive session.
    """
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()
