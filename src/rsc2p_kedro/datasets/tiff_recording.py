"""The raw frames of a recording as a Kedro dataset."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import tifffile
from kedro.io import AbstractDataset, DatasetError
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.raw import Layout, RawFrames, as_patterns, read_frames
from rsc2p_kedro.datasets.raw.tiff import find_files

_MARKER = "written_by_rsc2p_kedro.json"


class TIFFRecordingDataset(AbstractDataset[da.Array | NDArray, RawFrames]):
    """A recording as TIFFs: a folder of files with one or many frames each, or a single file.

    Loading reads the headers, checks that the recording is complete (see
    :func:`~rsc2p_kedro.datasets.raw.read_frames`) and gives a lazy movie. Saving is for simulated recordings:
    it atomically creates a folder of single frames with a marker in it, and refuses to overwrite anything without that
    marker, so that raw data cannot be lost.

    Examples:
        ```yaml
        animal_1.day_7.raw_frames:
          type: rsc2p_kedro.datasets.TIFFRecordingDataset
          filepath: data/01_raw/Animal_1
          frames: [0, 1500]
        ```

        >>> dataset = TIFFRecordingDataset(filepath=tmp_path / "recording")
        >>> dataset.save(np.zeros((20, 64, 64), np.uint16))
        >>> dataset.load().movie.shape
        (20, 64, 64)
    """

    def __init__(
        self,
        *,
        filepath: str | Path,
        frames: Sequence[int] | None = None,
        files: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        chunk_frames: int = 64,
        show_progress: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Stores the path; nothing is read yet.

        Args:
            filepath: the folder, or the file.
            frames: index of the first frame and of the one after the last; None takes all.
            files: patterns of the files that belong to the recording, relative to the folder; None takes all.
            exclude: patterns of files that do not belong to it.
            chunk_frames: number of frames that are read together.
            show_progress: show a progress bar while saving.
            metadata: ignored by Kedro, read by plugins.

        Raises:
            DatasetError: `frames` are not two numbers in ascending order.
        """
        if frames is not None and not (len(frames) == 2 and 0 <= int(frames[0]) < int(frames[1])):
            raise DatasetError(
                f"`frames` should be the first frame and the one after the last, such as [0, 1500]; it is {frames!r}. "
                "Correct it in the manifest, or leave it out to take all."
            )
        self._filepath = Path(filepath)
        self._frames = (int(frames[0]), int(frames[1])) if frames is not None else None
        self._layout = Layout(files=as_patterns(files), exclude=as_patterns(exclude))
        self._chunk_frames = chunk_frames
        self._compute = Compute(block_frames=chunk_frames, show_progress=show_progress)  # type: ignore[call-arg]
        self.metadata = metadata

    def load(self) -> RawFrames:
        return read_frames(self._filepath, frames=self._frames, layout=self._layout, chunk_frames=self._chunk_frames)

    def save(self, data: da.Array | NDArray) -> None:
        if self._filepath.exists() and not (self._filepath / _MARKER).is_file():
            raise DatasetError(
                f"{self._filepath} exists and was not written by this project: raw data are never overwritten. "
                "Give the simulated recording another path, or move the existing data elsewhere."
            )
        with replacing(self._filepath) as folder:
            folder.mkdir()
            _write_frames(data, folder, self._compute)
            (folder / _MARKER).write_text(json.dumps({"shape": list(data.shape), "dtype": str(data.dtype)}))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "frames": self._frames}

    def _exists(self) -> bool:
        return bool(find_files(self._filepath, self._layout)[0])


def _write_frames(movie: da.Array | NDArray, folder: Path, compute: Compute) -> None:
    """Writes one TIFF for each frame, `frame_00001.tif` and so on, in runs so that only a few frames are in memory."""
    digits = max(5, len(str(len(movie))))

    def write(frames: slice) -> None:
        for number, image in enumerate(blocks.read(movie, frames), start=frames.start + 1):
            tifffile.imwrite(folder / f"frame_{number:0{digits}d}.tif", image, photometric="minisblack", metadata=None)

    runs = blocks.frame_blocks(len(movie), compute.block_frames)
    sizes = [run.stop - run.start for run in runs]
    blocks.run(write, runs, compute=compute, description=f"Writing {folder.name}", unit="frame", sizes=sizes)
