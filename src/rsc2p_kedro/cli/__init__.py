"""What this project adds to Kedro's commands. They are imported when they are called, so that others start no later."""

import click
from kedro.framework.cli.utils import LazyGroup

from rsc2p_kedro.cli.run import run

__all__ = ["cli", "run"]


@click.group(
    name="rsc2p-kedro",
    cls=LazyGroup,
    lazy_subcommands={
        "recordings": "rsc2p_kedro.cli.recordings.recordings",
        "package": "rsc2p_kedro.cli.package.package",
    },
)
def cli() -> None:
    """Commands of this project."""


cli.add_command(run)
