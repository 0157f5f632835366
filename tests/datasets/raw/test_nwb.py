"""Movies in NWB files: this project's own, and others laid out as neuroconv and labs lay them out."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from pynwb import NWBHDF5IO, NWBFile
from pynwb.file import Subject
from pynwb.ophys import OpticalChannel, TwoPhotonSeries
from tests.nwb.example import T, example

from rsc2p_kedro.datasets.nwb_file import NWBFileDataset
from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.nwb.acquisition import Links
from rsc2p_kedro.nwb.inspection import COLUMNS

H, W = 12, 20
OWN = "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"
START = datetime.fromisoformat("2019-05-06T10:30:00+02:00")


def random_movie(*lengths: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**16, lengths, dtype=np.uint16)


class Lab:
    """An NWB file as other software writes it."""

    def __init__(self, **fields: Any) -> None:
        self.nwb = NWBFile("A session.", "id", START, **fields)
        self.device = self.nwb.create_device("Microscope", description="Two-photon microscope")

    def add(self, name: str, movie: np.ndarray | None, *, colour="Green", plane=None, spatial=None, **fields) -> None:
        """Adds a series of a movie (T, H, W) or (T, H, W, Z), with an imaging plane of its own."""
        channel = OpticalChannel(name=colour, description="525/50", emission_lambda=525.0)
        imaging_plane = self.nwb.create_imaging_plane(
            name=plane or f"ImagingPlane{name}",
            optical_channel=channel,
            device=self.device,
            description="A plane.",
            excitation_lambda=920.0,
            indicator="GCaMP6f",
            location="unknown",
            **(spatial or {}),
        )
        if "timestamps" not in fields:
            fields = {"rate": 15.0, **fields}
        if movie is not None:
            fields |= {"data": movie.swapaxes(1, 2), "unit": "a.u."}
        self.nwb.add_acquisition(TwoPhotonSeries(name=name, imaging_plane=imaging_plane, **fields))

    def save(self, path: Path) -> Path:
        with NWBHDF5IO(path, "w") as io:
            io.write(self.nwb)
        return path


def values(path: Path) -> dict[str, Any]:
    return {name: told.value for name, told in inspect_recording(path).metadata.items()}


def movie_of(path: Path, layout: Layout | None = None, **options) -> np.ndarray:
    return read_frames(path, layout=layout, chunk_frames=7, **options).movie.compute()


# -- this project's files ----------------------------------------------------------------------------


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsc2p_kedro.datasets.nwb_file.inspect_file", lambda path: pd.DataFrame(columns=COLUMNS))


@pytest.mark.usefixtures("unchecked")
def test_exported_movie_comes_back_bit_for_bit_with_its_metadata(tmp_path):
    sample, path = example(parameters={"corrected": "embed"}), tmp_path / OWN
    NWBFileDataset(filepath=path).save(sample.build())
    raw = read_frames(path)
    expected = sample.results.movie.compute()
    assert raw.movie.dtype == expected.dtype
    np.testing.assert_array_equal(raw.movie.compute(), expected)
    assert raw.files[0] == f"{path.name}/acquisition/TwoPhotonSeries"
    told = values(path)
    assert told["pixel_size_um"] == (1.5, 1.25)
    assert told["frame_rate_hz"] == 14.7
    assert told["session.session_start_time"] == "2019-05-06T10:30:00+02:00"
    assert told["subject.species"] == "Mus musculus"
    assert told["subject.subject_id"] == "animal-1"
    assert told["session.experimenter"] == ["Sun, Weilun"]
    assert told["imaging_plane.indicator"] == "GCaMP6f"
    assert told["imaging_plane.emission_wavelength_nm"] == 510
    assert told["device.name"] == "Microscope"
    assert told["device.manufacturer"] == "Thorlabs"
    assert told["device.model_name"] == "B-scope"
    corrected = movie_of(path, Layout(dataset="corrected"))  # is in the file too, and was not taken
    np.testing.assert_array_equal(corrected, sample.results.corrected_movie.compute())


@pytest.mark.usefixtures("unchecked")
def test_links_to_tiffs_are_followed(tmp_path):
    movie = random_movie(T, 48, 64)
    files = tmp_path / "raw" / "one.tif", tmp_path / "raw" / "two.tif"
    files[0].parent.mkdir()
    for file, part in zip(files, (movie[:50], movie[50:]), strict=True):
        tifffile.imwrite(file, part)
    path = tmp_path / OWN
    sample = example(n=0, parameters={"raw": "external"}, links=Links(files, (0, 50), T))
    NWBFileDataset(filepath=path).save(sample.build())
    raw = read_frames(path)
    np.testing.assert_array_equal(raw.movie.compute(), movie)
    assert (raw.files[-1], raw.pages[-1]) == ("../raw/two.tif", T - 51)
    files[1].unlink()
    with pytest.raises(RecordingError, match=r"ophys.nwb links to \.\./raw/two.tif, which cannot be found"):
        read_frames(path)


# -- files of others ---------------------------------------------------------------------------------


def test_movie_of_another_lab(tmp_path):
    movie = random_movie(40, H, W)
    subject = Subject(subject_id="m_12", species="mouse", sex="F", age="P90D", genotype="wt")
    lab = Lab(subject=subject, experimenter=["Ada Lovelace"], institution="An institute", session_id="unknown")
    spatial = {"grid_spacing": [1.1e-6, 2.2e-6], "grid_spacing_unit": "meters"}
    spatial |= {"origin_coords": [0.001, 0.002, 0.003], "origin_coords_unit": "meters", "reference_frame": "bregma"}
    lab.add("TwoPhotonSeries", movie, spatial=spatial, starting_time=2.5)
    path = lab.save(tmp_path / "lab.nwb")
    np.testing.assert_array_equal(movie_of(path, frames=(3, 33)), movie[3:33])
    recording = inspect_recording(path)
    assert recording.notes == ("the movie starts 2.5 s after the start of the session",)
    assert values(path) == {
        "frame_rate_hz": 15,
        "pixel_size_um": (pytest.approx(2.2), pytest.approx(1.1)),
        "session.session_description": "A session.",
        "session.session_start_time": "2019-05-06T10:30:00+02:00",
        "session.institution": "An institute",
        "subject.sex": "F",  # the id has an underscore, the species is not in Latin: not for the manifest
        "subject.age": "P90D",
        "subject.genotype": "wt",
        "device.name": "Microscope",
        "device.description": "Two-photon microscope",
        "imaging_plane.description": "A plane.",
        "imaging_plane.indicator": "GCaMP6f",
        "imaging_plane.reference_frame": "bregma",
        "imaging_plane.excitation_wavelength_nm": 920,
        "imaging_plane.emission_wavelength_nm": 525,
        "imaging_plane.optical_channel": "525/50",
        "imaging_plane.origin_um": pytest.approx([1000, 2000, 3000]),
    }


def test_file_that_is_not_laid_out_as_nwb_says(tmp_path):
    movie = random_movie(40, H, W)
    lab = Lab()
    lab.add("TwoPhotonSeries", movie.swapaxes(1, 2))  # stored as (time, rows, columns)
    path = lab.save(tmp_path / "lab.nwb")
    np.testing.assert_array_equal(movie_of(path), movie.swapaxes(1, 2))
    np.testing.assert_array_equal(movie_of(path, Layout(axes="TYX")), movie)


def test_timestamps_give_the_rate_and_uneven_ones_the_times(tmp_path):
    movie = random_movie(40, H, W)
    even, uneven = 3 + np.arange(40) / 8, 3 + np.arange(40) / 8
    uneven[20:] += 1
    for name, times in {"even": even, "uneven": uneven}.items():
        lab = Lab()
        lab.add("TwoPhotonSeries", movie, timestamps=times)
        lab.save(tmp_path / f"{name}.nwb")
        assert values(tmp_path / f"{name}.nwb")["frame_rate_hz"] == pytest.approx(8)
    assert inspect_recording(tmp_path / "even.nwb").frame_times_s is None
    times = inspect_recording(tmp_path / "uneven.nwb").frame_times_s
    assert times is not None
    np.testing.assert_allclose(times[:, 0], uneven - 3)


def test_volumes_have_planes(tmp_path):
    volumes = random_movie(20, H, W, 3)
    lab = Lab()
    lab.add("TwoPhotonSeries", volumes)
    path = lab.save(tmp_path / "lab.nwb")
    assert inspect_recording(path).order.shape == (20, 3, 1)
    np.testing.assert_array_equal(movie_of(path, plane=2), volumes[..., 1])


def test_series_of_planes_and_channels_are_told_apart_by_their_imaging_planes(tmp_path):
    movies = random_movie(2, 3, 20, H, W)
    lab = Lab()
    for z, depth in enumerate([150e-6, 100e-6, 200e-6]):
        for c, colour in enumerate(["Green", "Red"]):
            spatial = {"origin_coords": [0.0, 0.0, depth], "reference_frame": "the surface of the brain"}
            lab.add(f"TwoPhotonSeries{colour}{z}", movies[c, z], colour=colour, spatial=spatial)
    path = lab.save(tmp_path / "lab.nwb")
    recording = inspect_recording(path)
    assert (recording.problems, recording.channels, recording.order.shape) == ((), ("Green", "Red"), (20, 3, 2))
    for plane, z in enumerate([1, 0, 2], start=1):
        np.testing.assert_array_equal(movie_of(path, plane=plane, channel="red"), movies[1, z])


@pytest.mark.parametrize(
    ("names", "shape"),
    [(["TwoPhotonSeriesPlane1", "TwoPhotonSeriesPlane2"], (20, 2, 1)), (["Green", "Red"], (20, 1, 2))],
)
def test_series_are_told_apart_by_their_names_or_optical_channels(tmp_path, names, shape):
    movies = random_movie(2, 20, H, W)
    lab = Lab()
    for name, movie in zip(names, movies, strict=True):
        lab.add(name, movie, colour=name if "Plane" not in name else "Green")
    path = lab.save(tmp_path / "lab.nwb")
    recording = inspect_recording(path)
    assert (recording.problems, recording.order.shape) == ((), shape)
    second = {"plane": 2} if shape[1] == 2 else {"channel": "Red"}
    np.testing.assert_array_equal(movie_of(path, **second), movies[1])


def test_channels_of_one_imaging_plane_are_told_apart_by_the_names_of_the_series(tmp_path):
    movies = random_movie(2, 2, 20, H, W)
    lab = Lab()
    for z in (1, 2):
        optical = [
            OpticalChannel(name=f"OpticalChannel{name}", description="a", emission_lambda=525.0)
            for name in ("Green", "Red")
        ]
        plane = lab.nwb.create_imaging_plane(
            name=f"ImagingPlanePlane{z}",
            optical_channel=optical,
            device=lab.device,
            description="A plane.",
            excitation_lambda=920.0,
            indicator="GCaMP6f",
            location="RSPd",
        )
        for c, name in enumerate(("Green", "Red")):
            data = movies[c, z - 1].swapaxes(1, 2)
            series = TwoPhotonSeries(
                name=f"TwoPhotonSeries{name}Plane{z}", imaging_plane=plane, data=data, unit="a.u.", rate=15.0
            )
            lab.nwb.add_acquisition(series)
    path = lab.save(tmp_path / "lab.nwb")
    assert inspect_recording(path).channels == ("Green", "Red")
    np.testing.assert_array_equal(movie_of(path, channel="Red", plane=2), movies[1, 1])


def test_series_that_nothing_tells_apart_are_asked_about(tmp_path):
    movies = random_movie(2, 20, H, W)
    lab = Lab()
    for name, movie in zip("ab", movies, strict=True):
        lab.add(name, movie)
    path = lab.save(tmp_path / "lab.nwb")
    with pytest.raises(RecordingError, match=r"add `channels: 2` or `planes: 2` in the manifest, or the one to read"):
        read_frames(path)
    np.testing.assert_array_equal(movie_of(path, Layout(n_channels=2), channel="2"), movies[1])
    np.testing.assert_array_equal(movie_of(path, Layout(n_planes=2), plane=2), movies[1])
    np.testing.assert_array_equal(movie_of(path, Layout(dataset="b")), movies[1])
    with pytest.raises(RecordingError, match=r"there is no series c, there are acquisition/a, acquisition/b"):
        read_frames(path, layout=Layout(dataset="c"))


def test_series_of_different_times_are_several_recordings(tmp_path):
    lab = Lab()
    lab.add("first", random_movie(20, H, W), colour="Green")
    lab.add("second", random_movie(20, H, W), colour="Red", starting_time=600.0)
    path = lab.save(tmp_path / "lab.nwb")
    with pytest.raises(RecordingError, match=r"not recorded together \(first, second\): add the one to read"):
        read_frames(path)


def test_files_without_a_movie(tmp_path):
    path = Lab().save(tmp_path / "lab.nwb")
    with pytest.raises(
        RecordingError, match="the file holds no TwoPhotonSeries, and no other movie: give another file as `path`"
    ):
        read_frames(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(RecordingError, match=r"lab.nwb is no NWB file in HDF5, or damaged"):
        read_frames(path)
    lab = Lab()
    video = {"external_file": ["movie.avi"], "format": "external", "starting_frame": [0], "num_samples": 40}
    lab.add("TwoPhotonSeries", None, unit="n.a.", **video)
    path = lab.save(tmp_path / "video.nwb")
    (tmp_path / "movie.avi").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"video.nwb links to movie.avi: only links to TIFFs can be followed"):
        read_frames(path)
