"""Parallel work on blocks of a lazy movie: the only place where numerical work runs in parallel.

A kernel is a pure function on NumPy arrays and runs on one thread; :func:`run` gives each thread the next block. Blocks
are read inside the task that needs them, so that no more of them are in memory than there are threads.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import dask
import dask.array as da
import dask.system
import numpy as np
from dask.callbacks import Callback
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from rsc2p_kedro.core.parameters import Compute

Movie = da.Array | NDArray


def frame_blocks(n_frames: int, block_frames: int) -> list[slice]:
    """Divides a movie into consecutive blocks.

    Args:
        n_frames: of the movie.
        block_frames: frames of a block, at most.

    Returns:
        Slices that cover 0..n_frames in order.
    """
    return [slice(start, min(start + block_frames, n_frames)) for start in range(0, n_frames, block_frames)]


def fixed_blocks(n_frames: int, *, most: int = 16, least_frames: int = 64) -> list[slice]:
    """Divides a movie into consecutive blocks that depend only on its length, for reproducible sums.

    Floating-point sums depend on how they are split. Summed frame by frame within these blocks, then over the blocks in
    order, they are the same for any number of threads and of frames that are read at once.

    Args:
        n_frames: of the movie.
        most: number of blocks at most; no more threads than this can work at once.
        least_frames: the length of each block is a multiple of this.

    Returns:
        Slices that cover 0..n_frames in order.
    """
    units = -(-n_frames // least_frames)
    return frame_blocks(n_frames, least_frames * max(-(-units // most), 1))


def read(movie: Movie, *index: Any) -> NDArray:
    """Reads part of a movie in the calling thread, without starting others.

    Args:
        movie: (T, H, W), lazy or not.
        *index: of the part, as in `movie[index]`.

    Returns:
        The part in the movie's dtype.
    """
    part = movie[index]
    return part.compute(scheduler="synchronous") if isinstance(part, da.Array) else np.asarray(part)


class _BlasLimit:
    """The limit of BLAS threads that all users of :func:`one_blas_thread` share, and their number."""

    lock = threading.Lock()
    n_users = 0
    limit: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits linear algebra (BLAS) to one thread as long as any thread of this process is within the context.

    The limit holds for the whole process: one context that ends must not lift it for others that still run (Kedro's
    ThreadRunner runs several nodes at once).

    Yields:
        Nothing.
    """
    with _BlasLimit.lock:
        _BlasLimit.n_users += 1
        _BlasLimit.limit = _BlasLimit.limit or threadpool_limits(limits=1)
    try:
        yield
    finally:
        with _BlasLimit.lock:
            _BlasLimit.n_users -= 1
            if _BlasLimit.n_users == 0 and _BlasLimit.limit is not None:
                _BlasLimit.limit.restore_original_limits()
                _BlasLimit.limit = None


class _Progress(Callback):
    """Progress bar that advances by the size of each task (`tqdm.dask.TqdmCallback` counts tasks, not frames)."""

    def __init__(self, sizes: dict[str, int], **bar: Any) -> None:
        super().__init__()
        self._sizes, self._bar = sizes, tqdm(total=sum(sizes.values()), **bar)

    def _posttask(self, key: str, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        self._bar.update(self._sizes.get(key, 0))

    def _finish(self, dsk: Any, state: Any, errored: bool) -> None:
        self._bar.close()


def run(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    compute: Compute,
    description: str,
    unit: str = "block",
    sizes: Sequence[int] | None = None,
) -> list[Any]:
    """Calls a function for all items in parallel.

    Runs on threads of this process, also within a task of `dask.distributed`: there the recording is the unit of work,
    and its blocks are never sent to other workers. Linear algebra is limited to one thread, because the order of its
    sums, and so the result, depends on the number of threads.

    Args:
        function: pure, releases the GIL where it works long, and reads the data it needs (see :func:`read`).
        items: its arguments.
        compute: resources of the machine.
        description: label of the progress bar.
        unit: unit of `sizes`, such as `frame` or `patch`.
        sizes: number of units of each item. None counts one unit for each.

    Returns:
        The results in the order of the items, whatever the number of threads.
    """
    items = list(items)
    if len(items) == 1:  # without the overhead of threads and a graph
        with one_blas_thread():
            return [function(items[0])]
    tasks = [dask.delayed(function, pure=False, traverse=False)(item) for item in items]
    weights = dict(zip([task.key for task in tasks], sizes or [1] * len(tasks), strict=True))
    bar = {"desc": description, "unit": unit, "leave": False}
    bar["disable"] = None if compute.show_progress else True  # with None tqdm shows a bar only on a terminal
    # A new pool, because dask's permanent one does not survive a fork (Kedro's ParallelRunner). It is an argument of
    # this call and not one of dask's settings, because all threads share those (Kedro's ThreadRunner).
    progress = _Progress(weights, **bar)
    with ThreadPoolExecutor(compute.threads or dask.system.CPU_COUNT) as pool, one_blas_thread():
        done = dask.compute(
            *tasks, scheduler="threads", pool=pool, callbacks=[progress._callback], optimize_graph=False
        )
        return list(done)
