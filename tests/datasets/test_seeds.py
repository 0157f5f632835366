"""Seeds are read as the user drew them, and problems with them are named."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from kedro.io import DatasetError

from rsc2p_kedro.datasets import SeedsDataset
from rsc2p_kedro.datasets.seeds import check_seeds, read_seeds


def load(path: Path) -> np.ndarray:
    return SeedsDataset(filepath=path).load()


def table(folder: Path, text: str) -> Path:
    path = folder / "seeds.csv"
    path.write_text(text)
    return path


def stack(folder: Path, image: np.ndarray) -> Path:
    tifffile.imwrite(folder / "seeds.tif", image, photometric="minisblack")
    return folder / "seeds.tif"


def test_centres_are_rows_of_y_and_x_whatever_the_order_of_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "x_px,note,y_px\n30,a,12\n8,b,40.5\n")
    np.testing.assert_array_equal(load(path), [[12, 30], [40.5, 8]])


def test_labels_become_one_mask_each_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    labels = np.array([[0, 7, 7], [3, 0, 7]], np.uint16)
    masks = load(stack(tmp_path, labels))
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, [[[0, 0, 0], [1, 0, 0]], [[0, 1, 1], [0, 0, 1]]])


def test_labels_that_are_all_background_are_no_mask(tmp_path: Path) -> None:
    assert load(stack(tmp_path, np.zeros((4, 5), np.uint8))).shape == (0, 4, 5)


def test_pixels_above_zero_belong_to_a_mask(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((3, 6, 9), np.float32) - 0.5
    np.testing.assert_array_equal(load(stack(tmp_path, masks)), masks > 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y,x\n1,2\n", "Line 1 names no column y_px and no column x_px, but y, x"),
        ("y_px,x_px\n3,4\n1,left\n", "line 3: x_px 'left' should be a number"),
        ("y_px,x_px\n3,4\n\n1,nan\n", "line 4: x_px 'nan' should be a number"),
        ("y_px,x_px\n3,4\n1,\n", r"line 3: x_px \(empty\) should be a number"),
        ("y_px,x_px\n-3,4\n", "line 2: y_px '-3' should be 0 or more"),
        ("", "should be a CSV table with columns y_px and x_px.* It is empty"),
    ],
)
def test_table_that_holds_no_centres_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"seeds\.csv.*{message}"):
        load(table(tmp_path, text))


def test_image_that_holds_no_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected labels \(H, W\) or masks \(n, H, W\), found float32 \(4, 5\)"):
        load(stack(tmp_path, np.zeros((4, 5), np.float32)))
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(DatasetError, match=r"text\.tif cannot be read as TIFF"):
        load(tmp_path / "text.tif")


def test_missing_file_is_named_with_what_to_give(tmp_path: Path) -> None:
    dataset = SeedsDataset(filepath=tmp_path / "none.csv")
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"none\.csv does not exist\. Name a file under `seeds:`"):
        dataset.load()


def test_centres_outside_of_the_frame_are_named_by_their_line(tmp_path: Path) -> None:
    path = table(tmp_path, "y_px,x_px\n5,8\n6,1\n")
    with pytest.raises(ValueError, match=r"of the 6 x 9 px frame, .* line 3: y_px '6' should be 5 or less"):
        read_seeds(path, (6, 9))
    np.testing.assert_array_equal(read_seeds(path, (7, 9)), [[5, 8], [6, 1]])
    with pytest.raises(ValueError, match=r"seeds\.tif: masks should have 6 x 9 px"):
        read_seeds(stack(tmp_path, np.ones((2, 9, 6), np.uint8)), (6, 9))


def test_seeds_are_never_written(tmp_path: Path) -> None:
    path = table(tmp_path, "y_px,x_px\n1,2\n")
    with pytest.raises(DatasetError, match="seeds are drawn by the user"):
        SeedsDataset(filepath=path).save(np.zeros((1, 2)))
    assert path.read_text() == "y_px,x_px\n1,2\n"


def test_seeds_that_fit_the_movie_pass_unchanged() -> None:
    for seeds in (np.array([[0.0, 0.0], [5.0, 8.0]]), np.ones((2, 6, 9), bool), np.empty((0, 2))):
        assert check_seeds(seeds, (6, 9)) is seeds


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (None, "`initialization: seeded` needs seeds, but none were given"),
        (np.ones((2, 9, 6), bool), r"drawn\.tif: masks should have 6 x 9 px like the movie, have 9 x 6 px"),
        (
            np.array([[1, 1], [5.5, 1], [np.nan, 1]]),
            "2 of 3 centres are outside the 6 x 9 px frame, the first at y_px 5.5, x_px 1",
        ),
    ],
)
def test_seeds_that_do_not_fit_the_movie_are_refused(seeds: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_seeds(seeds, (6, 9), source=Path("drawn.tif"))
