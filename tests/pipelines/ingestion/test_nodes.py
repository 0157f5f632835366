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
from rsc2p_kedro.datasets import TIFFRecordingDataset, ZarrMovieDataset
from rsc2p_kedro.datasets.raw import RawFrames, RecordingError
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.ingestion.nodes import find_line_offset, ingest_frames, summarize_movie, tabulate_frames

QUIET = Compute(show_progress=False)
IN_LINE = LineOffset.not_estimated()


@pytest.fixture
def movie() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, (150, 40, 50), dtype=np.uint16)


def raw_frames(movie: np.ndarray) -> RawFrames:
    names = tuple(f"frame_{i}.tif" for i in range(len(movie)))
    lazy, pages = da.from_array(movie, chunks=(33, -1, -1)), np.zeros(len(movie), np.int64)
    return RawFrames(lazy, names, pages, Path("rec"), dict.fromkeys(names, 1))


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
    table = tabulate_frames(raw_frames(movie), da.from_array(movie, chunks=(33, -1, -1)), QUIET)
    FrameTable.validate(table)
    assert table.loc[7, "file"] == "frame_7.tif"
    assert table.loc[7, "maximum"] == 65535
    assert table.loc[7, "saturated_share"] == pytest.approx(5 / movie[7].size)
    assert table.loc[3, "mean"] == pytest.approx(movie[3].mean())


def test_summary_images(movie):
    images = summarize_movie(da.from_array(movie, chunks=(33, -1, -1)), none_excluded(150), QUIET)
    np.testing.assert_allclose(images.mean, movie.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(images.maximum, movie.max(axis=0))


def test_from_files_to_tables_through_the_catalog(tmp_path, movie):
    datasets = "rsc2p_kedro.datasets"
    catalog = DataCatalog.from_config(
        {
            "raw_frames": {
                "type": f"{datasets}.TIFFRecordingDataset",
                "filepath": str(tmp_path / "rec"),
                "frames": [5, 125],
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
    TIFFRecordingDataset(filepath=tmp_path / "rec", show_progress=False).save(movie)
    catalog.save("movie", ingest_frames(catalog.load("raw_frames"), IN_LINE, recording(), IngestionParameters()))
    stored = catalog.load("movie")
    np.testing.assert_array_equal(stored.compute(), movie[5:125])
    catalog.save("frame_table", tabulate_frames(catalog.load("raw_frames"), stored, QUIET))
    assert catalog.load("frame_table")["file"].iloc[0] == "frame_00006.tif"
    catalog.save("summary_images", summarize_movie(stored, none_excluded(120), QUIET))
    np.testing.assert_allclose(catalog.load("summary_images").mean, movie[5:125].mean(axis=0), rtol=1e-5)
