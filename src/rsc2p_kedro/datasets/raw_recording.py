"""The raw data of a recording as a Kedro dataset."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import tifffile
from kedro.io import AbstractDataset, DatasetError
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.datasets.atomic import replacing
from rsc2p_kedro.datasets.raw import Layout, RawRecording, as_patterns, inspect_recording

_MARKER = "written_by_rsc2p_kedro.json"


class RawRecordingDataset(AbstractDataset[da.Array | NDArray, RawRecording]):
    """A recording in any format that can be read, with all its planes and channels.

    Loading reads the headers only; :func:`~rsc2p_kedro.datasets.raw.select_frames` gives the frames of one plane and
    channel as a lazy movie, after checking that the recording is complete. So one dataset feeds all planes, and depends
    on the simulation of a simulated recording. Saving is for those: it atomically creates a folder of TIFFs of one
    image each with a marker in it, and refuses to overwrite anything without that marker, so that raw data cannot be
    lost. Images of several planes and channels are saved in the order given: channel by channel, plane by plane.

    Examples:
        ```yaml
        animal_1.day_7.raw_frames:
          type: rsc2p_kedro.datasets.RawRecordingDataset
          filepath: data/01_raw/Animal_1
          channels: 2
          planes: 3
        ```

        >>> dataset = RawRecordingDataset(filepath=tmp_path / "recording", channels=2)
        >>> dataset.save(np.zeros((40, 64, 64), np.uint16))
        >>> dataset.load().n_frames
        20
    """

    def __init__(
        self,
        *,
        filepath: str | Path,
        channels: int | None = None,
        planes: int | None = None,
        flyback_frames: int | None = None,
        files: Sequence[str] | str | None = None,
        exclude: Sequence[str] | str | None = None,
        dataset: str | None = None,
        axes: str | None = None,
        show_progress: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Stores the path; nothing is read yet.

        Args:
            filepath: the folder, or the file.
            channels: number of channels whose images alternate; None leaves it to the files.
            planes: number of planes of a volume; None leaves it to the files.
            flyback_frames: images at the end of a volume that belong to no plane; None leaves it to the files.
            files: patterns of the files that belong to the recording, relative to its folder; None takes all.
            exclude: patterns of files that do not belong to it.
            dataset: name of the array, in files that hold several; None leaves it to the files.
            axes: a letter for each axis of an array that does not name them, such as `TYX`.
            show_progress: show a progress bar while saving.
            metadata: ignored by Kedro, read by plugins.
        """
        self._filepath = Path(filepath)
        self._layout = Layout(
            n_channels=channels,
            n_planes=planes,
            flyback_frames=flyback_frames,
            files=as_patterns(files),
            exclude=as_patterns(exclude),
            dataset=dataset,
            axes=axes,
        )
        self._compute = Compute(show_progress=show_progress)  # type: ignore[call-arg]
        self.metadata = metadata

    def load(self) -> RawRecording:
        return inspect_recording(self._filepath, layout=self._layout)

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
        return {"filepath": str(self._filepath), **asdict(self._layout)}

    def _exists(self) -> bool:
        return self._filepath.is_file() or (self._filepath.is_dir() and any(self._filepath.iterdir()))


def _chunks_of(movie: da.Array) -> list[slice]:
    """Runs of frames that are computed together, so that none is computed twice."""
    ends = np.cumsum(movie.chunks[0])
    return [slice(int(end - size), int(end)) for end, size in zip(ends, movie.chunks[0], strict=True)]


def _write_frames(movie: da.Array | NDArray, folder: Path, compute: Compute) -> None:
    """Writes one TIFF for each frame, `frame_00001.tif` and so on, in runs so that only some frames are in memory."""
    digits = max(5, len(str(len(movie))))

    def write(frames: slice) -> None:
        for number, image in enumerate(blocks.read(movie, frames), start=frames.start + 1):
            tifffile.imwrite(folder / f"frame_{number:0{digits}d}.tif", image, photometric="minisblack", metadata=None)

    runs = _chunks_of(movie) if isinstance(movie, da.Array) else blocks.frame_blocks(len(movie), compute.block_frames)
    sizes = [run.stop - run.start for run in runs]
    blocks.run(write, runs, compute=compute, description=f"Writing {folder.name}", unit="frame", sizes=sizes)
