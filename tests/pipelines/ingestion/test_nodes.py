from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from scipy.ndimage import gaussian_filter

from rsc2p_kedro.core.parameters import Compute, IngestionParameters
from rsc2p_kedro.core.results import LineOffset
from rsc2p_kedro.core.schemas import FrameTable
from rsc2p_kedro.datasets import RawRecordingDataset, ZarrMovieDataset
from rsc2p_kedro.datasets.raw import ImageFile, RawRecording, RecordingError
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.ingestion.nodes import (
    find_line_offset,
    ingest_frames,
    ingest_structural_frames,
    summarize_movie,
    tabulate_files,
    tabulate_frames,
)

QUIET = Compute(show_progress=False)
IN_LINE = LineOffset.not_estimated()


@pytest.fixture
def movie() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, (150, 40, 50), dtype=np.uint16)


class InMemory(ImageFile):
    """A file of one image."""

    def __init__(self, number: int, image: np.ndarray) -> None:
        self.path, self.image = Path(f"frame_{number}.tif"), image
        self.shape, self.dtype, self.problems = image.shape, image.dtype, ()

    @property
    def n_images(self) -> int:
        return 1

    def read(self, images, out) -> None:
        out[:] = self.image


def raw_frames(movie: np.ndarray, n_channels: int = 1, n_planes: int = 1, times_s=None) -> RawRecording:
    files = tuple(InMemory(i, image) for i, image in enumerate(movie))
    order = np.arange(len(movie)).reshape(-1, n_planes, n_channels)
    channels = tuple(str(i + 1) for i in range(n_channels))
    return RawRecording(Path("rec"), "memory", files, order, channels, frame_times_s=times_s)


def none_excluded(n: int) -> pd.DataFrame:
    return pd.DataFrame({"frame": range(n), "excluded": False, "reason": ""})


def recording(**facts) -> Recording:
    return Recording(animal="a", session_key="s", path=Path("rec"), frame_rate_hz=10, **facts)


def test_movie_is_the_frames_in_their_dtype(movie):
    ingested = ingest_frames(raw_frames(movie), IN_LINE, recording(), IngestionParameters(chunk_frames=20, chunk_px=16))
    assert ingested.chunksize == (20, 16, 16)
    assert ingested.dtype == np.uint16
    np.testing.assert_array_equal(ingested.compute(), movie)


def test_recording_has_its_own_parameters(movie):
    ingested = ingest_frames(
        raw_frames(movie), IN_LINE, recording(parameters={"ingestion": {"chunk_frames": 10}}), IngestionParameters()
    )
    assert ingested.chunksize[0] == 10


@pytest.mark.parametrize(("wanted", "moved"), [("auto", 2), ("none", 0), (-1, -1)])
def test_line_offset_is_estimated_given_or_left_alone(wanted, moved):
    still = gaussian_filter(np.random.default_rng(0).normal(size=(40, 50)), 2)
    movie = np.repeat(1000 + 900 * still[None] / np.abs(still).max(), 20, axis=0).astype(np.uint16)
    movie[:, 1::2] = np.roll(movie[:, 1::2], 2, axis=2)
    parameters, frames = IngestionParameters(line_offset=wanted), raw_frames(movie)
    found = find_line_offset(frames, recording(), parameters, QUIET)
    assert found.offset_px == moved
    ingested = ingest_frames(frames, found, recording(), parameters).compute()
    np.testing.assert_array_equal(ingested[:, 1::2, 8:-8], np.roll(movie[:, 1::2], -moved, axis=2)[..., 8:-8])
    np.testing.assert_array_equal(ingested[:, ::2], movie[:, ::2])


def test_frames_too_small_to_register_stop_the_first_node():
    frames = raw_frames(np.zeros((20, 24, 40), np.uint16))
    with pytest.raises(RecordingError, match="frames are 24 x 40 px"):
        find_line_offset(frames, recording(), IngestionParameters(line_offset="none"), QUIET)


def test_nan_stops_the_movie_from_being_stored(tmp_path, movie):
    spoiled = movie.astype(np.float32)
    spoiled[99, 3, 4] = np.nan
    ingested = ingest_frames(raw_frames(spoiled), IN_LINE, recording(), IngestionParameters())
    dataset = ZarrMovieDataset(filepath=tmp_path / "movie.zarr", show_progress=False)
    with pytest.raises(DatasetError, match=r"frame 99 \(frame_99\.tif, page 0\)"):
        dataset.save(ingested)
    assert not dataset.exists()


def test_table_says_where_frames_came_from_and_how_bright_they_are(movie):
    movie[7, 0, :5] = 65535
    table = tabulate_frames(raw_frames(movie), da.from_array(movie, chunks=(33, -1, -1)), recording(), QUIET)
    FrameTable.validate(table)
    assert table.loc[7, "file"] == "frame_7.tif"
    assert table.loc[7, "maximum"] == 65535
    assert table.loc[7, "saturated_share"] == pytest.approx(5 / movie[7].size)
    assert table.loc[3, "mean"] == pytest.approx(movie[3].mean())


def test_each_plane_and_channel_is_a_movie_of_its_own(movie):
    times = np.stack([np.arange(25) * 0.3 + 0.1 * k for k in range(3)], axis=1)
    raw = raw_frames(movie, n_channels=2, n_planes=3, times_s=times)
    units = recording(channels={"functional": 2, "structural": "1"}, planes=3).units
    for k, unit in enumerate(units):
        np.testing.assert_array_equal(ingest_frames(raw, IN_LINE, unit, IngestionParameters()), movie[2 * k + 1 :: 6])
        np.testing.assert_array_equal(
            ingest_structural_frames(raw, IN_LINE, unit, IngestionParameters()), movie[2 * k :: 6]
        )
    table = FrameTable.validate(tabulate_frames(raw, da.from_array(movie[5::6]), units[2], QUIET))
    assert table["file"].tolist() == [f"frame_{i}.tif" for i in range(5, 150, 6)]
    np.testing.assert_array_equal(table["time_s"], times[:, 2])
    assert len(tabulate_files(raw, units[2])) == 150


def test_summary_images(movie):
    images = summarize_movie(da.from_array(movie, chunks=(33, -1, -1)), none_excluded(150), QUIET)
    np.testing.assert_allclose(images.mean, movie.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(images.maximum, movie.max(axis=0))


def test_from_files_to_tables_through_the_catalog(tmp_path, movie):
    datasets = "rsc2p_kedro.datasets"
    catalog = DataCatalog.from_config(
        {
            "raw_frames": {
                "type": f"{datasets}.RawRecordingDataset",
                "filepath": str(tmp_path / "rec"),
            },
            "movie": {"type": f"{datasets}.ZarrMovieDataset", "filepath": str(tmp_path / "movie.zarr"), "chunks": None},
            "frame_table": {
                "type": f"{datasets}.AtomicCSVDataset",
                "filepath": str(tmp_path / "frame_table.csv"),
                "versioned": True,
                "validator": "rsc2p_kedro.core.schemas.FrameTable",
            },
            "summary_images": {
                "type": f"{datasets}.RecordDataset",
                "filepath": str(tmp_path / "summary_images.npz"),
                "record": "rsc2p_kedro.core.results.SummaryImages",
                "versioned": True,
            },
        }
    )
    RawRecordingDataset(filepath=tmp_path / "rec", show_progress=False).save(movie)
    window = recording(frames=(5, 125))
    catalog.save("movie", ingest_frames(catalog.load("raw_frames"), IN_LINE, window, IngestionParameters()))
    stored = catalog.load("movie")
    np.testing.assert_array_equal(stored.compute(), movie[5:125])
    catalog.save("frame_table", tabulate_frames(catalog.load("raw_frames"), stored, window, QUIET))
    assert catalog.load("frame_table")["file"].iloc[0] == "frame_00006.tif"
    catalog.save("summary_images", summarize_movie(stored, none_excluded(120), QUIET))
    np.testing.assert_allclose(catalog.load("summary_images").mean, movie[5:125].mean(axis=0), rtol=1e-5)
