"""Iterators over movies and masks give all of them, in NWB's axes and in pieces of the right size."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.nwb import iterators
from rsc2p_kedro.nwb.iterators import MaskIterator, MovieIterator, chunk_frames, read_frames
from rsc2p_kedro.nwb.orientation import images_to_nwb, points_to_nwb


def test_orientation_puts_column_before_row() -> None:
    image = np.zeros((3, 5))
    image[1, 4] = 1
    x, y = np.argwhere(images_to_nwb(image))[0]
    assert (x, y) == (4, 1)
    np.testing.assert_array_equal(points_to_nwb(np.array([1, 4])), [4, 1])


def test_chunks_are_whole_chunks_of_the_source_where_they_fit() -> None:
    def movie(frames: int, chunk: int) -> da.Array:
        return da.zeros((frames, 256, 256), chunks=(chunk, 128, 128), dtype=np.uint16)

    assert chunk_frames(movie(1500, 64)) == 64
    assert chunk_frames(movie(1500, 10)) == 70
    assert chunk_frames(movie(1500, 1000)) == 50
    assert chunk_frames(movie(1500, 997)) == 76
    assert chunk_frames(movie(5, 64)) == 5
    assert chunk_frames(da.zeros((3, 4000, 4000), dtype=np.uint16)) == 1


def test_pieces_of_a_movie_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterators, "CHUNK_BYTES", 1000)
    movie = np.random.default_rng(0).integers(0, 99, (50, 6, 9), np.int16)
    pieces = [piece.data for piece in MovieIterator(da.from_array(movie, chunks=(4, 3, 3)))]
    assert len(pieces) > 2
    np.testing.assert_array_equal(np.concatenate(pieces).swapaxes(1, 2), movie)


def test_pieces_of_masks_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterators, "CHUNK_BYTES", 1000)
    masks = np.random.default_rng(0).random((7, 6, 9), np.float32)
    footprints = sp.csc_array(masks.reshape(7, -1).T)
    pieces = [piece.data for piece in MaskIterator(footprints, (6, 9))]
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate(pieces).swapaxes(1, 2), masks)


def test_large_frames_are_read_in_whole_chunks_of_their_source_as_far_as_memory_allows() -> None:
    def frames(side: int) -> tuple[int, int]:
        movie = da.zeros((1500, side, side), chunks=(64, 128, 128), dtype=np.uint16)
        return chunk_frames(movie), read_frames(movie)

    assert frames(256) == (64, 256)
    assert frames(512) == (16, 64)
    assert frames(1024) == (4, 16)
    assert frames(4096) == (1, 1)
