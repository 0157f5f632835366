"""`kedro recordings`: the commands that find, list and check recordings and show their results."""

import click

from rsc2p_kedro.cli.check import check
from rsc2p_kedro.cli.list_recordings import list_recordings
from rsc2p_kedro.cli.results import results
from rsc2p_kedro.cli.scan import scan


@click.group()
def recordings() -> None:
    """Find, list and check recordings, and show their results."""


for subcommand in (scan, list_recordings, check, results):
    recordings.add_command(subcommand)
