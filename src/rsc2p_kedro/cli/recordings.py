"""`kedro recordings`: commands that describe and check recordings, show and prune results, and write jobs for SLURM."""

import click

from rsc2p_kedro.cli.check import check
from rsc2p_kedro.cli.import_sessions import import_sessions
from rsc2p_kedro.cli.list_recordings import list_recordings
from rsc2p_kedro.cli.prune import prune
from rsc2p_kedro.cli.results import results
from rsc2p_kedro.cli.scan import scan
from rsc2p_kedro.cli.slurm import slurm
from rsc2p_kedro.cli.status import status


@click.group()
def recordings() -> None:
    """Find, describe and check recordings, show their state and results, remove old ones, write jobs for SLURM."""


for subcommand in (scan, import_sessions, list_recordings, check, status, results, prune, slurm):
    recordings.add_command(subcommand)
