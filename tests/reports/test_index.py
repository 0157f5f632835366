"""The page over all recordings: its content, its size, and its behaviour in a browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from tests.chromium import chromium_page, needs_chromium

from rsc2p_kedro.core.schemas import RecordingsTable
from rsc2p_kedro.reports.assessment import Assessment, Level
from rsc2p_kedro.reports.index import render_index

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVIL = "<script>alert('x')</script>"
WEBP = b"RIFF" + bytes(7000)


def _recordings(*rows: tuple[str, int, float]) -> pd.DataFrame:
    """A table of recordings, given as name, accepted components and median SNR."""
    table = pd.DataFrame(rows, columns=["recording", "components_accepted", "median_snr_accepted"])
    same = {
        "n_frames": 1000, "height_px": 512, "width_px": 256, "pixel_height_um": 1.0, "pixel_width_um": 1.0,
        "frame_rate_hz": 14.7, "template_correlation_before": 0.5, "template_correlation_after": 0.75,
        "unregistered_frames": 2, "components_fit": 99, "components_refit": 90, "inspection_messages": 0,
    }  # fmt: skip
    whole = table.assign(**same)
    return RecordingsTable.validate(whole[[name for name in RecordingsTable.to_schema().columns if name in whole]])


ROWS = (
    ("mouse_2.day_1", 30, 4.0),
    ("mouse_2.day_2", 0, np.nan),
    ("mouse_10.day_1", 50, 2.0),
    ("mouse_10.day_2", 5, 9.0),
)
ASSESSMENTS = {
    "mouse_2.day_1": [Assessment("Components", Level.OK, "30 of 90 components were accepted.")],
    "mouse_2.day_2": [
        Assessment("Components", Level.PROBLEM, "No components were detected."),
        Assessment("Illumination", Level.REVIEW, EVIL),
    ],
    "mouse_10.day_1": [Assessment("Illumination", Level.REVIEW, "2 blank frames.")],
}
LINKS = {name: {"report": f"{name}/report.html", "curation": f"{name}/curation.html"} for name, *_ in ROWS}


def _page() -> str:
    return render_index(_recordings(*ROWS), ASSESSMENTS, LINKS, {"mouse_2.day_1": WEBP})


def _rows(page: str) -> dict[str, str]:
    """Rows of recordings and animals by name."""
    return dict(re.findall(r'<tr class="\w+" data-name="([^"]+)"(.*?)</tr>', page, re.DOTALL))


def test_a_recording_has_one_row_with_its_numbers_links_and_thumbnail() -> None:
    row = _rows(_page())["mouse_2.day_1"]
    assert re.findall(r'data-value="([^"]*)"', row) == ["1000", "0.5", "0.75", "2", "90", "30", "4", "0"]
    assert re.findall(r'href="([^"]+)"', row) == ["mouse_2.day_1/report.html", "mouse_2.day_1/curation.html"]
    assert 'src="data:image/webp;base64,' in row
    assert "512 × 256 px" in row
    assert "<img" not in _rows(_page())["mouse_2.day_2"]


def test_only_checks_that_need_attention_are_named() -> None:
    rows = _rows(_page())
    assert re.findall(r'<p class="(\w+)" title="[^"]*">([^<]+)</p>', rows["mouse_2.day_2"]) == [
        ("problem", "Components"), ("review", "Illumination"),
    ]  # fmt: skip
    assert "Components</p>" not in rows["mouse_2.day_1"]


def test_planes_have_rows_of_their_own_and_count_as_one_recording() -> None:
    planes = [(f"mouse_2.day_1.plane_{k}", 10 * k, 4.0) for k in (1, 2, 3)]
    page = render_index(_recordings(*planes, ("mouse_2.day_2", 5, 3.0)), {}, {}, {})
    assert list(_rows(page)) == ["mouse_2", *(name for name, *_ in planes), "mouse_2.day_2"]
    assert "2 recordings (4 planes) of 1 animal, 65 accepted components" in page
    assert "2 recordings, 4 planes" in _rows(page)["mouse_2"]


def test_an_animal_shows_sums_and_medians_of_its_recordings() -> None:
    values = re.findall(r'data-value="([^"]*)"', _rows(_page())["mouse_10"])
    assert values == ["2000", "0.5", "0.75", "4", "180", "55", "5.5", "0"]
    assert "4.0" in _rows(_page())["mouse_2"], "the median SNR of the only recording with components"


def test_the_page_is_self_contained_and_escapes_its_values() -> None:
    page = _page()
    assert page.count("<script>") == 1
    assert EVIL not in page
    assert re.search(r"script-src 'sha256-[^' ]+'\"", page)
    assert not re.search(r'src="(?!data:)', page)


def test_a_recording_takes_about_ten_kilobytes() -> None:
    names = [f"mouse_{i // 10}.day_{i % 10}" for i in range(500)]
    recordings = _recordings(*((name, 100, 4.0) for name in names))
    links = {name: {"report": f"{name}/report.html", "curation": f"{name}/curation.html"} for name in names}
    assessments = dict.fromkeys(names, tuple(ASSESSMENTS["mouse_2.day_2"]))
    page = render_index(recordings, assessments, links, dict.fromkeys(names, WEBP))
    assert len(_rows(page)) == 550
    assert len(page.encode()) < 5.5e6


def test_a_page_without_recordings_says_how_to_add_one() -> None:
    assert "parameters_recordings.yml" in render_index(_recordings(), {}, {}, {})


@pytest.fixture
def page(tmp_path: Path) -> Iterator["Page"]:
    """The page over four recordings, opened in a browser."""
    file = tmp_path / "index.html"
    file.write_text(render_index(_recordings(*ROWS), ASSESSMENTS, LINKS, {}), encoding="utf-8")
    with chromium_page() as page:
        page.goto(file.as_uri())
        yield page


def _visible(page: "Page") -> list[str]:
    """Names of the visible rows, from top to bottom."""
    return page.evaluate(
        "[...document.querySelectorAll('tbody tr')].filter((row) => row.offsetParent !== null)"
        ".map((row) => row.dataset.name)"
    )


@needs_chromium
def test_headings_sort_animals_and_their_recordings(page: "Page") -> None:
    assert _visible(page) == [
        "mouse_2", "mouse_2.day_1", "mouse_2.day_2", "mouse_10", "mouse_10.day_1", "mouse_10.day_2",
    ]  # fmt: skip
    page.get_by_role("button", name="Median SNR").click()
    assert _visible(page) == [
        "mouse_10", "mouse_10.day_2", "mouse_10.day_1", "mouse_2", "mouse_2.day_1", "mouse_2.day_2",
    ]  # fmt: skip
    page.get_by_role("button", name="Median SNR").click()
    assert _visible(page) == [
        "mouse_2", "mouse_2.day_1", "mouse_2.day_2", "mouse_10", "mouse_10.day_1", "mouse_10.day_2",
    ], "ascending, the missing value last"  # fmt: skip


@needs_chromium
def test_recordings_of_all_animals_are_sorted_together_when_they_are_not_grouped(page: "Page") -> None:
    page.get_by_label("Group by animal").uncheck()
    page.get_by_role("button", name="Accepted").click()
    assert _visible(page) == ["mouse_10.day_1", "mouse_2.day_1", "mouse_10.day_2", "mouse_2.day_2"]
    page.get_by_role("button", name="Recording").click()
    assert _visible(page) == ["mouse_2.day_1", "mouse_2.day_2", "mouse_10.day_1", "mouse_10.day_2"], "2 before 10"
    page.get_by_label("Group by animal").check()
    assert _visible(page)[:2] == ["mouse_2", "mouse_2.day_1"]


@needs_chromium
def test_animals_collapse_and_filters_show_matches_within_them(page: "Page") -> None:
    page.get_by_role("button", name="Collapse all").click()
    assert _visible(page) == ["mouse_2", "mouse_10"]
    page.locator("[data-name=mouse_10] button").click()
    assert _visible(page) == ["mouse_2", "mouse_10", "mouse_10.day_1", "mouse_10.day_2"]
    page.get_by_label("Filter recordings").fill("illum day_2")
    assert _visible(page) == ["mouse_2", "mouse_2.day_2"]
    assert page.locator("#count").text_content() == "1 of 4 recordings"
    page.get_by_label("Filter recordings").fill("")
    page.get_by_role("button", name="review (1)").click()
    assert _visible(page) == ["mouse_10", "mouse_10.day_1"]


@needs_chromium
def test_many_recordings_open_collapsed(tmp_path: Path) -> None:
    names = [f"mouse_{i // 10}.day_{i % 10}" for i in range(50)]
    file = tmp_path / "index.html"
    file.write_text(render_index(_recordings(*((name, 100, 4.0) for name in names)), {}, {}, {}), encoding="utf-8")
    with chromium_page() as page:
        page.goto(file.as_uri())
        assert _visible(page) == [f"mouse_{i}" for i in range(5)]
        page.get_by_role("button", name="Expand all").click()
        assert len(_visible(page)) == 55
