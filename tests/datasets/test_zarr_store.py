"""Each way in which a stored movie can be damaged is refused with the name of the file and what to do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from kedro.io import DatasetError

from rsc2p_kedro.datasets import ZarrMovieDataset
from rsc2p_kedro.datasets.zarr_store import StoredMovie

MOVIE = np.random.default_rng(1).integers(0, 4096, (150, 70, 90), dtype=np.uint16)
MOVIE[64:128] = 0  # black frames are data
CHUNK = "c/2/1/0"


@pytest.fixture
def stored(tmp_path: Path) -> ZarrMovieDataset:
    dataset = ZarrMovieDataset(filepath=tmp_path / "movie.zarr", show_progress=False)
    dataset.save(da.from_array(MOVIE, chunks=(64, -1, -1)))
    return dataset


@pytest.fixture
def tiles(tmp_path: Path) -> ZarrMovieDataset:
    """The movie in 3 x 2 x 2 chunks."""
    dataset = ZarrMovieDataset(filepath=tmp_path / "movie.zarr", chunks=(64, 40, 50), show_progress=False)
    dataset.save(MOVIE)
    return dataset


def _whole(dataset: ZarrMovieDataset) -> np.ndarray:
    return dataset.load().compute()


def test_black_frames_are_stored_and_every_chunk_ends_with_its_checksum(stored: ZarrMovieDataset, tmp_path: Path):
    codecs = json.loads((tmp_path / "movie.zarr" / "zarr.json").read_text())["codecs"]
    assert [codec["name"] for codec in codecs] == ["bytes", "blosc", "crc32c"]
    assert sorted(path.name for path in (tmp_path / "movie.zarr" / "c").iterdir()) == ["0", "1", "2"]
    np.testing.assert_array_equal(_whole(stored), MOVIE)


def test_missing_chunk_is_refused_on_load(tiles: ZarrMovieDataset, tmp_path: Path):
    (tmp_path / "movie.zarr" / CHUNK).unlink()
    with pytest.raises(DatasetError, match=rf"movie\.zarr/{CHUNK} is missing \(1 of 12 chunks .* delete the folder"):
        tiles.load()


def test_file_that_does_not_belong_there_makes_up_for_no_chunk(tiles: ZarrMovieDataset, tmp_path: Path):
    (tmp_path / "movie.zarr" / CHUNK).rename(tmp_path / "movie.zarr" / "c/2/1/.DS_Store")
    with pytest.raises(DatasetError, match=rf"{CHUNK} is missing"):
        tiles.load()


def test_movie_without_chunks_is_refused_on_load(tiles: ZarrMovieDataset, tmp_path: Path):
    shutil.rmtree(tmp_path / "movie.zarr" / "c")
    with pytest.raises(DatasetError, match=r"c/0/0/0, .*c/0/0/1, .*c/0/1/0 and 9 more is missing \(12 of 12 chunks"):
        tiles.load()


def test_chunk_that_goes_while_the_movie_is_in_use_is_refused(tiles: ZarrMovieDataset, tmp_path: Path):
    movie = tiles.load()
    (tmp_path / "movie.zarr" / CHUNK).unlink()
    np.testing.assert_array_equal(movie[:128].compute(), MOVIE[:128])
    np.testing.assert_array_equal(movie[130:, :30].compute(), MOVIE[130:, :30])
    with pytest.raises(DatasetError, match=rf"{CHUNK} has been removed while the movie was in use"):
        movie[128:].compute()


def _flip_a_bit(content: bytearray) -> None:
    content[len(content) // 2] ^= 4


def _cut_in_half(content: bytearray) -> None:
    del content[len(content) // 2 :]


def _cut_off_three_bytes(content: bytearray) -> None:
    del content[-3:]


def _flip_the_checksum(content: bytearray) -> None:
    content[-1] ^= 1


@pytest.mark.parametrize(
    "damage",
    [_flip_a_bit, _flip_the_checksum, _cut_in_half, _cut_off_three_bytes, bytearray.clear, bytearray.reverse],
)
@pytest.mark.parametrize("chunk", [CHUNK, "c/1/0/0"])
def test_damaged_chunk_is_refused_with_its_name_and_others_are_read(
    tiles: ZarrMovieDataset, tmp_path: Path, damage: Callable[[bytearray], None], chunk: str
):
    path = tmp_path / "movie.zarr" / chunk
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    movie = tiles.load()
    np.testing.assert_array_equal(movie[:64].compute(), MOVIE[:64])
    with pytest.raises(DatasetError, match=rf"movie\.zarr/{chunk} is damaged .* run the stage that writes it again"):
        movie.compute()


def test_every_single_bit_of_a_chunk_is_covered(tmp_path: Path):
    dataset = ZarrMovieDataset(filepath=tmp_path / "movie.zarr", show_progress=False)
    dataset.save(np.arange(60, dtype=np.uint16).reshape(3, 4, 5))
    path = tmp_path / "movie.zarr" / "c/0/0/0"
    sound = path.read_bytes()
    for place in range(len(sound)):
        content = bytearray(sound)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="c/0/0/0 is damaged"):
            dataset.load()[0].compute()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"zarr_format": 3}', "\x00" * 800])
def test_damaged_description_is_refused_with_its_name(stored: ZarrMovieDataset, tmp_path: Path, content: str):
    (tmp_path / "movie.zarr" / "zarr.json").write_text(content)
    with pytest.raises(DatasetError, match=r"movie\.zarr/zarr\.json cannot be read .* delete the folder"):
        stored.load()


def test_description_of_a_longer_movie_is_refused(stored: ZarrMovieDataset, tmp_path: Path):
    path = tmp_path / "movie.zarr" / "zarr.json"
    path.write_text(path.read_text().replace("150", "950"))
    with pytest.raises(DatasetError, match=r"is missing \(12 of 15 chunks"):
        stored.load()


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), slice(0, 40), slice(3, 49)),
        (slice(10, 140), slice(39, 41), slice(None)),
        (5,),
        (slice(60, 70), 7, -1),
        slice(0, 0),
        (slice(149, None, -1),),
    ],
)
def test_parts_touch_the_chunks_that_hold_them_and_no_others(tiles: ZarrMovieDataset, tmp_path: Path, index):
    movie = StoredMovie(tmp_path / "movie.zarr")
    keys = set(movie._keys(index))
    places = np.stack(np.meshgrid(*[np.arange(n) for n in MOVIE.shape], indexing="ij"), axis=-1)
    touched = (places[index] // np.array(movie.chunks)).reshape(-1, 3)
    assert keys == {f"c/{t}/{y}/{x}" for t, y, x in np.unique(touched, axis=0)}


def test_movie_is_what_zarr_alone_reads(tiles: ZarrMovieDataset, tmp_path: Path):
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "movie.zarr", mode="r")[:], MOVIE)
