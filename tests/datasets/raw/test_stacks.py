from pathlib import Path

import numpy as np
import pytest
import tifffile

from rsc2p_kedro.datasets.raw import Layout, RecordingError, inspect_recording, read_frames
from rsc2p_kedro.datasets.raw.tiff_file import inspect_file

H, W = 8, 12


def numbered(*sizes: int) -> np.ndarray:
    """A stack whose images hold their number; shuffled brightness, so that nothing alternates."""
    n = int(np.prod(sizes))
    images = np.random.default_rng(3).integers(0, 900, (n, H, W), dtype=np.uint16)
    images[:, 0, 0] = np.arange(n)
    return images.reshape(*sizes, H, W)


def images_of(path: Path, layout: Layout | None = None, **selection) -> list[int]:
    """Numbers of the images that a plane and channel consist of."""
    raw = read_frames(path, layout=layout, **selection)
    return raw.movie[:, 0, 0].compute().tolist()


def problem_of(path: Path, layout: Layout | None = None) -> str:
    problems = inspect_recording(path, layout=layout).problems
    assert len(problems) == 1, problems
    return problems[0]


def write_imagej(path: Path, n: int, description: str) -> Path:
    """A stack with a header as ImageJ writes it, one directory a page."""
    with tifffile.TiffWriter(path) as writer:
        for number, image in enumerate(numbered(n)):
            text = f"ImageJ=1.53t\n{description}\n" if number == 0 else None
            writer.write(image, contiguous=False, metadata=None, description=text, photometric="minisblack")
    return path


def test_imagej_channels_slices_and_frames_alternate_in_this_order(tmp_path):
    path = write_imagej(tmp_path / "a.tif", 120, "images=120\nchannels=2\nslices=3\nframes=20\nhyperstack=true")
    recording = inspect_recording(path)
    assert (recording.format, recording.order.shape, recording.problems) == ("ImageJ TIFF", (20, 3, 2), ())
    assert images_of(path, channel=2, plane=3) == list(range(5, 120, 6))
    assert images_of(path, channel="1", plane=1) == list(range(0, 120, 6))
    with pytest.raises(RecordingError, match="there are 2 channels"):
        read_frames(path, plane=1)


def test_imagej_stack_labelled_as_slices_is_asked_about(tmp_path):
    path = write_imagej(tmp_path / "a.tif", 60, "images=60\nslices=60\nloop=false")
    assert "60 images are labelled as slices (Z)" in problem_of(path)
    assert "`planes: 1`" in problem_of(path)
    assert images_of(path, Layout(n_planes=1)) == list(range(60))
    assert images_of(path, Layout(n_planes=3), plane=2) == list(range(1, 60, 3))
    assert images_of(path, Layout(n_planes=2, flyback_frames=1), plane=2) == list(range(1, 60, 3))


def test_imagej_channels_with_slices_are_asked_about_the_slices_only(tmp_path):
    path = write_imagej(tmp_path / "a.tif", 80, "images=80\nchannels=2\nslices=40")
    assert "40 images are labelled as slices" in problem_of(path)
    assert images_of(path, Layout(n_planes=1), channel=2) == list(range(1, 80, 2))


def test_imagej_channels_alone_leave_time(tmp_path):
    path = write_imagej(tmp_path / "a.tif", 80, "images=80\nchannels=2")
    assert images_of(path, channel=1) == list(range(0, 80, 2))
    assert "`channels` is 3 in the manifest, but 2" in problem_of(path, Layout(n_channels=3))


def test_imagej_header_that_promises_more_images_than_there_are(tmp_path):
    path = write_imagej(tmp_path / "a.tif", 61, "images=90\nslices=3\nframes=30")
    recording = inspect_recording(path)
    assert recording.order.shape == (20, 3, 1)
    assert recording.problems == ()
    assert "a.tif holds 61 images, its header promises 90: those that are there are used" in recording.notes
    assert "the last volume is incomplete (1 images) and is left out" in recording.notes


def test_single_images_with_the_header_of_their_stack(tmp_path):
    for number, image in enumerate(numbered(20)):
        description = "ImageJ=1.53t\nimages=20\nframes=20\n"
        tifffile.imwrite(tmp_path / f"a_{number:03d}.tif", image, metadata=None, description=description)
    recording = inspect_recording(tmp_path)
    assert (recording.n_frames, recording.problems) == (20, ())
    assert images_of(tmp_path) == list(range(20))


def test_imagej_stack_with_one_directory_and_pixels_that_are_cut(tmp_path):
    pixels = numbered(20).tobytes()
    description = b"ImageJ=1.53t\nimages=20\nframes=20\n\0"
    tifffile.imwrite(tmp_path / "a.tif", numbered(20)[0], metadata=None, description=description)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start = tif.pages.first.dataoffsets[0]
        assert tif.pages.first.offset < start
    head = (tmp_path / "a.tif").read_bytes()[:start]
    (tmp_path / "a.tif").write_bytes(head + pixels)
    assert images_of(tmp_path / "a.tif") == list(range(20))
    for n_bytes in (len(pixels) - 1, len(pixels) // 2, int(1.5 * len(pixels) / 20)):
        (tmp_path / "a.tif").write_bytes(head + pixels[:n_bytes])
        assert "is truncated" in problem_of(tmp_path / "a.tif")


def test_imagej_tells_pixel_size_and_frame_interval(tmp_path):
    resolution, metadata = (1 / 0.8, 1 / 1.2), {"axes": "TYX", "unit": r"\u00B5m", "finterval": 0.125}
    tifffile.imwrite(tmp_path / "a.tif", numbered(20), imagej=True, resolution=resolution, metadata=metadata)
    told = inspect_recording(tmp_path / "a.tif").metadata
    assert told["pixel_size_um"].value == pytest.approx((1.2, 0.8), rel=1e-5)
    assert told["frame_rate_hz"].value == 8
    assert "a.tif, finterval" in told["frame_rate_hz"].source


@pytest.mark.parametrize(
    ("axes", "sizes", "expected"),
    [
        ("TZCYX", (5, 3, 2), lambda n: n),
        ("TCZYX", (5, 2, 3), lambda n: n.swapaxes(1, 2)),
        ("ZTCYX", (3, 5, 2), lambda n: n.swapaxes(0, 1)),
        ("CTZYX", (2, 5, 3), lambda n: np.moveaxis(n, 0, 2)),
        ("CZTYX", (2, 3, 5), lambda n: np.moveaxis(n, (2, 1, 0), (0, 1, 2))),
        ("TCYX", (15, 2), lambda n: n[:, None, :]),
        ("CTYX", (2, 15), lambda n: n.T[:, None, :]),
        ("TYX", (30,), lambda n: n[:, None, None]),
    ],
)
def test_axes_named_by_tifffile_may_have_any_order(tmp_path, axes, sizes, expected):
    data = numbered(*sizes)
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": axes}, photometric="minisblack")
    recording = inspect_recording(tmp_path / "a.tif")
    assert recording.problems == ()
    np.testing.assert_array_equal(recording.order, expected(np.arange(30).reshape(sizes)))


def test_axes_without_names_are_asked_about(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbered(20, 3), photometric="minisblack")
    assert "an array of 20 x 3 without names" in problem_of(tmp_path / "a.tif")
    assert "`planes: 3`" in problem_of(tmp_path / "a.tif")
    assert images_of(tmp_path / "a.tif", Layout(n_planes=3), plane=1) == list(range(0, 60, 3))
    assert images_of(tmp_path / "a.tif", Layout(n_channels=3, n_planes=1), channel=2) == list(range(1, 60, 3))


def test_slices_of_tifffile_are_asked_about(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbered(20), metadata={"axes": "ZYX"}, photometric="minisblack")
    assert "labelled as slices" in problem_of(tmp_path / "a.tif")


def test_files_of_one_recording_are_ordered_one_after_the_other(tmp_path):
    for part in range(3):
        data = numbered(60)[20 * part : 20 * part + 20].reshape(10, 2, H, W)
        tifffile.imwrite(tmp_path / f"a_{part}.tif", data, imagej=True, metadata={"axes": "TCYX"})
    assert images_of(tmp_path, channel=2) == list(range(1, 60, 2))


@pytest.mark.parametrize("names", [("ch1", "ch2"), ("ChanA", "ChanB"), ("channel_1", "channel_2")])
def test_files_that_are_named_for_channels(tmp_path, names):
    data = numbered(80).reshape(2, 2, 20, H, W)
    for c, name in enumerate(names):
        for part in range(2):
            tifffile.imwrite(tmp_path / f"m_{name}_{part + 1}.tif", data[c, part], photometric="minisblack")
    recording = inspect_recording(tmp_path)
    assert (recording.channels, recording.problems) == (names, ())
    assert images_of(tmp_path, channel=names[1]) == list(range(40, 80))
    assert "`channels` is 3 in the manifest, but 2" in problem_of(tmp_path, Layout(n_channels=3))
    (tmp_path / f"m_{names[1]}_1.tif").rename(tmp_path / f"m_{names[1]}_7.tif")
    assert "have the files m_*_1.tif, m_*_7.tif: copy them" in problem_of(tmp_path)


def test_files_with_different_labels_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a_0.tif", numbered(10, 2), imagej=True, metadata={"axes": "TCYX"})
    tifffile.imwrite(tmp_path / "a_1.tif", numbered(10, 2), imagej=True, metadata={"axes": "TZYX"})
    assert "the files are labelled differently" in problem_of(tmp_path)


def alternating(n: int, *images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(5).poisson(np.stack([images[i % len(images)] for i in range(n)]))
    return noise.astype(np.uint16)


def test_unlabelled_images_that_alternate_are_asked_about(tmp_path):
    structures = np.random.default_rng(4).gamma(2, 20, (3, 40, 48))
    movie = alternating(90, *structures)
    tifffile.imwrite(tmp_path / "a.tif", movie, photometric="minisblack")
    assert "3 images that alternate" in problem_of(tmp_path / "a.tif")
    assert "`planes: 3`" in problem_of(tmp_path / "a.tif")
    raw = read_frames(tmp_path / "a.tif", layout=Layout(n_planes=3), plane=2)
    np.testing.assert_array_equal(raw.movie.compute(), movie[1::3])
    assert inspect_recording(tmp_path / "a.tif", layout=Layout(n_planes=1)).problems == ()


def test_files_of_single_images_that_alternate_are_asked_about(tmp_path):
    structures = np.random.default_rng(4).gamma(2, 20, (2, 40, 48))
    for number, image in enumerate(alternating(60, *structures)):
        tifffile.imwrite(tmp_path / f"a_{number:03d}.tif", image, photometric="minisblack")
    assert "2 images that alternate" in problem_of(tmp_path)


def test_pages_that_are_coded_differently_are_read(tmp_path):
    data = numbered(20)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number, image in enumerate(data):
            options = {"compression": "zlib"} if number % 3 else {"rowsperstrip": 1 + number % 4}
            writer.write(image, contiguous=False, metadata=None, photometric="minisblack", **options)
    assert images_of(tmp_path / "a.tif") == list(range(20))


def test_chain_of_directories_that_runs_in_a_circle(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", numbered(4), photometric="minisblack", metadata=None, contiguous=False)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        first, last = tif.pages.first.offset, tif.pages[-1]
        link = last.offset + 2 + 12 * len(last.tags)
    with (tmp_path / "a.tif").open("r+b") as stream:
        stream.seek(link)
        stream.write(first.to_bytes(4, "little"))
    assert inspect_file(tmp_path / "a.tif").problems == ("is truncated: copy it again from where it was recorded",)
