"""Reads public recordings of each format, and compares their pixels with those that other readers give.

    python -m benchmarks.raw_formats FOLDER

The files are not part of this project. Those that are in FOLDER are read, the others are named:

- `Experiment.xml` and `Image_0001_0001.raw` of `data/mouse_kidney_raw/2p/Untitled_001` of github.com/NeLy-EPFL/utils2p,
  in a folder `thor`; compared with channel and frame of the file as NumPy reads it;
- `Experiment.xml` and the TIFFs of `TIS_Development-VS2019/GUI/Controls/OverlayManager/TestImages` of
  github.com/cajigaslab/thorimagels_dev_vs2019, in a folder `thor_tiff`; compared with each file as tifffile reads it;
- `2d_sbx.sbx`, `2d_sbx_bidi.sbx` and `3d_sbx_1.sbx` with their `.mat` of `testdata` of
  github.com/flatironinstitute/CaImAn; compared with the first pixels, shapes and frame rates in CaImAn's own tests;
- `example-volume.h5` of `sima/tests/data` of github.com/losonczylab/sima; compared with h5py;
- `testdata_2channel_xz.lif` of `tests` of github.com/nimne/readlif; compared with all pixels by liffile;
- `CD_s_1_t_3_c_2_z_5.czi` and `tiles_time_z.czi` of `c_tests/resources` of github.com/AllenCellModeling/aicspylibczi;
  compared with all pixels by czifile.

Prints a Markdown table: the shape (T, Z, C, H, W), what the file tells, and whether the pixels are equal.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw import Layout, RawRecording, inspect_recording

CAIMAN = {  # shape (T, Z), frame rate and first pixels in caiman/tests/test_sbx.py
    "2d_sbx.sbx": ((10, 1), 15.625, (712, 931, 1048, 825, 1383, 882, 601, 798, 1022, 966)),
    "2d_sbx_bidi.sbx": ((10, 1), 31.25, (2833, 1538, 1741, 1837, 2079, 2038, 1946, 1631, 2260, 2073)),
    "3d_sbx_1.sbx": ((2, 4), 3.90625, (2167, 2525, 1713, 1747, 1887, 1741, 1873, 1244, 1747, 1637)),
}


def pixels(recording: RawRecording) -> NDArray:
    """All pixels (T, Z, C, H, W) of a small recording."""
    out = np.empty((recording.order.size, *recording.shape), recording.dtype)
    ends = np.cumsum([file.n_images for file in recording.files])
    for place, number in enumerate(recording.order.ravel()):
        owner = int(np.searchsorted(ends, number, side="right"))
        first = int(ends[owner]) - recording.files[owner].n_images
        recording.files[owner].read([int(number) - first], out[place : place + 1])
    return out.reshape(*recording.order.shape, *recording.shape)


def thor(path: Path, movie: NDArray, _: RawRecording) -> bool:
    raw = np.fromfile(path / "Image_0001_0001.raw", "<u2").reshape(5, 2, 256, 256)
    return np.array_equal(movie[:, 0], raw)


def thor_tiff(path: Path, movie: NDArray, _: RawRecording) -> bool:
    names = {(t, z): f"ChanA_0001_0001_{z + 1:04d}_{t + 1:04d}.tif" for t, z in np.ndindex(30, 3)}
    images = {place: tifffile.imread(path / name, is_ome=False) for place, name in names.items()}
    return all(np.array_equal(movie[t, z, 0], image) for (t, z), image in images.items())


def scanbox(path: Path, movie: NDArray, recording: RawRecording) -> bool:
    shape, rate, first = CAIMAN[path.name]
    same = movie.shape[:2] == shape and recording.metadata["frame_rate_hz"].value == rate
    return same and np.array_equal(movie[0, 0, 0, 0, :10], first)


def hdf5(path: Path, movie: NDArray, _: RawRecording) -> bool:
    with h5py.File(path) as file:
        return np.array_equal(movie, file["imaging"][()].transpose(0, 1, 4, 2, 3))


def leica(path: Path, movie: NDArray, _: RawRecording) -> bool:
    import liffile

    return np.array_equal(movie[:, 0], liffile.imread(path))


def zeiss(path: Path, movie: NDArray, _: RawRecording) -> bool:
    import czifile

    with czifile.CziFile(path) as file:
        scene = next(iter(file.scenes.values()))
        order = [scene.dims.index(name) for name in ("T", "Z", "C", "Y", "X")]
        return np.array_equal(movie, scene.asarray().transpose(order))


FILES: dict[str, tuple[Callable[[Path, NDArray, RawRecording], bool], Layout]] = {
    "thor": (thor, Layout()),
    "thor_tiff": (thor_tiff, Layout()),
    **dict.fromkeys(CAIMAN, (scanbox, Layout())),
    "example-volume.h5": (hdf5, Layout()),
    "testdata_2channel_xz.lif": (leica, Layout(axes="TCYX")),
    "CD_s_1_t_3_c_2_z_5.czi": (zeiss, Layout()),
    "tiles_time_z.czi": (zeiss, Layout()),
}


def row(path: Path, equal: Callable[[Path, NDArray, RawRecording], bool], layout: Layout) -> list[Any]:
    """A row of the table."""
    recording = inspect_recording(path, layout=layout)
    if recording.problems:
        return [path.name, recording.format, "", "; ".join(recording.problems), ""]
    movie = pixels(recording)
    told = ", ".join(f"{name} {told.value}" for name, told in recording.metadata.items())
    return [path.name, recording.format, movie.shape, told, "yes" if equal(path, movie, recording) else "NO"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print("| file | format | (T, Z, C, H, W) | told | pixels equal |\n|---|---|---|---|---|")
    for name, (equal, layout) in FILES.items():
        if (folder / name).exists():
            print("| " + " | ".join(map(str, row(folder / name, equal, layout))) + " |")
        else:
            print(f"| {name} | not in {folder.name} | | | |")


if __name__ == "__main__":
    main()
