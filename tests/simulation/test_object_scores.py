"""Each ROI is told what it lies on, and findable somata are counted."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.movie import SimulatedRecording, simulate
from rsc2p_kedro.simulation.object_scores import kinds_of, score_objects
from rsc2p_kedro.simulation.objects import ObjectTruth
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import SimulatedTruth

SHAPE, T = (60, 60), 20


def disc(y: float, x: float, radius: float) -> NDArray[np.float32]:
    rows, columns = np.indices(SHAPE)
    return (np.hypot(rows - y, columns - x) <= radius).astype(np.float32)


def blob(y: float, x: float, sigma: float) -> NDArray[np.float32]:
    rows, columns = np.indices(SHAPE)
    return np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)).astype(np.float32)


def strip(y: int, x: slice) -> NDArray[np.float32]:
    image = np.zeros(SHAPE, np.float32)
    image[y : y + 2, x] = 1
    return image


def stacked(*images: NDArray) -> sp.csc_array:
    return sp.csc_array(np.stack([image.ravel() for image in images], axis=1).astype(np.float32))


FIRST, SECOND, PROCESS = disc(15, 15, 6), disc(15, 40, 6), strip(30, slice(5, 35))
SPOT, WIDE = blob(40, 50, 1.0), np.where(blob(48, 15, 8) > 0.05, blob(48, 15, 8), 0)


@pytest.fixture(scope="module")
def objects() -> ObjectTruth:
    """Two somata, of which the first is findable, and one object of each other kind; the last is silent."""
    kinds = np.array(["soma", "soma", "process", "spot", "out_of_focus", "process"])
    footprints = stacked(FIRST, SECOND, PROCESS, SPOT, WIDE, strip(55, slice(30, 58)))
    snr = np.array([30.0, 3.0, 20.0, 20.0, 20.0, 0.5])
    return ObjectTruth(SHAPE, footprints, np.zeros((6, T), np.float32), kinds, np.full(6, -1), snr)


@pytest.fixture(scope="module")
def truth(objects: ObjectTruth) -> SimulatedTruth:
    return SimulatedTruth(
        footprints=sp.csc_array(objects.footprints[:, :2]), traces=objects.traces[:2], spikes=objects.traces[:2],
        rigid_motion=np.zeros((T, 2), np.float32), shear=np.zeros((T, 2), np.float32),
        warp=np.zeros((T, 2, 2, 2), np.float32), background=np.ones(SHAPE, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("roi", "kind"),
    [
        (FIRST, "soma"),
        (disc(16, 15, 6), "soma"),
        (disc(15, 15, 7.5), "soma"),
        (disc(15, 12, 2.5), "piece"),
        (FIRST * (np.indices(SHAPE)[1] < 13), "piece"),
        (PROCESS, "process"),
        (strip(30, slice(12, 26)), "process"),
        (SPOT, "spot"),
        (disc(40, 50, 1), "spot"),
        (WIDE, "out_of_focus"),
        (disc(48, 15, 7), "out_of_focus"),
        (disc(50, 35, 4), "nothing"),
        (strip(55, slice(30, 58)), "nothing"),
        (np.zeros(SHAPE), "nothing"),
    ],
)
def test_an_roi_is_told_what_it_lies_on(objects: ObjectTruth, roi: NDArray, kind: str) -> None:
    assert kinds_of(stacked(roi), objects).tolist() == [kind]


def test_every_soma_of_a_simulated_tissue_lies_on_itself() -> None:
    recording = simulate(
        SimulationSettings(tissue="processes", n_frames=200, n_neurons=20), Acquisition(frame_rate_hz=15)
    )
    assert recording.objects is not None
    assert (kinds_of(recording.truth.footprints, recording.objects) == "soma").all()
    strong = recording.objects.snr > 10
    spots = strong & (recording.objects.kinds == "spot")
    assert (kinds_of(recording.objects.footprints[:, np.flatnonzero(spots)], recording.objects) == "spot").mean() > 0.8


def values(truth: SimulatedTruth, objects: ObjectTruth, *rois: NDArray) -> dict[str, float]:
    return {row.measure: row.value for row in score_objects(truth, objects, stacked(*rois))}


def test_the_somata_themselves_score_one(truth: SimulatedTruth, objects: ObjectTruth) -> None:
    found = values(truth, objects, FIRST, SECOND)
    assert (found["n_findable"], found["n_rois"]) == (1, 2)
    assert found["f1_findable"] == found["precision"] == found["recall_findable"] == 1
    assert found["non_cells"] == found["duplicates"] == 0
    assert found["on_soma"] == 1


def test_recall_counts_findable_somata_only(truth: SimulatedTruth, objects: ObjectTruth) -> None:
    found = values(truth, objects, SECOND)
    assert (found["recall_findable"], found["precision"], found["f1_findable"]) == (0, 1, 0)


def test_out_of_focus_counts_neither_way_and_others_lower_precision(
    truth: SimulatedTruth, objects: ObjectTruth
) -> None:
    found = values(truth, objects, FIRST, WIDE, PROCESS, SPOT)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall_findable"] == 1
    assert found["f1_findable"] == pytest.approx(0.5)
    assert found["non_cells"] == 0.5
    assert found["on_out_of_focus"] == found["on_process"] == found["on_spot"] == 0.25


def test_a_second_roi_on_a_soma_is_a_duplicate(truth: SimulatedTruth, objects: ObjectTruth) -> None:
    found = values(truth, objects, FIRST, disc(16, 15, 5.5))
    assert (found["duplicates"], found["precision"]) == (0.5, 0.5)


def test_an_offset_of_all_rois_is_removed(truth: SimulatedTruth, objects: ObjectTruth) -> None:
    rois = [np.roll(image, (2, -1), axis=(0, 1)) for image in (FIRST, SECOND, SPOT)]
    assert values(truth, objects, *rois)["recall_findable"] == 1
    kept = score_objects(truth, objects, stacked(*(np.roll(image, 9, axis=0) for image in rois)), align=False)
    assert {row.measure: row.value for row in kept}["recall_findable"] == 0


def test_no_rois_score_zero(truth: SimulatedTruth, objects: ObjectTruth) -> None:
    rows = score_objects(truth, objects, sp.csc_array((60 * 60, 0), dtype=np.float32))
    assert {row.value for row in rows if row.measure != "n_findable"} == {0.0}


def test_all_kinds_add_up(recording_with_rois: tuple[SimulatedRecording, sp.csc_array]) -> None:
    recording, rois = recording_with_rois
    assert recording.objects is not None
    found = {row.measure: row.value for row in score_objects(recording.truth, recording.objects, rois)}
    assert sum(value for name, value in found.items() if name.startswith("on_")) == pytest.approx(1)


@pytest.fixture
def recording_with_rois() -> tuple[SimulatedRecording, sp.csc_array]:
    """A small tissue and discs all over it."""
    settings = SimulationSettings(tissue="processes", n_frames=60, height_px=60, width_px=60, n_neurons=6)
    rois = stacked(*(disc(y, x, 3.5) for y in range(5, 60, 9) for x in range(5, 60, 9)))
    return simulate(settings, Acquisition(frame_rate_hz=15)), rois
