"""`kedro recordings`: the commands that describe and check recordings, and show and prune their results."""

import click

from rsc2p_kedro.cli.check import check
from rsc2p_kedro.cli.import_sessions import import_sessions
from rsc2p_kedro.cli.list_recordings import list_recordings
from rsc2p_kedro.cli.prune import prune
from rsc2p_kedro.cli.results import results
from rsc2p_kedro.cli.scan import scan
from rsc2p_kedro.cli.status import status


@click.group()
def recordings() -> None:
    """Find, describe, list and check recordings, show their state and results, and remove old ones."""


for subcommand in (scan, import_sessions, list_recordings, check, status, results, prune):
    recordings.add_command(subcommand)
