"""Movies on disk as zarr arrays, opened lazily."""

import base64
import io
import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import dask.array as da
import numpy as np
import zarr
from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import VersionNotFoundError
from kedro_datasets._typing import ImagePreview
from matplotlib import image
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.core.commands import command
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.zarr_store import METADATA, StoredMovie, create_store

_PREVIEW_FRAMES = 64
"""Frames that are averaged for the preview: one chunk in time of the default layout."""

_MAX_CHUNKS_IN_RUN = 8
"""Maximum number of chunks (in time) that a thread computes and writes at once; limits memory. Not tuned."""

logger = logging.getLogger(__name__)


class ZarrMovieDataset(AbstractVersionedDataset[da.Array | NDArray, da.Array]):
    """A movie (T, H, W) as one zarr array (format 3), with lossless compression (blosc, bit shuffle) and checksums.

    Saving computes a lazy movie in runs of frames. Each thread holds one run in memory, each run is computed once, and
    the stored bytes do not depend on the number of threads. A movie appears, or replaces the old one where it has no
    versions, when it is complete. Loading gives a lazy movie of whole frames, chunked in time as it is stored, and
    refuses a movie of which a chunk is missing or, when that chunk is read, damaged.

    Examples:
        ```yaml
        "{animal}.{session}.movie":
          type: rsc2p_kedro.datasets.ZarrMovieDataset
          filepath: data/02_intermediate/{animal}/{session}/movie.zarr
          chunks: [64, 128, 128]
          versioned: true
        ```

        >>> dataset = ZarrMovieDataset(filepath=tmp_path / "movie.zarr")
        >>> dataset.save(da.zeros((100, 64, 64), dtype=np.uint16))
        >>> dataset.load().shape
        (100, 64, 64)
    """

    def __init__(
        self,
        *,
        filepath: str | Path,
        chunks: Sequence[int] | None = (64, 128, 128),
        threads: int | None = None,
        show_progress: bool = True,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Stores the path and the options for storing; nothing is read yet.

        Args:
            filepath: the folder of the zarr array.
            chunks: number of frames, rows and columns in a chunk. Fewer rows and columns make it faster to read a patch
                over all frames; whole frames are faster to write. None takes the chunks of the movie.
            threads: number of runs of frames that are computed and written in parallel; None uses all cores.
            show_progress: show a progress bar, in frames/s, while saving.
            version: of a versioned dataset, see Kedro.
            metadata: ignored by Kedro, read by plugins.
        """
        super().__init__(PurePosixPath(Path(filepath).as_posix()), version, exists_function=_is_store)
        self._chunks = tuple(int(n) for n in chunks) if chunks is not None else None
        self._compute = Compute(threads=threads, show_progress=show_progress)  # type: ignore[call-arg]
        self.metadata = metadata

    def load(self) -> da.Array:
        movie = self._open()
        # Whole frames: zarr assembles their chunks faster than dask. Reading a part of a frame reads only its chunks.
        return da.from_array(movie, chunks=(movie.chunks[0], -1, -1), name=False)

    def save(self, data: da.Array | NDArray) -> None:
        if data.ndim != 3 or 0 in data.shape:
            raise DatasetError(
                f"A movie should have shape (T, H, W), all above 0; this one has {data.shape}. Correct the node that "
                "returns it."
            )
        movie = data if isinstance(data, da.Array) else da.from_array(data, chunks=(64, -1, -1))
        chunks = tuple(np.minimum(self._chunks or movie.chunksize, movie.shape).tolist())
        if self._version and _is_store(str(self._filepath)):
            logger.warning(
                "%s holds a movie without versions, of an earlier version of this project. It is not used any more; "
                "`%s` removes it.",
                self._filepath,
                command("recordings prune"),
            )
        with replacing(Path(self._get_save_path())) as folder:
            target = create_store(folder, movie.shape, chunks, movie.dtype)
            _store(movie, target, self._compute, f"Writing {self._filepath.name}")

    def preview(self) -> ImagePreview:
        """Averages some frames from the middle of the movie.

        Returns:
            A PNG in base64, as Kedro-Viz expects it.
        """
        movie = self._open()
        start = max(0, movie.shape[0] // 2 - _PREVIEW_FRAMES // 2)
        mean = np.asarray(movie[start : start + _PREVIEW_FRAMES]).mean(axis=0, dtype=np.float64)
        low, high = np.percentile(mean, (1, 99.5))
        png = io.BytesIO()
        image.imsave(png, mean, vmin=low, vmax=max(high, low + 1e-12), cmap="gray", format="png")
        return ImagePreview(base64.b64encode(png.getvalue()).decode("ascii"))

    def _open(self) -> StoredMovie:
        """Opens the version to load, with all problems as errors that say what to do."""
        try:
            return StoredMovie(Path(self._get_load_path()))
        except (FileNotFoundError, VersionNotFoundError) as error:
            pinned = f" of version {self._version.load}" if self._version and self._version.load else ""
            unversioned = self._version and not pinned and _is_store(str(self._filepath))
            raise DatasetError(
                f"The movie in {self._filepath} has no versions: an earlier version of this project wrote it. Run the "
                f"stage that writes it again; then `{command('recordings prune')}` removes the old one."
                if unversioned
                else f"There is no movie{pinned} at {self._filepath}: run the stage that writes it first."
            ) from error

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "chunks": self._chunks, "version": self._version}

    def _exists(self) -> bool:
        return _is_store(str(self._get_load_path()))


def _is_store(folder: str) -> bool:
    return (Path(folder) / METADATA).is_file()


def _store(movie: da.Array, target: zarr.Array, compute: Compute, description: str) -> None:
    """Computes and writes runs of whole frames, one per thread. No two runs write to the same chunk of the target."""
    runs = blocks.frame_blocks(movie.shape[0], _run_length(int(movie.chunksize[0]), target.chunks[0]))
    failed = threading.Event()

    def write(run: slice) -> None:
        frames = blocks.read(movie, run)
        if not failed.is_set():  # other threads continue for a while after one has failed
            target[run] = frames

    sizes = [run.stop - run.start for run in runs]
    try:
        blocks.run(write, runs, compute=compute, description=description, unit="frame", sizes=sizes)
    except BaseException:
        failed.set()
        raise


def _run_length(source: int, target: int) -> int:
    """Number of frames in a run: whole chunks of the target and, if that is not too many frames, of the source too.

    If it is (with 100 frames per chunk of the source and 64 of the target, for example), chunks of the source that
    belong to two runs are computed twice. In return, memory does not grow with the length of the movie.

    Args:
        source: frames in a chunk of the movie that is saved.
        target: frames in a chunk of the stored movie.

    Returns:
        A multiple of `target`.
    """
    both = math.lcm(source, target)
    return both if both <= _MAX_CHUNKS_IN_RUN * target else _MAX_CHUNKS_IN_RUN // 2 * target
