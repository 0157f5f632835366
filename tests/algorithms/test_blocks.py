"""Blocks of a movie: coverage, order of results, threads and forks."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import dask.array as da
import numpy as np
import pytest
from threadpoolctl import threadpool_info

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


@pytest.mark.parametrize("n_frames", [1, 63, 64, 65, 1000, 5000])
def test_fixed_blocks_cover_every_frame_once_and_are_at_most_16(n_frames):
    parts = blocks.fixed_blocks(n_frames)
    np.testing.assert_array_equal(np.concatenate([np.arange(n_frames)[s] for s in parts]), np.arange(n_frames))
    assert len(parts) <= 16
    assert all((s.stop - s.start) % 64 == 0 for s in parts[:-1])


def test_linear_algebra_has_one_thread_until_the_last_user_leaves():
    def threads() -> set[int]:
        return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}

    before = threads()
    with blocks.one_blas_thread():
        with blocks.one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == before


def test_blocks_cover_every_frame_once():
    covered = np.concatenate([np.arange(10)[s] for s in blocks.frame_blocks(10, 3)])
    np.testing.assert_array_equal(covered, np.arange(10))


@pytest.mark.parametrize("threads", [None, 1, 2, 4])
def test_results_come_in_the_order_of_the_items(threads):
    assert sums(threads) == [int(MOVIE[s].sum()) for s in blocks.frame_blocks(10, 3)]


def test_an_error_in_one_block_is_raised():
    with pytest.raises(ZeroDivisionError):
        blocks.run(lambda x: 1 // x, [1, 0], compute=Compute(show_progress=False), description="Fails")


def test_calls_from_two_threads_do_not_disturb_each_other():
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: sums(), range(40)))
    assert all(result == results[0] for result in results)
    assert da.ones(4, chunks=2).sum().compute() == 4


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_blocks_run_in_a_forked_process():
    expected = sums()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=put_sums, args=(queue,))
    process.start()
    assert queue.get(timeout=30) == expected
    process.join(timeout=30)
    assert process.exitcode == 0
