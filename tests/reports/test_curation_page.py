"""The curation page: its content, and its behaviour in a browser."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.chromium import chromium_page, needs_chromium
from tests.pipelines.reporting.made_up import (
    EVIL,
    EXCLUDED,
    IDS,
    H,
    T,
    W,
    make_component_table,
    make_components,
    make_images,
    make_recording,
    make_spikes,
)

from rsc2p_kedro.algorithms.evaluation import accept_components
from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import Components, DeltaFOverF, SpikeInference, SummaryImages
from rsc2p_kedro.datasets.curation import read_curation
from rsc2p_kedro.pipelines.evaluation.curation import curate
from rsc2p_kedro.pipelines.reporting import nodes
from rsc2p_kedro.reports import curation_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

THRESHOLDS = {"min_snr": 2.0, "min_r_value": 0.9}
SNR = {11: 5.0, 3: 1.0, 8: 3.0, 5: 2.5}


def _dff(components: Components) -> DeltaFOverF:
    n = components.n_components
    return DeltaFOverF(components.traces / 7, np.ones((n, T), np.float32), np.zeros(n, bool))


def _table(n: int = 4) -> pd.DataFrame:
    """Four components of which all but number 3 pass, by their SNR."""
    table = make_component_table(n)
    snr = table["component_id"].map(SNR).to_numpy(dtype=float)
    accepted, _ = accept_components(snr, table["r_value"].to_numpy(), EvaluationParameters(**THRESHOLDS))
    return table.assign(snr=snr, accepted=accepted)


def _page(n: int = 4, *, curation: pd.DataFrame | None = None) -> str:
    components = make_components(n)
    return nodes.write_curation_page(
        make_recording(), EvaluationParameters(**THRESHOLDS), make_images(), components, _table(n),
        _dff(components), make_spikes(n), EXCLUDED, curation,
    )  # fmt: skip


def _classified_page(n: int = 4, **parameters: object) -> str:
    """Components 11 (a soma), 3 (silent), 8 (a process) and 5 (a soma, but only just), in this order."""
    components, classes = make_components(n), {11: "soma", 3: "silent", 8: "process", 5: "soma"}
    table = _table(n)
    names, soma = table["component_id"].map(classes), table["component_id"].map({11: 0.97, 3: 1.0, 8: 0.07, 5: 0.6})
    table = table.assign(
        component_class=names, soma_probability=soma, process_probability=1 - soma, out_of_focus_probability=0.0,
        other_probability=0.0, classifier_score=soma,
    )  # fmt: skip
    return nodes.write_curation_page(
        make_recording(), EvaluationParameters(**THRESHOLDS, **parameters), make_images(), components, table,
        _dff(components), make_spikes(n), EXCLUDED,
    )  # fmt: skip


class _Scripts(HTMLParser):
    """The scripts of a page by type, and its Content-Security-Policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.policy = ""
        self._kind: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "script":
            self._kind = known.get("type") or "code"
            assert self._kind not in self.scripts
            assert "src" not in known
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._kind = None

    def handle_data(self, data: str) -> None:
        if self._kind is not None:
            self.scripts[self._kind] = self.scripts.get(self._kind, "") + data


def test_a_page_allows_its_own_script_and_nothing_else() -> None:
    found = _Scripts(_page())
    digest = base64.b64encode(hashlib.sha256(found.scripts["code"].encode()).digest()).decode()
    assert "default-src 'none'" in found.policy
    assert re.findall(r"script-src ([^;]*)", found.policy) == [f"'sha256-{digest}'"]
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval)\b", found.scripts["code"])
    assert not re.search(r'(?:src|href)="(?!data:|#|report\.html")', _page())


def _curation(note: str) -> pd.DataFrame:
    """A decision to accept component 3."""
    centre = _table().set_index("component_id").loc[3, ["centre_y_px", "centre_x_px"]].to_dict()
    return pd.DataFrame([{"component_id": 77, "decision": "accept", "note": note, **centre}])  # 3 was 77 earlier


def test_values_from_outside_stay_data() -> None:
    page = _page(curation=_curation(f"</script>{EVIL}"))
    assert "<script>alert" not in page
    assert "<img" not in page
    data = json.loads(_Scripts(page).scripts["application/json"])
    assert data["components"][0]["row"]["reason"] == EVIL
    assert data["decisions"] == [{"id": 3, "decision": "accept", "note": f"</script>{EVIL}"}]


def test_thresholds_are_those_that_made_the_table() -> None:
    data = json.loads(_Scripts(_page()).scripts["application/json"])
    assert {one["key"]: one["value"] for one in data["thresholds"]}["min_r_value"] == 0.9


def test_classes_that_were_accepted_and_the_probability_needed_are_given() -> None:
    data = json.loads(_Scripts(_classified_page(min_soma_probability=0.7)).scripts["application/json"])
    assert data["accept"] == ["soma"]
    assert {one["key"]: one["value"] for one in data["thresholds"]}["min_soma_probability"] == 0.7
    assert "classifier_score" not in data["measures"]  # a score is no measure unless use_classifier is set
    assert json.loads(_Scripts(_page()).scripts["application/json"])["accept"] is None
    assert json.loads(_Scripts(_classified_page(accept=None)).scripts["application/json"])["accept"] is None


def _decode(encoded: dict, n_points: int) -> np.ndarray:
    """Traces (N, T) as the script decodes them."""
    numbers = np.frombuffer(base64.b64decode(encoded["numbers"]), "<u2").reshape(-1, n_points)
    return np.array(encoded["low"])[:, None] + np.array(encoded["step"])[:, None] * numbers


def test_traces_come_back_to_half_a_step() -> None:
    traces = np.random.default_rng(0).normal(size=(3, 50)) * np.array([[1e-3], [1.0], [1e5]])
    traces[1] = 4.0
    span = np.ptp(traces, axis=1, keepdims=True)
    assert (np.abs(_decode(curation_page.encode(traces), 50) - traces) <= span / 65535 / 2 * 1.001).all()


def test_a_long_recording_is_averaged_and_loses_no_spike(monkeypatch) -> None:
    monkeypatch.setattr(curation_page, "MAX_POINTS", 4 * 25)
    data = json.loads(_Scripts(_page()).scripts["application/json"])
    components = make_components(4)
    assert data["frames_per_point"] == 3
    spikes, dff = (_decode(data["series"][name], 20) for name in ("spikes", "dff"))
    np.testing.assert_allclose(spikes.sum(axis=1), components.spikes.sum(axis=1), rtol=1e-4)
    np.testing.assert_allclose(dff, _dff(components).dff.reshape(4, 20, 3).mean(axis=2), atol=1e-4)


def test_many_cells_and_frames_still_make_a_page_of_less_than_10_mb() -> None:
    rng, n, n_frames, size = np.random.default_rng(0), 300, 9000, 256
    traces = rng.random((n, n_frames), dtype=np.float32)
    pixels = rng.integers(10, size - 10, (n, 2))
    rows = [
        np.ravel_multi_index(np.indices((9, 9)).reshape(2, -1) + corner[:, None], (size, size)) for corner in pixels
    ]
    footprints = sp.csc_array((rng.random(n * 81), np.concatenate(rows), np.arange(0, n * 81 + 1, 81)), (size**2, n))
    per_component = np.ones(n, np.float32)
    components = Components(
        shape=(size, size), ids=np.arange(n), footprints=footprints, traces=traces, spikes=traces,
        residual_traces=traces,
        background_footprints=sp.csc_array((size**2, 1)), background_traces=np.ones((1, n_frames), np.float32),
        baseline=per_component, noise=per_component, ar_coefficients=np.ones((n, 1), np.float32), lam=per_component,
        pixel_noise=np.ones((size, size), np.float32),
    )  # fmt: skip
    images = SummaryImages(*(rng.random((size, size), dtype=np.float32) for _ in range(4)))
    table = pd.concat([make_component_table(1)] * n).assign(component_id=range(n), reason="accepted: snr")
    dff = DeltaFOverF(traces, traces + 1, np.zeros(n, bool))
    inferred = SpikeInference(traces, traces, per_component, per_component, per_component)
    none = pd.DataFrame({"excluded": np.zeros(n_frames, bool)})
    page = nodes.write_curation_page(
        make_recording(), EvaluationParameters(), images, components, table, dff, inferred, none
    )
    assert 5e6 < len(page) < 1e7


def _opened(page: "Page", folder: Path, html: str) -> "Page":
    file = folder / "curation.html"
    file.write_text(html, encoding="utf-8")
    page.goto(file.as_uri())
    return page


@pytest.fixture
def page(tmp_path: Path) -> Iterator["Page"]:
    """The curation page of four components, opened in a browser."""
    with chromium_page() as page:
        yield _opened(page, tmp_path, _page())


def _accepted(page: "Page") -> set[int]:
    """Components that the field of view shows as accepted."""
    script = "[...document.querySelectorAll('#field path.accepted')].map((path) => Number(path.dataset.id))"
    return set(page.evaluate(script))


def _click_component(page: "Page", component: int) -> None:
    """Clicks the lower part of a component's footprint, which no other one covers."""
    box = page.locator("#field").bounding_box()
    x, y = (10 + 0.5) / W * box["width"], (4 * IDS.index(component) + 8 + 0.5) / H * box["height"]
    page.locator("#field").click(position={"x": x, "y": y})


@needs_chromium
def test_clicking_a_component_shows_its_traces(page: "Page") -> None:
    components = make_components(4)
    for component in (8, 3):
        _click_component(page, component)
        assert page.locator("#heading").text_content().startswith(f"Component {component}:")
        for frame in (10, 41):
            left, right, width = 52, 10, page.locator("#traces").bounding_box()["width"]
            x = left + (width - left - right) * (frame + 0.5) / T
            page.locator("#traces").hover(position={"x": x, "y": 100})
            text = page.locator("#reading").text_content()
            read = re.search(r"frame (\d+), .* dF/F (\S+) %, spikes (\S+), inferred (\S+)", text)
            assert read is not None
            index = IDS.index(component)
            assert int(read[1]) == frame
            assert float(read[2]) == pytest.approx(100 * _dff(components).dff[index, frame], rel=1e-3, abs=1e-3)
            assert float(read[3]) == pytest.approx(components.spikes[index, frame], abs=1e-3)
            assert float(read[4]) == pytest.approx(0.7 * components.spikes[index, frame], abs=1e-3)
    drawn = page.locator("#traces [data-series=dff]").get_attribute("d")
    heights = np.array([float(point.split(" ")[1]) for point in drawn.lstrip("M").split("L")])
    assert len(heights) == T
    assert np.corrcoef(-heights, components.traces[IDS.index(3)])[0, 1] > 0.999


@needs_chromium
def test_excluded_frames_have_a_grey_band_in_each_panel(page: "Page") -> None:
    assert page.get_by_text("Grey bands: 1 excluded frame,").count() == 1
    _click_component(page, 8)
    script = (
        "[...document.querySelectorAll('#traces rect.excluded')].map((r) => [r.x, r.width].map((v) => v.baseVal.value))"
    )
    bands = np.array(page.evaluate(script))
    left, right, width = 52, 10, page.locator("#traces").bounding_box()["width"]
    per_frame = (width - left - right) / T
    assert len(bands) == page.locator("#traces text.name").count() > 1
    np.testing.assert_allclose(bands, [[left + 7 * per_frame, per_frame]] * len(bands), rtol=1e-3)


@needs_chromium
def test_classes_can_be_accepted_and_hidden(tmp_path: Path) -> None:
    with chromium_page() as page:
        _opened(page, tmp_path, _classified_page())
        assert _accepted(page) == {11, 5}
        page.locator("#min_soma_probability").fill("0.7")
        assert _accepted(page) == {11}
        page.locator("#accept-silent").check()
        page.locator("#accept-process").check()
        assert _accepted(page) == {11, 3, 8}, "thresholds do not apply to the silent one, whose SNR is 1"
        assert "min_soma_probability: 0.7, accept: [soma, silent, process]" in page.locator("#manifest").input_value()
        page.locator("#accept-soma").uncheck()
        assert _accepted(page) == {3, 8}
        page.locator("#reset").click()
        assert _accepted(page) == {11, 5}
        assert page.locator("#accept-soma").is_checked()
        page.locator("#show-process").uncheck()
        assert page.locator("#list tr:visible").count() == 3
        assert not page.locator("#field path[data-id='8']").is_visible()
        assert page.locator("#field path[data-id='11'] title").text_content() == "component 11: soma 0.97"
        shown = page.locator("#list tr[data-id='3']").text_content()
        assert "silent" in shown


@needs_chromium
def test_a_page_without_classes_has_no_boxes_for_them(page: "Page") -> None:
    for part in ("#show-classes", "#accept-classes", "#color-row"):
        assert not page.locator(part).is_visible()


@needs_chromium
def test_changing_a_threshold_changes_the_accepted_set(page: "Page") -> None:
    assert _accepted(page) == {11, 8, 5}
    page.locator("#min_snr").fill("2.75")
    assert _accepted(page) == {11, 8}
    assert page.locator("#count").text_content() == "2 of 4 components accepted"
    assert "min_snr: 2.75" in page.locator("#manifest").input_value()
    page.locator("#lowest_r_value").fill("0.81")
    assert _accepted(page) == set()
    page.locator("#reset").click()
    assert _accepted(page) == {11, 8, 5}


@needs_chromium
def test_the_evaluation_reads_back_the_saved_curation(page: "Page", tmp_path: Path) -> None:
    note = f'not a cell, a "vessel" {EVIL}'
    page.locator("#min_snr").fill("2.75")
    _click_component(page, 11)
    page.locator("#note").fill(note)
    page.locator("#reject").click()
    _click_component(page, 3)
    page.locator("#accept").click()
    assert page.locator("#heading").text_content() == "Component 3: accepted manually"
    _click_component(page, 11)
    assert page.locator("#heading").text_content() == f"Component 11: rejected manually ({note})"
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == "curation_a_1.s_1.csv"
    download.value.save_as(tmp_path / "saved.csv")
    decisions = read_curation(tmp_path / "saved.csv").set_index("component_id")
    assert decisions["decision"].to_dict() == {11: "reject", 3: "accept", 5: "reject"}
    assert decisions.loc[11, "note"] == note
    assert decisions.loc[5, "note"] == "thresholds: min_snr: 2.75"
    centres = _table().set_index("component_id")[["centre_y_px", "centre_x_px"]]
    pd.testing.assert_frame_equal(decisions[centres.columns], centres.loc[decisions.index], atol=0.01)
    curated = curate(_table(), decisions.reset_index())
    assert set(curated.loc[curated["accepted"], "component_id"]) == _accepted(page) == {3, 8}


@needs_chromium
def test_the_next_page_starts_from_earlier_decisions(tmp_path: Path) -> None:
    with chromium_page() as page:
        _opened(page, tmp_path, _page(curation=_curation("seen before")))
        assert _accepted(page) == {11, 8, 5, 3}
        assert page.locator("#save-count").text_content() == "1 decision"
        page.locator("#min_snr").fill("2.75")
        assert page.locator("#save-count").text_content() == "2 decisions, not saved"


@needs_chromium
def test_values_from_outside_are_shown_as_text(page: "Page") -> None:
    _click_component(page, 5)
    assert EVIL in page.locator("#quality").text_content(), "the reason"
    assert page.locator("img").count() == 0
    assert page.evaluate("document.scripts.length") == 2


@needs_chromium
def test_a_recording_without_components_opens(tmp_path: Path) -> None:
    with chromium_page() as page:
        _opened(page, tmp_path, _page(0))
        assert page.locator("#count").text_content() == "0 of 0 components accepted"
