"""The file of an example recording, written once for all tests that only read it."""

from pathlib import Path

import pytest
from tests.nwb.example import Example, example

from rsc2p_kedro.datasets.nwb_file import NWBFileDataset

NAME = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"


@pytest.fixture(scope="session")
def sample() -> Example:
    """An example recording of 48 x 64 pixels."""
    return example()


@pytest.fixture(scope="session")
def written(sample: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the file of `sample`, its corrected movie left out."""
    path = tmp_path_factory.mktemp("dandiset") / NAME
    NWBFileDataset(filepath=path).save(sample.build())
    return path
