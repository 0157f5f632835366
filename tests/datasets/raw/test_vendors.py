"""Files of vendors that are read with optional libraries; small ones are written here with their real structure."""

import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.vendor import PlaneArray

H, W = 16, 24


def random_array(*lengths: int) -> np.ndarray:
    return np.random.default_rng(len(lengths)).integers(0, 2**16, lengths, dtype=np.uint16)


def movie_of(path: Path, layout: Layout | None = None, **options) -> np.ndarray:
    return read_frames(path, layout=layout, chunk_frames=7, **options).movie.compute()


@pytest.mark.parametrize(
    ("suffix", "library"), [(".nd2", "nd2"), (".lif", "liffile"), (".czi", "czifile"), (".oir", "oirfile")]
)
def test_missing_and_old_libraries_are_named_with_what_to_install(tmp_path, monkeypatch, suffix, library):
    path = tmp_path / f"movie{suffix}"
    path.write_bytes(b"pixels")
    monkeypatch.setitem(sys.modules, library, None)
    (problem,) = inspect_recording(path).problems
    assert problem.startswith(f"a {suffix} file is read with {library}: pip install 'rsc2p-kedro[microscopes]'")
    monkeypatch.setitem(sys.modules, library, ModuleType(library))
    (problem,) = inspect_recording(path).problems
    assert problem.startswith(f"{library} is too old to read a {suffix} file: pip install --upgrade {library}")


def test_planes_of_slices_are_read_one_by_one():
    array, read = random_array(5, 3, H, W), []
    planes = PlaneArray(lambda at: read.append(at) or array[at], array.shape, array.dtype)
    whole = slice(None)
    np.testing.assert_array_equal(planes[1:5:2, 2:3, whole, whole], array[1:5:2, 2:3])
    assert read == [(1, 2), (3, 2)]


# -- Leica -------------------------------------------------------------------------------------------


def write_lif(path: Path, **images: np.ndarray) -> Path:
    """Images (T, C, Z, Y, X), each a memory block; the header is XML in UTF-16."""
    root = ElementTree.Element("LMSDataContainerHeader", Version="2")
    top = ElementTree.SubElement(root, "Element", Name="project", Visibility="1")
    children, blocks = ElementTree.SubElement(top, "Children"), b""
    for number, (name, array) in enumerate(images.items()):
        element = ElementTree.SubElement(children, "Element", Name=name, UniqueID=str(number))
        data = array.astype("<u2").tobytes()
        ElementTree.SubElement(element, "Memory", Size=str(len(data)), MemoryBlockID=f"MemBlock_{number}")
        image = ElementTree.SubElement(ElementTree.SubElement(element, "Data"), "Image")
        description = ElementTree.SubElement(image, "ImageDescription")
        T, C, Z, Y, X = array.shape
        channels = ElementTree.SubElement(description, "Channels")
        for c, lut in enumerate(["Green", "Red"][:C]):
            values = {
                "DataType": 0,
                "ChannelTag": 0,
                "Resolution": 16,
                "NameOfMeasuredQuantity": "",
                "Min": 0,
                "Max": 1,
            }
            values |= {"Unit": "", "LUTName": lut, "IsLUTInverted": 0, "BytesInc": c * Z * Y * X * 2, "BitInc": 0}
            ElementTree.SubElement(channels, "ChannelDescription", {k: str(v) for k, v in values.items()})
        dimensions = ElementTree.SubElement(description, "Dimensions")
        sizes = [(1, X, 2, (X - 1) * 1.25e-6), (2, Y, X * 2, (Y - 1) * 1.5e-6)]
        sizes += [(3, Z, X * Y * 2, 1e-5), (4, T, X * Y * Z * C * 2, (T - 1) / 8)]
        for axis, n, step, length in sizes:
            values = {"DimID": axis, "NumberOfElements": n, "Origin": 0, "Length": length, "Unit": "m", "BitInc": 0}
            ElementTree.SubElement(
                dimensions, "DimensionDescription", {k: str(v) for k, v in values.items()}, BytesInc=str(step)
            )
        block = f"MemBlock_{number}".encode("utf-16-le")
        blocks += struct.pack("<IIBQBI", 0x70, 18 + len(block), 0x2A, len(data), 0x2A, len(block) // 2) + block + data
    header = ElementTree.tostring(root, "unicode").encode("utf-16-le")
    path.write_bytes(struct.pack("<IIBI", 0x70, 5 + len(header), 0x2A, len(header) // 2) + header + blocks)
    return path


def test_leica_movie_with_planes_and_channels(tmp_path):
    pytest.importorskip("liffile")
    movie = random_array(20, 2, 3, H, W)
    path = write_lif(tmp_path / "rec.lif", overview=random_array(1, 1, 1, H, W), movie=movie)
    recording = inspect_recording(path)
    assert (recording.problems, recording.channels, recording.order.shape) == ((), ("Green", "Red"), (20, 3, 2))
    np.testing.assert_array_equal(movie_of(tmp_path, channel="red", plane=3), movie[:, 1, 2])
    assert {name: told.value for name, told in recording.metadata.items()} == {
        "frame_rate_hz": pytest.approx(8),
        "pixel_size_um": (pytest.approx(1.5), pytest.approx(1.25)),
        "plane_depths_um": (0, 5, 10),
        "device.manufacturer": "Leica",
    }


def test_leica_file_of_several_movies(tmp_path):
    pytest.importorskip("liffile")
    movies = random_array(2, 20, 1, 1, H, W)
    path = write_lif(tmp_path / "rec.lif", first=movies[0], second=movies[1])
    with pytest.raises(RecordingError, match=r"several movies \(first, second\): add the one to read, such as `data"):
        read_frames(path)
    np.testing.assert_array_equal(movie_of(path, Layout(dataset="second")), movies[1, :, 0, 0])
    path.write_bytes(b"no file of Leica")
    with pytest.raises(RecordingError, match=r"rec.lif cannot be read"):
        read_frames(path)


# -- Nikon -------------------------------------------------------------------------------------------


def variant(tree: dict[str, Any]) -> bytes:
    """A tree of metadata in the XML of NIS-Elements."""
    kinds = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}

    def add(parent: ElementTree.Element, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                add(ElementTree.SubElement(parent, name, runtype="CLxListVariant"), value)
            else:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                ElementTree.SubElement(parent, name, runtype=kinds[type(value)], value=text)

    root = ElementTree.Element("variant", version="1.0")
    add(root, tree)
    return ElementTree.tostring(root)


def write_nd2(path: Path, movie: np.ndarray) -> Path:
    """A movie (T, Z, C, Y, X) of version 3: named chunks, and a map of them at the end."""
    T, Z, C, Y, X = movie.shape
    attributes = {"uiWidth": X, "uiWidthBytes": X * C * 2, "uiHeight": Y, "uiComp": C, "uiBpcInMemory": 16}
    attributes |= {"uiBpcSignificant": 16, "uiSequenceCount": T * Z, "eCompression": 2}
    stack = {"eType": 4, "uLoopPars": {"uiCount": Z, "dZLow": 0.0, "dZHigh": 20.0, "dZStep": 10.0}}
    times = {"uiCount": T, "dStart": 0.0, "dPeriod": 0.0, "dDuration": 0.0}
    loops = {"eType": 1, "uLoopPars": times, "ppNextLevelEx": {"i0000000000": stack}}
    probe = {"pFluorescentProbe": {"m_ExcitationSpectrum": {"uiCount": 0}, "m_EmissionSpectrum": {"uiCount": 0}}}
    planes = {f"a{c}": {"sDescription": name, "uiCompCount": 1, **probe} for c, name in enumerate(["GFP", "RFP"][:C])}
    picture = {"bCalibrated": True, "dCalibration": 0.75, "wsObjectiveName": "16x", "dTimeAbsolute": 2459486.5}
    picture |= {"sPicturePlanes": {"uiCount": C, "sPlaneNew": planes}}
    chunks = {
        "ImageAttributesLV!": variant({"SLxImageAttributes": attributes}),
        "ImageMetadataLV!": variant({"SLxExperiment": loops}),
        "ImageMetadataSeqLV|0!": variant({"SLxPictureMetadata": picture}),
        "CustomData|AcqTimesCache!": (np.arange(T * Z) * 1000 / 24).tobytes(),
    }
    for number, frame in enumerate(movie.reshape(T * Z, C, Y, X)):
        chunks[f"ImageDataSeq|{number}!"] = bytes(8) + frame.transpose(1, 2, 0).tobytes()
    signature, name = b"ND2 FILE SIGNATURE CHUNK NAME01!", b"ND2 FILEMAP SIGNATURE NAME 0001!"
    content = bytearray(struct.pack("<IIQ32s64s", 0x0ABECEDA, 32, 64, signature, b"Ver3.0"))
    listed = b""
    for key, data in chunks.items():
        listed += key.encode() + struct.pack("<QQ", len(content), len(data))
        content += struct.pack("<IIQ", 0x0ABECEDA, 4072, len(data)) + key.encode().ljust(4072, b"\0") + data
    location = len(content)
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", location)
    content += struct.pack("<IIQ", 0x0ABECEDA, 32, len(listed) + len(end)) + name + listed + end
    path.write_bytes(content)
    return path


def test_nikon_movie_with_planes_and_channels(tmp_path):
    pytest.importorskip("nd2")
    movie = random_array(20, 3, 2, H, W)
    path = write_nd2(tmp_path / "rec.nd2", movie)
    recording = inspect_recording(path)
    assert (recording.problems, recording.channels, recording.order.shape) == ((), ("GFP", "RFP"), (20, 3, 2))
    np.testing.assert_array_equal(movie_of(path, channel="RFP", plane=2), movie[:, 1, 1])
    assert {name: told.value for name, told in recording.metadata.items()} == {
        "frame_rate_hz": pytest.approx(8),
        "pixel_size_um": (0.75, 0.75),
        "plane_depths_um": (0, 10, 20),
        "device.description": "objective 16x",
        "device.manufacturer": "Nikon",
    }
    path.write_bytes(b"no file of Nikon")
    with pytest.raises(RecordingError, match=r"rec.nd2 cannot be read"):
        read_frames(path)


# -- Zeiss and Olympus: nobody but their software writes these files ---------------------------------


class Opened:
    """An open file of a library that has the given attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Scene(Opened):
    """A scene of `czifile`: positions along its axes start at any number."""

    array: np.ndarray

    def __call__(self, **at: int) -> "Scene":
        first = dict(zip(self.dims, self.start, strict=True))
        index = tuple(at[name] - first[name] for name in self.dims if name in at)
        return Scene(**{**self.__dict__, "array": self.array[index]})

    def asarray(self) -> np.ndarray:
        return self.array

    dims, start = ("T", "C", "Y", "X"), (5, 0, 100, 200)


def test_zeiss_scene_is_read_as_the_library_gives_it(tmp_path, monkeypatch):
    movie = random_array(20, 2, H, W)
    scene = Scene(
        array=movie,
        sizes=dict(zip("TCYX", movie.shape, strict=True)),
        shape=movie.shape,
        dtype=movie.dtype,
        channels={"Ch1": {}, "Ch2": {}},
        coords={"T": np.arange(20) / 8},
        mpp=(1.25, 1.5),
    )
    scenes = {0: scene}
    root = ElementTree.Element("ImageDocument")
    ElementTree.SubElement(root, "AcquisitionDateAndTime").text = "2019-05-06T08:30:00.1234567Z"
    library = SimpleNamespace(CziScenes=object, CziFile=lambda path: Opened(scenes=scenes, xml_element=root))
    monkeypatch.setitem(sys.modules, "czifile", library)
    path = tmp_path / "rec.czi"
    path.write_bytes(b"")
    recording = inspect_recording(path)
    assert (recording.problems, recording.channels) == ((), ("Ch1", "Ch2"))
    assert recording.metadata["frame_rate_hz"].value == 8
    assert recording.metadata["pixel_size_um"].value == (1.5, 1.25)
    assert recording.metadata["session.session_start_time"].value == "2019-05-06T08:30:00.123456+00:00"
    np.testing.assert_array_equal(movie_of(path, channel="Ch2"), movie[:, 1])
    scenes[1] = scene
    with pytest.raises(RecordingError, match=r"rec.czi holds 2 scenes"):
        read_frames(path)


def test_olympus_movie_is_read_as_the_library_gives_it(tmp_path, monkeypatch):
    movie = random_array(20, 2, H, W)
    file = Opened(
        sizes=dict(zip("TCYX", movie.shape, strict=True)),
        dtype=movie.dtype,
        channels=[SimpleNamespace(name="CH1"), SimpleNamespace(name="CH2")],
        coord_scales={"T": 0.125, "Y": 1.5, "X": 1.25},
        datetime="2020-12-23T14:44:50.939+13:00",
        asarray=lambda out: movie,
    )
    monkeypatch.setitem(sys.modules, "oirfile", SimpleNamespace(OirFile=lambda path: file))
    path = tmp_path / "rec.oir"
    path.write_bytes(b"")
    recording = inspect_recording(path)
    assert {name: told.value for name, told in recording.metadata.items()} == {
        "frame_rate_hz": 8,
        "pixel_size_um": (1.5, 1.25),
        "session.session_start_time": "2020-12-23T14:44:50.939+13:00",
        "device.manufacturer": "Olympus",
    }
    np.testing.assert_array_equal(movie_of(path, channel="CH2"), movie[:, 1])


def test_axes_of_other_kinds_are_never_time(tmp_path, monkeypatch):
    movie = random_array(20, 4, H, W)
    sizes = {"T": 20, "L": 4, "Y": H, "X": W}
    file = Opened(
        sizes=sizes, dtype=movie.dtype, channels=[], coord_scales={}, datetime=None, asarray=lambda out: movie
    )
    monkeypatch.setitem(sys.modules, "oirfile", SimpleNamespace(OirFile=lambda path: file))
    path = tmp_path / "spectrum.oir"
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match=r"its axes are T \(20\), L \(4\), Y \(16\), X \(24\): save such a movie"):
        read_frames(path)
    np.testing.assert_array_equal(movie_of(path, Layout(axes="TCYX"), channel=2), movie[:, 1])
