import json
import threading
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from kedro.io import DatasetError

from rsc2p_kedro.datasets import RawRecordingDataset
from rsc2p_kedro.datasets.raw import RawFrames, read_frames, select_frames, without_nan
from rsc2p_kedro.datasets.raw.numbering import numbering_problems
from rsc2p_kedro.datasets.raw.recording import RecordingError
from rsc2p_kedro.datasets.raw.tiff_file import TIFFFile

REAL_RECORDING = Path(__file__).parents[2] / ".." / "shared" / "data" / "neurofinder_crop" / "movie.tif"


@pytest.fixture
def movie() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, (40, 24, 32), dtype=np.uint16)


def write_singles(folder: Path, movie: np.ndarray, name: str = "frame_{}.tif", first: int = 1, **options) -> Path:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(movie, start=first):
        tifffile.imwrite(folder / name.format(number), image, photometric="minisblack", **options)
    return folder


def load(path: Path, **options) -> RawFrames:
    return read_frames(path, **options)


def check_movie(path: Path, expected: np.ndarray, **options) -> RawFrames:
    raw = load(path, **options)
    assert raw.movie.dtype == expected.dtype
    np.testing.assert_array_equal(raw.movie.compute(), expected)
    return raw


def assert_refused(path: Path, *messages: str, **options) -> str:
    with pytest.raises(RecordingError) as caught:
        load(path, **options)
    for message in messages:
        assert message in str(caught.value)
    return str(caught.value)


# -- what can be read --------------------------------------------------------------------------------


def test_single_frames_come_in_the_order_of_their_numbers(tmp_path, movie):
    raw = check_movie(write_singles(tmp_path / "rec", movie), movie, chunk_frames=7)
    assert raw.files[1:11:8] == ("frame_2.tif", "frame_10.tif")
    assert raw.pages.tolist() == [0] * 40
    assert raw.movie.chunks[0] == (7,) * 5 + (5,)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "byteorder": ">"},
        {"compression": "lzw"},
        {"rowsperstrip": 5},
        {"rowsperstrip": 5, "metadata": None},
        {"tile": (16, 16)},
        {"imagej": True},
        {"imagej": True, "metadata": {"axes": "TYX", "unit": "um"}},
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "TYX"}, "compression": "zlib"},
        {"contiguous": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint16", "uint8", "float32"])
def test_every_flavour_of_stack_gives_the_same_movie(tmp_path, movie, options, dtype):
    movie = movie.astype(dtype)
    tifffile.imwrite(tmp_path / "rec.tif", movie, photometric="minisblack", **options)
    raw = check_movie(tmp_path / "rec.tif", movie, chunk_frames=9)
    assert set(raw.files) == {"rec.tif"}
    assert raw.pages.tolist() == list(range(40))
    np.testing.assert_array_equal(raw.movie[30:20:-3, 5:9, [1, 3]].compute(), movie[30:20:-3, 5:9, [1, 3]])
    np.testing.assert_array_equal(raw.movie[17].compute(), movie[17])


def test_imagej_stack_with_one_directory_for_all_frames(tmp_path, movie):
    tifffile.imwrite(tmp_path / "rec.tif", movie, imagej=True)
    with tifffile.TiffFile(tmp_path / "rec.tif") as tif:  # cut the chain after the first directory, as ImageJ does
        first = tif.pages.first
        link = first.offset + 2 + 12 * len(first.tags)
    with (tmp_path / "rec.tif").open("r+b") as stream:
        stream.seek(link)
        stream.write(b"\0\0\0\0")
    with tifffile.TiffFile(tmp_path / "rec.tif") as tif:
        assert len(tif.pages) == 1
    check_movie(tmp_path / "rec.tif", movie)


def test_folder_of_stacks_is_one_recording(tmp_path, movie):
    (tmp_path / "rec").mkdir()
    for number, part in enumerate(np.split(movie, [10, 13]), start=9):
        tifffile.imwrite(tmp_path / "rec" / f"part_{number}.tif", part, photometric="minisblack")
    raw = check_movie(tmp_path / "rec", movie, chunk_frames=6)
    assert (raw.files[12], raw.pages[12]) == ("part_10.tif", 2)
    assert list(raw.frames_per_file.items()) == [("part_9.tif", 10), ("part_10.tif", 3), ("part_11.tif", 27)]


def test_stacks_may_be_trials_and_single_frames_are_none(tmp_path, movie):
    for name, images in {"stacks/m_1.tif": movie[:30], "stacks/m_2.tif": movie[30:]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, images)
    frames = read_frames(tmp_path / "stacks", frames=(20, len(movie)))
    assert frames.first_files == ["m_1.tif"] * 10 + ["m_2.tif"] * (len(movie) - 30)
    (tmp_path / "singles").mkdir()
    for number, image in enumerate(movie):
        tifffile.imwrite(tmp_path / "singles" / f"frame_{number:03d}.tif", image)
    assert set(read_frames(tmp_path / "singles").first_files) == {"frame_000.tif"}


def test_window_of_frames(tmp_path, movie):
    raw = check_movie(write_singles(tmp_path / "rec", movie), movie[10:30], frames=[10, 30], chunk_frames=8)
    assert raw.movie.chunks[0] == (8, 8, 4)
    assert (raw.files[0], raw.files[-1]) == ("frame_11.tif", "frame_30.tif")


def test_window_that_cuts_a_stack_counts_all_frames_on_disk(tmp_path, movie):
    tifffile.imwrite(tmp_path / "rec.tif", movie, photometric="minisblack")
    raw = check_movie(tmp_path / "rec.tif", movie[10:30], frames=[10, 30])
    assert raw.frames_per_file == {"rec.tif": 40}


def test_pages_that_their_file_does_not_hold_are_refused(tmp_path, movie):
    lazy, names = da.from_array(movie[:2]), ("a.tif", "a.tif")
    with pytest.raises(ValueError, match=r"frame 1 should be page 1 of a\.tif, which holds 1 frames"):
        RawFrames(lazy, names, np.arange(2), tmp_path, {"a.tif": 1})


def test_other_and_hidden_files_are_ignored(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie, name="frame_{}.TIFF")
    (folder / "notes.txt").touch()
    (folder / "._frame_1.TIFF").write_bytes(b"what macOS leaves on network drives")
    (folder / "before").mkdir()
    assert len(check_movie(folder, movie).files) == 40


@pytest.mark.skipif(not REAL_RECORDING.exists(), reason="the real recordings are not on this machine")
def test_real_recording():
    raw = load(REAL_RECORDING)
    np.testing.assert_array_equal(raw.movie.compute(), tifffile.imread(REAL_RECORDING))


# -- only what is needed is read --------------------------------------------------------------------------------


@pytest.fixture
def pages_read(monkeypatch) -> list[str]:
    seen, lock, read = [], threading.Lock(), TIFFFile.read

    def spy(self, pages, out):
        with lock:
            seen.extend(f"{self.path.name}:{page}" for page in pages)
        read(self, pages, out)

    monkeypatch.setattr(TIFFFile, "read", spy)
    return seen


def test_only_the_frames_asked_for_are_read(tmp_path, movie, pages_read):
    raw = load(write_singles(tmp_path / "rec", movie), chunk_frames=8)
    pages_read.clear()  # the test for alternating images reads some
    np.testing.assert_array_equal(raw.movie[11:13, :5].compute(), movie[11:13, :5])
    assert pages_read == ["frame_12.tif:0", "frame_13.tif:0"]


def test_whole_movie_reads_each_frame_once(tmp_path, movie, pages_read):
    tifffile.imwrite(tmp_path / "rec.tif", movie, photometric="minisblack")
    raw = load(tmp_path / "rec.tif", chunk_frames=8)
    pages_read.clear()  # the test for alternating images reads some
    raw.movie.compute()
    assert sorted(pages_read) == sorted(f"rec.tif:{page}" for page in range(40))


# -- what is refused --------------------------------------------------------------------------------


def test_missing_path(tmp_path):
    assert_refused(tmp_path / "nowhere", "no such file or folder")
    assert not RawRecordingDataset(filepath=tmp_path / "nowhere").exists()


def test_folder_without_tiffs_names_subfolders_that_have_some(tmp_path, movie):
    (tmp_path / "animal").mkdir()
    assert_refused(tmp_path / "animal", "no TIFF")
    write_singles(tmp_path / "animal" / "day_7", movie)
    assert_refused(tmp_path / "animal", "no TIFF", "day_7")


def test_file_that_is_no_tiff(tmp_path):
    (tmp_path / "rec.avi").touch()
    assert_refused(tmp_path / "rec.avi", ".avi file")
    (tmp_path / "rec.tif").write_bytes(b"hello, this is text")
    assert_refused(tmp_path / "rec.tif", "rec.tif", "cannot be read as TIFF")
    (tmp_path / "empty.tif").touch()
    assert_refused(tmp_path / "empty.tif", "empty.tif", "cannot be read as TIFF")


def test_gap(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    for number in (5, 6, 20):
        (folder / f"frame_{number}.tif").unlink()
    assert_refused(folder, "5 to 6, 20 missing")


def test_duplicate_number(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    tifffile.imwrite(folder / "frame_007.tif", movie[0], photometric="minisblack")
    assert_refused(folder, "frame_007.tif", "frame_7.tif", "same number")


def test_stray_file(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    tifffile.imwrite(folder / "average.tif", movie[0], photometric="minisblack")
    assert_refused(folder, "frame_#.tif", "average.tif")


def test_other_shape_and_dtype_past_the_first_file(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    tifffile.imwrite(folder / "frame_30.tif", movie[0, :10], photometric="minisblack")
    tifffile.imwrite(folder / "frame_31.tif", movie[0].astype(np.uint8), photometric="minisblack")
    assert_refused(folder, "frame_30.tif has shape (10, 32), most have (24, 32)", "frame_31.tif has dtype uint8")


@pytest.mark.parametrize("odd", [np.zeros((24, 16), np.uint16), np.zeros((24, 32), np.int16)])
def test_other_page_inside_a_stack(tmp_path, movie, odd):
    with tifffile.TiffWriter(tmp_path / "rec.tif") as writer:
        for image in [*movie[:30], odd, *movie[30:]]:
            writer.write(image, photometric="minisblack", contiguous=False)
    assert_refused(tmp_path / "rec.tif", "mixes pages of several kinds", str(odd.dtype))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
@pytest.mark.parametrize(
    "options", [{}, {"imagej": True}, {"compression": "zlib"}, {"bigtiff": True, "contiguous": False}]
)
def test_truncated_stack(tmp_path, movie, share, options):
    tifffile.imwrite(tmp_path / "rec.tif", movie, photometric="minisblack", **options)
    whole = (tmp_path / "rec.tif").read_bytes()
    (tmp_path / "rec.tif").write_bytes(whole[: int(share * len(whole))])
    message = assert_refused(tmp_path / "rec.tif", "rec.tif")
    assert "is truncated" in message or "cannot be read as TIFF" in message


def test_truncated_single_frame(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    (folder / "frame_9.tif").write_bytes((folder / "frame_9.tif").read_bytes()[:-1])
    assert_refused(folder, "frame_9.tif is truncated")


def test_damaged_pixels_are_found_when_they_are_read(tmp_path, movie):
    tifffile.imwrite(tmp_path / "rec.tif", movie, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "rec.tif") as tif:
        place = tif.pages[25].dataoffsets[0]
    with (tmp_path / "rec.tif").open("r+b") as stream:
        stream.seek(place)
        stream.write(b"\xff" * 40)
    with pytest.raises(RecordingError, match=r"rec.tif cannot be read \(pages 16 to 31"):
        load(tmp_path / "rec.tif", chunk_frames=16).movie.compute()


def test_file_that_shrinks_after_loading(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    raw = load(folder)
    (folder / "frame_9.tif").write_bytes(b"")
    with pytest.raises(RecordingError, match=r"frame_9\.tif cannot be read"):
        raw.movie.compute()


def test_colour(tmp_path, movie):
    colour = np.zeros((20, 24, 32, 3), np.uint8)
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    assert_refused(tmp_path / "colour.tif", "colour.tif is in colour")


def test_pixels_that_are_no_numbers(tmp_path):
    tifffile.imwrite(tmp_path / "rec.tif", np.zeros((20, 24, 32), np.complex64), photometric="minisblack")
    assert_refused(tmp_path / "rec.tif", "pixels of kind complex64")


def test_too_few_frames(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    assert_refused(folder, "frames 10 to 41 are requested, 40 exist", frames=[10, 41])
    assert_refused(folder, "15 frames are too few", frames=[10, 25])
    assert_refused(write_singles(tmp_path / "short", movie[:3]), "3 frames are too few")


def test_all_problems_come_in_one_message(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    (folder / "frame_3.tif").unlink()
    (folder / "frame_5.tif").write_bytes(b"II*\0")
    tifffile.imwrite(folder / "frame_8.tif", movie[0, :10], photometric="minisblack")
    message = assert_refused(folder, "3 missing", "frame_5.tif cannot be read", "frame_8.tif has shape", frames=[0, 99])
    assert "99 are requested" in message
    assert str(folder) in message


def test_nan_is_found_as_frames_are_read(tmp_path, movie):
    movie = movie.astype(np.float32)
    movie[33, 2, 3] = np.nan
    movie[35, 2, 3] = np.inf
    raw = load(write_singles(tmp_path / "rec", movie), chunk_frames=8)
    lazy = without_nan(raw)
    np.testing.assert_array_equal(lazy[:32].compute(), movie[:32])
    with pytest.raises(RecordingError, match=r"frame 33 \(frame_34.tif, page 0\), frame 35"):
        lazy.compute()


# -- numbering --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["a.tif"],
        ["a_0.tif", "a_2.tif", "a_4.tif"],
        ["rec_20190506.tif", "rec_20190509.tif"],
        ["c1_1_Ch2.tif", "c1_2_Ch2.tif", "c2_1_Ch2.tif", "c2_2_Ch2.tif", "c2_3_Ch2.tif"],
        ["a_99999999999999999999998.tif", "a_99999999999999999999999.tif"],
    ],
)
def test_numbering_in_order(names):
    assert numbering_problems(names) == []


def test_gap_inside_a_cycle():
    problems = numbering_problems(["c1_1.tif", "c1_2.tif", "c1_4.tif", "c2_1.tif", "c2_2.tif"])
    assert len(problems) == 1
    assert "3 missing" in problems[0]


# -- saving --------------------------------------------------------------------------------


def test_simulated_frames_are_saved_and_saved_again(tmp_path, movie):
    dataset = RawRecordingDataset(filepath=tmp_path / "rec", show_progress=False)
    for version in (movie, movie[:20] + 1):
        dataset.save(da.from_array(version, chunks=(9, -1, -1)))
        frames = select_frames(dataset.load())
        np.testing.assert_array_equal(frames.movie.compute(), version)
    assert frames.files[0] == "frame_00001.tif"
    assert [path.name for path in tmp_path.iterdir()] == ["rec"]


def test_planes_and_channels_come_back_from_the_order_they_were_saved_in(tmp_path, movie):
    """Volumes of two planes and a flyback, in two channels; the last five images are no whole volume."""
    dataset = RawRecordingDataset(
        filepath=tmp_path / "rec", channels=2, planes=2, flyback_frames=1, show_progress=False
    )
    volumes = np.concatenate([movie, movie + 1, movie[:21]])[:101]
    dataset.save(volumes)
    raw = dataset.load()
    assert (raw.n_frames, raw.n_planes, raw.channels) == (16, 2, ("1", "2"))
    for plane in (1, 2):
        for channel in (1, 2):
            frames = select_frames(raw, plane=plane, channel=channel)
            np.testing.assert_array_equal(frames.movie.compute(), volumes[2 * plane + channel - 3 :: 6][:16])
    assert "last volume is incomplete" in raw.notes[0]
    with pytest.raises(RecordingError, match="there are 2 planes"):
        select_frames(raw, channel=1)


def test_raw_data_are_never_overwritten(tmp_path, movie):
    folder = write_singles(tmp_path / "rec", movie)
    tifffile.imwrite(tmp_path / "rec.tif", movie, photometric="minisblack")
    (tmp_path / "empty").mkdir()
    for path in (folder, tmp_path / "rec.tif", tmp_path / "empty"):
        with pytest.raises(DatasetError, match="raw data are never overwritten"):
            RawRecordingDataset(filepath=path, show_progress=False).save(movie + 1)
    check_movie(folder, movie)
    check_movie(tmp_path / "rec.tif", movie)


def test_failed_save_leaves_the_old_frames(tmp_path, movie):
    dataset = RawRecordingDataset(filepath=tmp_path / "rec", show_progress=False)
    dataset.save(movie)

    def fail(block):
        raise RuntimeError("no light")

    lazy = da.from_array(movie, chunks=(9, -1, -1)).map_blocks(
        fail, dtype=movie.dtype, meta=np.empty((0, 0, 0), movie.dtype)
    )
    with pytest.raises(DatasetError, match="no light"):
        dataset.save(lazy)
    check_movie(tmp_path / "rec", movie)
    assert [path.name for path in tmp_path.iterdir()] == ["rec"]
    assert json.loads((tmp_path / "rec" / "written_by_rsc2p_kedro.json").read_text())["shape"] == [40, 24, 32]
