"""A file made of a made-up result, written once for all tests that only read it."""

from pathlib import Path

import pytest
from tests.nwb.made_up import MadeUp, made_up

from rsc2p_kedro.datasets.nwb_file import NWBFileDataset

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


@pytest.fixture(scope="session")
def result() -> MadeUp:
    """A made-up result of 48 x 64 pixels."""
    return made_up()


@pytest.fixture(scope="session")
def written(result: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the file of `result`, its corrected movie left out."""
    path = tmp_path_factory.mktemp("dandiset") / NAME
    NWBFileDataset(filepath=path).save(result.build())
    return path
