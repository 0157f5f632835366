"""Blocks cover a movie, come in order, and survive a fork."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.core.parameters import Compute

MOVIE = np.arange(10 * 3 * 4, dtype=np.uint16).reshape(10, 3, 4)


def sums(threads: int | None = 2, block_frames: int = 3) -> list[int]:
    movie = da.from_array(MOVIE, chunks=(4, 3, 2))
    compute = Compute(threads=threads, block_frames=block_frames, show_progress=False)
    return blocks.run(
        lambda s: int(blocks.read(movie, s).sum()),
        blocks.frame_blocks(len(MOVIE), block_frames),
        compute=compute,
        description="Sums",
    )


def put_sums(queue) -> None:
    queue.put(sums())


def test_blocks_cover_every_frame_once():
    covered = np.concatenate([np.arange(10)[s] for s in blocks.frame_blocks(10, 3)])
    np.testing.assert_array_equal(covered, np.arange(10))


@pytest.mark.parametrize("threads", [None, 1, 2, 4])
def test_results_come_in_the_order_of_the_items(threads):
    assert sums(threads) == [int(MOVIE[s].sum()) for s in blocks.frame_blocks(10, 3)]


def test_an_error_in_one_block_is_raised():
    with pytest.raises(ZeroDivisionError):
        blocks.run(lambda x: 1 // x, [1, 0], compute=Compute(show_progress=False), description="Fails")


def test_two_threads_may_work_at_once_and_leave_nothing_behind():
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: sums(), range(40)))
    assert all(result == results[0] for result in results)
    assert da.ones(4, chunks=2).sum().compute() == 4


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_work_goes_on_in_a_forked_process():
    expected = sums()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=put_sums, args=(queue,))
    process.start()
    assert queue.get(timeout=30) == expected
    process.join(timeout=30)
    assert process.exitcode == 0
