"""Figures and pages of whole recordings: two cells, one, none; frames that are not square."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tests.pipelines.reporting.made_up import (
    EVIL,
    EXCLUDED,
    FRAMES,
    INSPECTION,
    LINEAGE,
    MOTION_QUALITY,
    SATURATION,
    H,
    T,
    W,
    make_component_table,
    make_components,
    make_images,
    make_motion,
    make_motion_table,
    make_quality,
    make_recording,
    make_spikes,
)

from rsc2p_kedro.core import schemas
from rsc2p_kedro.core.parameters import EvaluationParameters, ExtractionParameters, MotionCorrectionParameters
from rsc2p_kedro.core.results import DeltaFOverF, DetectorResponse, LineOffset, RedLabels
from rsc2p_kedro.datasets.records import read_record, write_record
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.reporting import create_pipeline, nodes
from rsc2p_kedro.reports.html import label_of
from rsc2p_kedro.reports.index import IndexEntry
from rsc2p_kedro.reports.report import FIGURES

DARK = 12.5
RESPONSE = DetectorResponse(
    DARK, 0.5, "noise of the pixels", 5.0, 0.1, 2.0, 50.0, 20.0, (0.0, 0.0), 0.0, np.arange(3.0), np.ones(3), np.ones(3)
)
PNG = b"\x89PNG\r\n\x1a\n"
PARAMETERS = (MotionCorrectionParameters(max_shift_px=9), ExtractionParameters(), EvaluationParameters())


def _figures(n: int) -> dict[str, Figure]:
    recording, images, motion, components, table = (
        make_recording(),
        make_images(),
        make_motion(),
        make_components(n),
        make_component_table(n),
    )
    dff = DeltaFOverF(components.traces, np.ones((n, T), np.float32), np.zeros(n, bool))
    evaluation = PARAMETERS[2]
    return {
        "summary_figure": nodes.plot_summary_images(images, recording),
        "correction_figure": nodes.plot_correction(images, images, recording),
        "template_figure": nodes.plot_template(motion, recording),
        "shifts_figure": nodes.plot_shifts(make_motion_table(motion), recording),
        "patch_shifts_figure": nodes.plot_patch_shifts(motion, recording),
        "motion_quality_figure": nodes.plot_motion_quality(make_motion_table(motion), MOTION_QUALITY, recording),
        "photon_transfer_figure": nodes.plot_photon_transfer(SATURATION, RESPONSE, recording),
        "unexplained_figure": nodes.plot_unexplained_correlation(images, components, table, motion, recording),
        "structural_figure": nodes.plot_structural_channel(images, components, _labels(n), recording),
        "contours_figure": nodes.plot_contours(images, make_components(2), components, table, recording),
        "component_map_figure": nodes.plot_component_map(images, components, table, recording),
        "footprints_figure": nodes.plot_footprints(components, table, recording),
        "quality_figure": nodes.plot_quality(table, recording, evaluation),
        "traces_figure": nodes.plot_traces(dff, components, make_spikes(n), table, EXCLUDED, recording, evaluation),
    }


def _labels(n: int) -> RedLabels:
    values = np.linspace(0, 1, n, dtype=np.float32)
    return RedLabels(values, values, values, values, 0.1, 0.01, 0.0, 1.0)


def _dff(n: int) -> DeltaFOverF:
    ones, one = np.ones((n, T), np.float32), np.ones(n, np.float32)
    return DeltaFOverF(
        make_components(n).traces, ones, np.zeros(n, bool), DARK, 0.5, "noise of the pixels", one * 0.7, ones,
        noise_level=one, scale_error=0.02 * one, photons=40 * one, d_prime=one, detector=RESPONSE,
    )  # fmt: skip


def _measures(n: int) -> pd.DataFrame:
    table = nodes.tabulate_component_measures(
        make_components(n), make_component_table(n), make_images(), make_motion(), SATURATION
    )
    return schemas.ComponentMeasureTable.validate(table)


def _assessments(n: int) -> pd.DataFrame:
    found = nodes.assess_recording(
        make_recording(), PARAMETERS[0], PARAMETERS[2], FRAMES, make_motion_table(make_motion()), MOTION_QUALITY,
        make_component_table(n), _dff(n), INSPECTION, _measures(n), SATURATION,
        LineOffset.not_estimated(), EXCLUDED, da.zeros((T, H, W), np.uint16),
    )  # fmt: skip
    return schemas.AssessmentTable.validate(found)


def _report(
    n: int = 2, *, recording: Recording | None = None, truth: pd.DataFrame | None = None, **figures: object
) -> str:
    return nodes.write_report(
        recording or make_recording(), *PARAMETERS, _assessments(n), make_motion(), MOTION_QUALITY, make_components(n),
        make_component_table(n), make_quality(n), _dff(n), LINEAGE, _measures(n), INSPECTION, truth,
        **figures,
    )  # fmt: skip


class _Elements(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("n", [0, 2])
def test_every_figure_of_a_report_is_drawn(n: int) -> None:
    figures = _figures(n)
    assert set(figures) == set(FIGURES)
    for figure in figures.values():
        figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_rows_of_the_table_find_their_components_in_any_order() -> None:
    ax = nodes.plot_component_map(make_images(), make_components(2), make_component_table(2), make_recording()).axes[0]
    written = {text.get_text() for text in ax.texts}
    assert "11" in written
    assert "3" not in written


def test_a_table_older_than_its_components_is_refused() -> None:
    with pytest.raises(ValueError, match=r"should have all components, but lacks \[3\].*evaluation"):
        nodes.plot_footprints(make_components(2), make_component_table(1), make_recording())


def test_a_report_stands_alone_and_holds_every_figure() -> None:
    picture = Figure(figsize=(1, 1))
    page = _report(shifts_figure=picture, traces_figure=PNG + b"rest", odd_figure=b"<svg/>")
    elements = _Elements(page)
    sources = [attributes["src"] for tag, attributes in elements.tags if tag == "img"]
    assert [source[: source.index(",")] for source in sources] == [
        "data:image/png;base64", "data:image/png;base64", "data:image/svg+xml;base64",
    ]  # fmt: skip
    assert base64.b64decode(sources[1].partition(",")[2]) == PNG + b"rest"
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements.tags}
    assert not re.search(r'(?:src|href)="(?!data:|#|curation\.html")', page)


def test_a_report_begins_with_its_assessment() -> None:
    page = _report()
    text = _Elements(page).text
    assert page.index("<h3>Motion correction") < page.index("<h3>Components") < page.index('id="recording"')
    assert "Improved: correlation with the template 0.500 → 0.800" in text
    assert "1 message of the validators, 1 of them serious" in text
    assert re.search(r"NWB file\s*problem", text)
    assert "default 6" in text, "max_shift_px differs from its default"


def test_a_report_states_the_dark_level() -> None:
    text = _Elements(_report()).text
    assert "Dark level 12.5 ± 0.5 counts (noise of the pixels), mean of the raw frames 50 counts" in text
    assert re.search(r"dark level\s*12\.5\s*counts\s*Level without light[^.]*from the noise of the pixels", text)


def test_a_report_states_gain_photons_and_neuropil() -> None:
    text = _Elements(_report()).text
    assert re.search(r"gain\s*5\s*0\.1\s*counts per photon", text)
    assert re.search(r"photons per pixel\s*7\.5\s*0\.18", text), "(50 - 12.5) / 5, and its error"
    assert re.search(r"neuropil fraction\s*0\.7", text)
    assert re.search(r"effect of the neuropil\s*2\s*times", text), "F0 is 1, and 2 with the neuropil"


def test_values_from_outside_cannot_become_markup() -> None:
    recording = make_recording(subject={"description": EVIL}, session={"notes": EVIL})
    page = _report(recording=recording)
    elements = _Elements(page)
    assert "<script" not in page
    assert not [tag for tag, attributes in elements.tags if tag in {"script", "img"} or "onerror" in attributes]
    assert elements.text.count("alert('x')") == 5, "subject, session, two components, one message"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("frame_rate_hz", "frame rate (Hz)"),
        ("median_snr_accepted", "median SNR accepted"),
        ("n_transients", "n transients"),
        ("s", "s"),
    ],
)
def test_names_become_words_with_their_units(name: str, label: str) -> None:
    assert label_of(name) == label


def test_a_report_without_components_says_so() -> None:
    text = _Elements(_report(0)).text
    assert "No components were detected." in text
    assert not re.search(r"\bnan\b", text.lower())


def test_a_simulated_recording_is_marked_and_scored() -> None:
    truth = pd.DataFrame([("f1", 0.91, "", "Harmonic mean.")], columns=["measure", "value", "unit", "description"])
    text = _Elements(_report(recording=make_recording(simulation={}), truth=truth)).text
    assert "Simulated recording: no animal was imaged" in text
    assert "F1 score of the accepted components 0.91" in text
    assert "Simulated recording: no animal was imaged" not in _Elements(_report()).text


def _summary(n: int, name: str = "s_1") -> pd.DataFrame:
    recording = make_recording().model_copy(update={"session_key": name})
    return nodes.summarize_recording(
        recording,
        make_motion(),
        MOTION_QUALITY,
        make_components(2),
        make_components(n),
        make_component_table(n),
        INSPECTION,
    )


def _entry(n: int, name: str = "s_1") -> IndexEntry:
    return nodes.collect_index_entry(
        _summary(n, name), _assessments(n), make_component_table(n), PNG, "<html>report</html>", "<html>curation</html>"
    )


def test_an_index_entry_is_the_same_after_saving(tmp_path: Path) -> None:
    entry = _entry(2)
    write_record(tmp_path / "entry.npz", entry)
    read = read_record(tmp_path / "entry.npz", IndexEntry)
    pd.testing.assert_frame_equal(pd.DataFrame(read.components), pd.DataFrame(entry.components))
    assert (read.assessments, read.thumbnail) == (entry.assessments, entry.thumbnail)


def test_components_of_all_recordings_stand_under_their_names() -> None:
    table = schemas.AllComponentsTable.validate(nodes.tabulate_all_components(_entry(2), _entry(0, "s_2")))
    assert table["recording"].tolist() == ["a_1.s_1", "a_1.s_1"]
    pd.testing.assert_frame_equal(
        table.drop(columns="recording"), make_component_table(2), check_dtype=False, check_like=True
    )
    nothing = nodes.tabulate_all_components(_entry(0))
    assert schemas.AllComponentsTable.validate(nothing).empty


def test_recordings_are_tabulated_in_their_order() -> None:
    table = schemas.RecordingsTable.validate(nodes.tabulate_recordings(_entry(2), _entry(0, "s_2")))
    assert table["recording"].tolist() == ["a_1.s_1", "a_1.s_2"]
    assert table["components_accepted"].tolist() == [1, 0]
    assert table["unregistered_frames"].tolist() == [1, 1]
    assert np.isnan(table["median_snr_accepted"][1])
    assert (table["height_px"][0], table["width_px"][0]) == (H, W)


def test_the_index_links_to_the_pages_of_each_recording() -> None:
    entries = _entry(2), _entry(0, "s_2")
    page = nodes.write_index(nodes.tabulate_recordings(*entries), *entries)
    elements = _Elements(page)
    links = [attributes["href"] for tag, attributes in elements.tags if tag == "a"]
    assert links == [f"a_1/{session}/{page}.html" for session in ("s_1", "s_2") for page in ("report", "curation")]
    titles = [attributes["title"] for tag, attributes in elements.tags if tag == "p" and "title" in attributes]
    assert "No components were detected." in titles
    assert sum(tag == "img" for tag, _ in elements.tags) == 2


def test_the_index_wants_an_entry_of_each_recording() -> None:
    with pytest.raises(ValueError, match="zip"):
        nodes.write_index(_summary(2))


def test_a_thumbnail_outlines_the_accepted_components() -> None:
    figure = nodes.plot_thumbnail(make_images(), make_components(2), make_component_table(2), make_recording())
    (lines,) = [line for ax in figure.axes for line in ax.collections]
    (outline,) = lines.get_segments()
    np.testing.assert_allclose((outline.min(0) + outline.max(0)) / 2, [10, 7], err_msg="component 11, as (x, y)")


def _inputs_of(name: str, *recordings: Recording) -> list[str]:
    (node,) = [node for node in create_pipeline(recordings).nodes if node.name.endswith(name)]
    return node.inputs


def test_a_curation_and_a_ground_truth_are_inputs_only_where_there_are_some() -> None:
    curated, simulated = make_recording(curation="curation.csv"), make_recording(simulation={})
    assert "a_1.s_1.curation" in _inputs_of("write_curation_page", curated)
    assert "a_1.s_1.curation" not in _inputs_of("write_curation_page", make_recording())
    assert "a_1.s_1.truth_score_table" in _inputs_of("write_report", simulated)
    assert "a_1.s_1.truth_score_table" not in _inputs_of("write_report", make_recording())


def test_every_recording_gives_the_index_one_small_dataset_and_nothing_else_leaves_it() -> None:
    recordings = [make_recording().model_copy(update={"session_key": name}) for name in ("s_1", "s_2")]
    entries = ["a_1.s_1.index_entry", "a_1.s_2.index_entry"]
    assert _inputs_of("write_index", *recordings) == ["recordings_table", *entries, "a_1.tracking_summary"]
    whole = create_pipeline(recordings)
    one = whole.only_nodes_with_namespaces(["a_1.s_1"])
    assert one.outputs() == {"a_1.s_1.index_entry"}
    assert (whole - one).inputs() & one.all_outputs() == {"a_1.s_1.index_entry"}


def test_scores_against_the_truth_come_as_their_table() -> None:
    from rsc2p_kedro.simulation.truth import SimulatedTruth

    components, motion = make_components(2), make_motion()
    truth = SimulatedTruth(
        footprints=components.footprints, traces=components.traces, spikes=components.spikes,
        rigid_motion=-motion.shifts, shear=np.zeros((T, 2), np.float32), warp=np.zeros((T, 4, 4, 2), np.float32),
        background=np.ones((H, W), np.float32),
    )  # fmt: skip
    table = nodes.score_against_truth(truth, motion, components, make_component_table(2))
    values = schemas.TruthScoreTable.validate(table).set_index("measure")["value"]
    assert values["precision"] == 1.0
    assert values["recall"] == 0.5
    assert values["rigid_motion_error"] == pytest.approx(0, abs=1e-6)
