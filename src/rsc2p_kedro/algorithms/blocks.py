"""Work on the blocks of a lazy movie: the one place where numerical work runs in parallel.

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
    """Slices of at most `block_frames` frames that cover 0..n_frames in order."""
    return [slice(start, min(start + block_frames, n_frames)) for start in range(0, n_frames, block_frames)]


def stretches(n_frames: int, *, most: int = 16, least_frames: int = 64) -> list[slice]:
    """Slices that cover 0..n_frames in order and depend on nothing but that number.

    Sums of real numbers depend on how they are split. Summed frame by frame within these, then over them in order, they
    are the same whatever the number of threads and frames that are read at once.

    Args:
        n_frames: of the movie.
        most: slices at most; no more threads than this can work at once.
        least_frames: the length of each is a multiple of this.
    """
    units = -(-n_frames // least_frames)
    return frame_blocks(n_frames, least_frames * max(-(-units // most), 1))


def read(movie: Movie, *index: Any) -> NDArray:
    """Part of a movie as a NumPy array, read by the calling thread alone."""
    part = movie[index]
    return part.compute(scheduler="synchronous") if isinstance(part, da.Array) else np.asarray(part)


class _Users:
    """How many are within :func:`one_blas_thread`, and the limit they share."""

    lock = threading.Lock()
    count = 0
    limit: threadpool_limits | None = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Linear algebra on one thread for as long as anybody in this process is within.

    The limit is the process's, so that whoever leaves first (Kedro's ThreadRunner runs several nodes at once) must not
    lift it for the others.
    """
    with _Users.lock:
        _Users.count += 1
        _Users.limit = _Users.limit or threadpool_limits(limits=1)
    try:
        yield
    finally:
        with _Users.lock:
            _Users.count -= 1
            if _Users.count == 0 and _Users.limit is not None:
                _Users.limit.restore_original_limits()
                _Users.limit = None


class _Progress(Callback):
    """A bar that moves on by the size of each task as it ends."""

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
    """Results of a function for all items, in their order, whatever the number of threads.

    Runs on dask's threads, or on the scheduler that the user has named to dask (a `dask.distributed` client, say).
    Linear algebra is held to one thread each, for sums in one order give one result.

    Args:
        function: pure, releases the GIL where it works long, and reads what it needs (see :func:`read`).
        items: what to call it with.
        compute: what the machine may use.
        description: what is done, for the progress bar.
        unit: what `sizes` counts, `frame` or `patch`.
        sizes: how many units each item is; none: 1 each.
    """
    items = list(items)
    if len(items) == 1:  # neither threads nor a graph are worth it
        with one_blas_thread():
            return [function(items[0])]
    tasks = [dask.delayed(function, pure=False, traverse=False)(item) for item in items]
    weights = dict(zip([task.key for task in tasks], sizes or [1] * len(tasks), strict=True))
    bar = {"desc": description, "unit": unit, "leave": False}
    bar["disable"] = None if compute.show_progress else True  # none: no bar where nobody looks, as in a log file
    # A pool of its own, for dask's lasting one comes dead out of a fork (Kedro's ParallelRunner); given to this call
    # and not to dask's settings, for these are those of all threads (Kedro's ThreadRunner).
    progress = _Progress(weights, **bar)
    with ThreadPoolExecutor(compute.threads or dask.system.CPU_COUNT) as pool, one_blas_thread():
        return list(dask.compute(*tasks, pool=pool, callbacks=[progress._callback], optimize_graph=False))
