"""Movies in HDF5 and zarr, whose axes are named by the file, by the user, or not at all."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

from rsc2p_kedro.datasets import ZarrMovieDataset
from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.array_file import ArrayFile, name_axes
from rsc2p_kedro.datasets.raw.hdf5 import H5Array

H, W = 32, 48


def random_array(*lengths: int) -> np.ndarray:
    return np.random.default_rng(len(lengths)).integers(0, 2**16, lengths, dtype=np.uint16)


def write_h5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=True, compression="gzip")
    return path


def movie_of(path: Path, layout: Layout | None = None, **options) -> np.ndarray:
    return read_frames(path, layout=layout, chunk_frames=7, **options).movie.compute()


def problem_of(path: Path, layout: Layout | None = None) -> str:
    (problem,) = inspect_recording(path, layout=layout).problems
    with pytest.raises(RecordingError):
        read_frames(path, layout=layout)
    return problem


# -- names of axes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "axes"),
    [
        ((3000, 512, 512), "TYX"),
        ((100, 512, 512), "TYX"),
        ((9000, 512, 796), "TYX"),  # frames of 9000 rows are not common
        ((3000, 512, 512, 1), "TYX_"),
        ((3000, 1, 512, 512), "T_YX"),
    ],
)
def test_time_is_taken_for_certain_only_if_no_other_axis_can_be_time(lengths, axes):
    assert name_axes(lengths, Layout()) == (axes, "")


@pytest.mark.parametrize("lengths", [(512, 512, 3000), (512, 796, 1000), (128, 256, 20), (796, 512, 300), (10, 20, 8)])
def test_uncertain_time_is_asked_about(lengths):
    axes, problem = name_axes(lengths, Layout())
    assert axes is None
    assert "add `axes: TYX` in the manifest if it is the first one, or `axes: YXT` if it is the last one" in problem
    assert name_axes(lengths, Layout(axes="yxt")) == ("YXT", "")


@pytest.mark.parametrize(
    ("lengths", "layout", "axes"),
    [
        ((300, 3, 64, 64), Layout(n_planes=3), "TZYX"),
        ((300, 2, 64, 64), Layout(n_channels=2), "TCYX"),
        ((2, 300, 64, 64), Layout(n_channels=2), "CTYX"),
        ((300, 4, 64, 64), Layout(n_planes=3, flyback_frames=1), "TZYX"),
        ((300, 3, 2, 64, 64), Layout(n_planes=3, n_channels=2), "TZCYX"),
        ((300, 2, 3, 64, 64), Layout(n_planes=3, n_channels=2), "TCZYX"),
        ((300, 3, 64, 64), Layout(), None),
        ((300, 3, 64, 64), Layout(n_planes=2), None),
        ((3, 3, 64, 64), Layout(n_planes=3), None),
        ((300, 2, 2, 64, 64), Layout(n_planes=2, n_channels=2), None),
        ((300, 3, 2, 64, 64), Layout(n_planes=3), None),
    ],
)
def test_more_axes_need_names_or_numbers_that_fit_in_one_way_only(lengths, layout, axes):
    found, problem = name_axes(lengths, layout)
    assert found == axes
    assert bool(problem) == (axes is None)


@pytest.mark.parametrize("axes", ["TY", "TYXZ", "TTX", "TZC", "TYS"])
def test_axes_that_do_not_fit_are_refused(axes):
    found, problem = name_axes((40, H, W), Layout(axes=axes))
    assert found is None
    assert problem.startswith(f"`axes: {axes}` does not fit the array of 40 x 32 x 48")


@pytest.mark.parametrize("axes", ["TZCYX", "TYXCZ", "YXTZC", "CTZXY", "TZYXC"])
def test_images_of_any_order_of_axes_are_those_of_numpy(tmp_path, axes):
    lengths = [{"T": 20, "Z": 3, "C": 2, "Y": 8, "X": 11}[letter] for letter in axes]
    array = random_array(*lengths)
    expected = array.transpose([axes.index(letter) for letter in "TZCYX"])
    path = write_h5(tmp_path / "movie.h5", movie=array)
    layout = Layout(axes=axes)
    for plane, channel in [(1, 1), (3, 2)]:
        movie = movie_of(path, layout, plane=plane, channel=channel)
        np.testing.assert_array_equal(movie, expected[:, plane - 1, channel - 1])
    file = inspect_recording(path, layout=layout).files[0]
    assert isinstance(file, ArrayFile)
    numbers = [7, 3, 3, 119, 0, 1, 2, 5]
    out = np.empty((len(numbers), 8, 11), np.uint16)
    file.read(numbers, out)
    leading = array.transpose([*(i for i, c in enumerate(axes) if c not in "YX"), axes.index("Y"), axes.index("X")])
    np.testing.assert_array_equal(out, leading.reshape(-1, 8, 11)[numbers])


# -- HDF5 --------------------------------------------------------------------------------------------


def test_the_only_movie_of_a_file_is_found(tmp_path):
    movie = random_array(40, H, H)
    path = write_h5(tmp_path / "movie.h5", **{"data/movie": movie, "time": np.arange(40.0), "mean": movie[0]})
    raw = read_frames(path, frames=(5, 35))
    assert (raw.files[0], raw.pages[0]) == ("movie.h5/data/movie", 5)
    np.testing.assert_array_equal(raw.movie.compute(), movie[5:35])


def test_one_of_several_movies_is_asked_for(tmp_path):
    movie = random_array(40, H, H)
    path = write_h5(tmp_path / "movie.h5", raw=movie, corrected=movie + 1)
    assert problem_of(path).endswith("add the right one, such as `dataset: corrected`")
    np.testing.assert_array_equal(movie_of(path, Layout(dataset="raw")), movie)
    assert problem_of(path, Layout(dataset="row")).startswith("there is no dataset row, there are corrected, raw")


def test_channels_and_planes_that_alternate_in_time(tmp_path):
    movie = random_array(2 * 80, H, H)
    path = write_h5(tmp_path / "movie.h5", movie=movie)
    layout = Layout(n_channels=2, n_planes=3, flyback_frames=1)
    np.testing.assert_array_equal(movie_of(path, layout, channel=2, plane=2), movie[3::8])


def test_channels_that_alternate_in_time_are_seen_on_the_pixels(tmp_path):
    rng = np.random.default_rng(5)
    scenes = rng.integers(100, 1000, (2, 64, 64)).repeat(100, axis=0).reshape(2, 100, 64, 64).swapaxes(0, 1)
    movie = rng.poisson(scenes.reshape(200, 64, 64)).astype(np.uint16)
    path = write_h5(tmp_path / "movie.h5", movie=movie)
    assert "2 images that alternate" in problem_of(path)
    np.testing.assert_array_equal(movie_of(path, Layout(n_channels=2), channel=2), movie[1::2])
    zarr.create_array(tmp_path / "movie.zarr", data=movie)
    assert "2 images that alternate" in problem_of(tmp_path / "movie.zarr")


def test_labelled_axes_are_taken_as_they_are(tmp_path):
    volumes = random_array(20, 3, 16, 12, 2)
    path = write_h5(tmp_path / "sima.h5", imaging=volumes)
    with h5py.File(path, "r+") as file:
        file["imaging"].attrs["DIMENSION_LABELS"] = ["t", "z", "y", "x", "c"]
    np.testing.assert_array_equal(movie_of(path, plane=3, channel=1), volumes[:, 2, :, :, 0])
    problem = problem_of(path, Layout(n_planes=4))
    assert problem == "sima.h5 holds 3 planes, not 4: correct `planes` in the manifest"


def test_arrays_of_matlab_have_rows_and_columns_exchanged(tmp_path):
    movie = random_array(200, H, H)  # MATLAB's (H, W, T) is (T, W, H) in the file
    path = write_h5(tmp_path / "movie.h5", movie=movie.swapaxes(1, 2))
    with h5py.File(path, "r+") as file:
        file["movie"].attrs["MATLAB_class"] = np.bytes_("uint16")
    np.testing.assert_array_equal(movie_of(path), movie)
    assert "written by MATLAB" in inspect_recording(path).notes[0]


def test_threads_read_the_same_frames(tmp_path):
    movie = random_array(64, H, H)
    path = write_h5(tmp_path / "movie.h5", movie=movie)
    lazy = read_frames(path, chunk_frames=4).movie
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda start: lazy[start : start + 4].compute(), range(0, 64, 4)))
    np.testing.assert_array_equal(np.concatenate(parts), movie)


def test_only_the_frames_that_are_asked_for_are_read(tmp_path, monkeypatch):
    path = write_h5(tmp_path / "movie.h5", movie=random_array(64, H, H))
    lazy, read = read_frames(path).movie, []
    original = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda data, index: read.append(index) or original(data, index))
    lazy[10:20].compute()
    assert read == [(slice(10, 20, 1), slice(None), slice(None))]


def test_compression_that_cannot_be_read_is_named(tmp_path):
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((1, H, H))
    created.set_filter(511, h5py.h5z.FLAG_OPTIONAL, ())  # a number that no filter has
    path = tmp_path / "movie.h5"
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((40, H, H))
        h5py.h5d.create(file.id, b"movie", h5py.h5t.NATIVE_UINT16, space, created)
    expected = "movie.h5 is compressed in a way that needs hdf5plugin: pip install 'rsc2p-kedro[blosc]'"
    assert problem_of(path) == expected


def test_files_that_are_no_movies(tmp_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(b"no HDF5")
    assert problem_of(damaged).startswith("damaged.h5 is no HDF5 file, or damaged")
    assert problem_of(write_h5(tmp_path / "image.h5", mean=random_array(H, W))).startswith("image.h5 holds no movie")
    path = write_h5(tmp_path / "movie.h5", movie=random_array(40, H, H))
    lazy = read_frames(path).movie
    path.unlink()
    with pytest.raises(RecordingError, match=r"movie.h5 movie cannot be read \(images 0 to 39"):
        lazy.compute()
    out = np.empty((1, H, H), np.uint16)
    with pytest.raises(RecordingError, match="copy it again"):
        ArrayFile(path, "TYX", (40, H, H), np.dtype("u2"), H5Array(path, "movie")).read([0], out)


# -- zarr --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_arrays_of_both_versions(tmp_path, version):
    movie = random_array(40, H, H)
    path = tmp_path / "movie.zarr"
    zarr.create_array(path, data=movie, chunks=(8, 16, 16), zarr_format=version)
    raw = read_frames(path, chunk_frames=7)
    assert raw.files[0] == "movie.zarr"
    np.testing.assert_array_equal(raw.movie.compute(), movie)


def test_movies_of_this_project_name_their_axes(tmp_path):
    movie = random_array(20, 24, 100)
    ZarrMovieDataset(filepath=tmp_path / "movie.zarr", show_progress=False).save(movie)
    np.testing.assert_array_equal(movie_of(tmp_path / "movie.zarr"), movie)


def test_one_of_several_arrays_of_a_group_is_asked_for(tmp_path):
    movie, path = random_array(40, H, H), tmp_path / "store.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("raw", data=movie)
    group.create_array("time", data=np.arange(40.0))
    np.testing.assert_array_equal(movie_of(path), movie)
    group.create_array("corrected", data=movie + 1)
    assert problem_of(path).endswith("add the right one, such as `dataset: corrected`")
    np.testing.assert_array_equal(movie_of(path, Layout(dataset="raw")), movie)


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_names_axes_channels_and_scales(tmp_path, version):
    data, path = random_array(20, 2, 3, 16, 24), tmp_path / "rec.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("0", data=data)
    group.create_array("1", data=data[..., ::2, ::2])
    axes = [{"name": "t", "type": "time", "unit": "millisecond"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [100, 1, 10, 1.5, 1.25]}]
    levels = [{"path": "0", "coordinateTransformations": scale}, {"path": "1", "coordinateTransformations": scale}]
    ome = {
        "multiscales": [{"axes": axes, "datasets": levels}],
        "omero": {"channels": [{"label": "GCaMP6f"}, {"label": "tdTomato"}]},
    }
    group.attrs.update({"ome": {"version": "0.5", **ome}} if version == 3 else ome)
    recording = inspect_recording(path)
    assert (recording.format, recording.problems, recording.order.shape) == ("OME-Zarr", (), (20, 3, 2))
    assert {name: told.value for name, told in recording.metadata.items()} == {
        "frame_rate_hz": 10,
        "pixel_size_um": (1.5, 1.25),
        "plane_depths_um": (0, 10, 20),
    }
    np.testing.assert_array_equal(movie_of(path, channel="tdTomato", plane=3), data[:, 1, 2])
