"""Commands that this project adds to Kedro's, one per module; imported when they are called, so that others start fast.

Imports `manifest`, `datasets`, `engines`, `nwb` and `core`; may import every layer below `hooks`.
"""

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
