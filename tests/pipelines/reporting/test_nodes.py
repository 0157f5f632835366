"""Figures and pages of whole recordings: two cells, one, none; frames that are not square."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.figure import Figure

from rsc2p_kedro import schemas
from rsc2p_kedro.engines.results import Components, DeltaFOverF, MotionCorrection, SummaryImages
from rsc2p_kedro.parameters import EvaluationParameters, ExtractionParameters, MotionCorrectionParameters
from rsc2p_kedro.pipelines.reporting import nodes, render
from rsc2p_kedro.recordings import Recording

H, W, T = 24, 40, 60
EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def _recording(**fields: object) -> Recording:
    return Recording(animal="a_1", session_key="s_1", path="raw", frame_rate_hz=10.0, pixel_size_um=(2, 1), **fields)


def _images() -> SummaryImages:
    rng = np.random.default_rng(0)
    return SummaryImages(*(rng.random((H, W)).astype(np.float32) for _ in range(4)))


def _motion() -> MotionCorrection:
    rng = np.random.default_rng(1)
    ones = np.ones(T, np.float32)
    shifts = rng.normal(size=(T, 2)).astype(np.float32)
    return MotionCorrection(
        template=rng.random((H, W)).astype(np.float32),
        shifts=shifts,
        patch_shifts=np.repeat(shifts[:, None], 2, axis=1),
        patch_centres=np.array([[12, 10], [12, 30]], np.float32),
        valid_mask=np.ones((H, W), bool),
        peak_quality=9 * ones,
        registered=np.arange(T) != 7,
        correlation_before=0.5 * ones,
        correlation_after=0.8 * ones,
        provenance={"engine": "embedded", "version": "0"},
    )


def _components(n: int) -> Components:
    rng = np.random.default_rng(2)
    dense = np.zeros((H, W, n), np.float32)
    for index in range(n):
        dense[5 + 4 * index : 10 + 4 * index, 8:13, index] = 0.2
    per_component = np.ones(n, np.float32)
    return Components(
        shape=(H, W),
        ids=np.array([11, 3][:n], dtype=np.int64),
        footprints=sp.csc_array(dense.reshape(H * W, n)),
        traces=rng.random((n, T)).astype(np.float32),
        spikes=(rng.random((n, T)) > 0.9).astype(np.float32),
        residual_traces=np.zeros((n, T), np.float32),
        background_footprints=sp.csc_array((H * W, 1), dtype=np.float32),
        background_traces=np.ones((1, T), np.float32),
        baseline=per_component,
        noise=per_component,
        ar_coefficients=np.full((n, 1), 0.8, np.float32),
        lam=per_component,
        pixel_noise=np.ones((H, W), np.float32),
        provenance={"engine": "embedded", "version": "0"},
    )


def _component_table(n: int) -> pd.DataFrame:
    """Rows in another order than the components: ids 3, 11; component 11 is accepted."""
    rows = pd.DataFrame({"component_id": sorted([11, 3][:n])})
    accepted = rows["component_id"] == 11
    table = rows.assign(
        centre_y_px=7.0, centre_x_px=10.0, area_px=25, snr=np.where(accepted, 5.0, 1.0), r_value=0.8, cnn_score=np.nan,
        baseline=1.0, noise=1.0, decay_time_s=0.4, n_transients=3, event_rate_hz=0.1, accepted=accepted,
        reason=EVIL, curated=False,
    )  # fmt: skip
    return schemas.ComponentTable.validate(table)


def _motion_table(motion: MotionCorrection) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "frame": range(T), "shift_y_px": motion.shifts[:, 0].astype(float),
            "shift_x_px": motion.shifts[:, 1].astype(float), "largest_deviation_px": 0.0,
            "peak_quality": motion.peak_quality, "correlation_before": motion.correlation_before,
            "correlation_after": motion.correlation_after, "registered": motion.registered,
        }
    )  # fmt: skip


MOTION_QUALITY = pd.DataFrame(
    [("template_correlation", 0.5, 0.8, True), ("crispness", 1.0, 1.5, True), ("residual_motion_px", 0.9, 0.1, True)],
    columns=["measure", "before", "after", "improved"],
)
FRAMES = pd.DataFrame({"minimum": 1.0, "mean": 50.0, "maximum": 90.0, "saturated_share": 0.0}, index=range(T))
LINEAGE = pd.DataFrame([(3, "new", "", "")], columns=["component_id", "event", "parents", "reason"])
INSPECTION = pd.DataFrame(
    [("check_x", "CRITICAL", "Subject", "subject", "/", EVIL)],
    columns=["check", "importance", "object_type", "object_name", "location", "message"],
)
PARAMETERS = (MotionCorrectionParameters(max_shift_px=9), ExtractionParameters(), EvaluationParameters())


def _figures(n: int) -> dict[str, Figure]:
    recording, images, motion, components, table = (
        _recording(),
        _images(),
        _motion(),
        _components(n),
        _component_table(n),
    )
    dff = DeltaFOverF(components.traces, np.ones((n, T), np.float32), np.zeros(n, bool))
    evaluation = PARAMETERS[2]
    return {
        "summary_figure": nodes.plot_summary_images(images, recording),
        "correction_figure": nodes.plot_correction(images, images, recording),
        "template_figure": nodes.plot_template(motion, recording),
        "shifts_figure": nodes.plot_shifts(_motion_table(motion), recording),
        "patch_shifts_figure": nodes.plot_patch_shifts(motion, recording),
        "motion_quality_figure": nodes.plot_motion_quality(_motion_table(motion), MOTION_QUALITY, recording),
        "contours_figure": nodes.plot_contours(images, _components(2), components, table, recording),
        "component_map_figure": nodes.plot_component_map(images, components, table, recording),
        "footprints_figure": nodes.plot_footprints(components, table, recording),
        "quality_figure": nodes.plot_quality(table, recording, evaluation),
        "traces_figure": nodes.plot_traces(dff, components, table, recording, evaluation),
    }


def _verdicts(n: int) -> pd.DataFrame:
    dff = DeltaFOverF(np.zeros((n, T), np.float32), np.ones((n, T), np.float32), np.zeros(n, bool))
    found = nodes.judge_recording(
        _recording(), PARAMETERS[0], PARAMETERS[2], FRAMES, _motion_table(_motion()), MOTION_QUALITY,
        _component_table(n), dff, INSPECTION,
    )  # fmt: skip
    return schemas.VerdictTable.validate(found)


def _report(
    n: int = 2, *, recording: Recording | None = None, truth: pd.DataFrame | None = None, **figures: object
) -> str:
    return nodes.write_report(
        recording or _recording(), *PARAMETERS, _verdicts(n), _motion(), MOTION_QUALITY, _components(n),
        _component_table(n), LINEAGE, INSPECTION, truth, **figures,
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
    assert set(figures) == set(render.FIGURES)
    for figure in figures.values():
        figure.savefig(io.BytesIO(), format="png", dpi=30)


def test_rows_of_the_table_find_their_components_in_any_order() -> None:
    ax = nodes.plot_component_map(_images(), _components(2), _component_table(2), _recording()).axes[0]
    written = {text.get_text() for text in ax.texts}
    assert "11" in written
    assert "3" not in written


def test_a_table_older_than_its_components_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks the components \[3\].*evaluation"):
        nodes.plot_footprints(_components(2), _component_table(1), _recording())


def test_a_report_stands_alone_and_holds_every_figure() -> None:
    picture = Figure(figsize=(1, 1))
    page = _report(shifts_figure=picture, traces_figure=render.PNG + b"rest", odd_figure=b"<svg/>")
    elements = _Elements(page)
    sources = [attributes["src"] for tag, attributes in elements.tags if tag == "img"]
    assert [source[: source.index(",")] for source in sources] == [
        "data:image/png;base64", "data:image/png;base64", "data:image/svg+xml;base64",
    ]  # fmt: skip
    assert base64.b64decode(sources[1].partition(",")[2]) == render.PNG + b"rest"
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements.tags}
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_a_report_speaks_its_verdicts_before_anything_else() -> None:
    page = _report()
    text = _Elements(page).text
    assert page.index("Is the motion corrected?") < page.index("Are there cells?") < page.index('id="recording"')
    assert "Yes: correlation with the template 0.5 → 0.8" in text
    assert "1 message, 1 serious" in text
    assert "not in order" in text
    assert "default 6" in text, "max_shift_px differs from its default"


def test_what_comes_from_outside_cannot_become_markup() -> None:
    recording = _recording(subject={"description": EVIL}, session={"notes": EVIL})
    page = _report(recording=recording)
    elements = _Elements(page)
    assert "<script" not in page
    assert not [tag for tag, attributes in elements.tags if tag in {"script", "img"} or "onerror" in attributes]
    assert elements.text.count("alert('x')") == 5, "subject, session, two components, one message"


def test_a_report_without_components_says_so() -> None:
    text = _Elements(_report(0)).text
    assert "No components were found." in text
    assert not re.search(r"\bnan\b", text.lower())


def test_a_simulated_recording_is_marked_and_scored() -> None:
    truth = pd.DataFrame([("f1", 0.91, "", "Harmonic mean.")], columns=["measure", "value", "unit", "description"])
    text = _Elements(_report(recording=_recording(simulation={}), truth=truth)).text
    assert "simulated: no animal was imaged" in text
    assert "F1 of the accepted cells 0.91" in text
    assert "simulated: no animal was imaged" not in _Elements(_report()).text


def _summary(n: int, name: str = "s_1") -> pd.DataFrame:
    recording = _recording().model_copy(update={"session_key": name})
    return nodes.summarize_recording(
        recording, _motion(), MOTION_QUALITY, _components(2), _components(n), _component_table(n), INSPECTION
    )


def test_recordings_are_tabulated_in_their_order() -> None:
    table = schemas.RecordingsTable.validate(nodes.tabulate_recordings(_summary(2), _summary(0, "s_2")))
    assert table["recording"].tolist() == ["a_1.s_1", "a_1.s_2"]
    assert table["components_accepted"].tolist() == [1, 0]
    assert table["unregistered_frames"].tolist() == [1, 1]
    assert np.isnan(table["median_snr_accepted"][1])
    assert (table["height_px"][0], table["width_px"][0]) == (H, W)


def test_the_index_links_to_each_report() -> None:
    table = nodes.tabulate_recordings(_summary(2), _summary(0, "s_2"))
    images = [_images()] * 4
    page = nodes.write_index(table, nodes.plot_recordings(table, *images), _verdicts(2), _verdicts(0))
    elements = _Elements(page)
    links = [attributes["href"] for tag, attributes in elements.tags if tag == "a"]
    assert links == ["a_1/s_1/report.html", "a_1/s_2/report.html"]
    assert "No components were found." in elements.text
    assert sum(tag == "img" for tag, _ in elements.tags) == 1


def test_the_index_leaves_out_what_is_not_worth_a_word() -> None:
    page = nodes.write_index(_summary(2), None, _verdicts(2))
    assert "Is the light right?" not in page
    assert "Is the NWB file in order?" in page


def test_the_grid_wants_two_sets_of_images_a_recording() -> None:
    with pytest.raises(ValueError, match="zip"):
        nodes.plot_recordings(_summary(2), _images())


def test_scores_against_the_truth_come_as_their_table() -> None:
    from rsc2p_kedro.simulation.truth import SimulatedTruth

    components, motion = _components(2), _motion()
    truth = SimulatedTruth(
        footprints=components.footprints, traces=components.traces, spikes=components.spikes,
        rigid_motion=-motion.shifts, shear=np.zeros((T, 2), np.float32), warp=np.zeros((T, 4, 4, 2), np.float32),
        background=np.ones((H, W), np.float32),
    )  # fmt: skip
    table = nodes.score_against_truth(truth, motion, components, _component_table(2))
    values = schemas.TruthScoreTable.validate(table).set_index("measure")["value"]
    assert values["precision"] == 1.0
    assert values["recall"] == 0.5
    assert values["rigid_motion_error"] == pytest.approx(0, abs=1e-6)
