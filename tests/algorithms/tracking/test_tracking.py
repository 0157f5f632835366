"""The same neurons come back over sessions, other places are refused, and ids stay."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.algorithms.tracking.conftest import CHANGES, draw, f1, found_pairs, true_pairs

from rsc2p_kedro.algorithms.tracking import track_neurons
from rsc2p_kedro.core.tracking import Tracking


@pytest.fixture(scope="module")
def tracked(three_days):
    return track_neurons(three_days[0])


def named(tracking: Tracking) -> dict[tuple[str, int], str]:
    """Neuron by session and component."""
    keys = zip(tracking.session.tolist(), tracking.component_id.tolist(), strict=True)
    return dict(zip(keys, tracking.neuron_id.tolist(), strict=True))


def test_neurons_are_found_again_on_all_days(three_days, tracked):
    fields, truth = three_days
    assert f1(true_pairs(fields, truth), found_pairs(tracked)) > 0.97
    assert all(one.aligned for one in tracked.alignments)


def test_the_placement_is_the_one_that_was_simulated(tracked):
    for one, change in zip(tracked.alignments[1:], CHANGES[1:], strict=True):
        assert one.shift_px == pytest.approx([-s for s in change.shift_px], abs=3.0)  # with the warp in the middle
        assert one.rotation_deg == pytest.approx(change.rotation_deg, abs=1.0)
        assert one.scale == pytest.approx(change.scale, abs=0.015)
        assert max(map(abs, one.correlation_before)) < 0.5 < max(map(abs, one.correlation_after))


def test_no_neuron_has_two_components_of_one_session(tracked):
    keys = list(zip(tracked.session.tolist(), tracked.neuron_id.tolist(), strict=True))
    assert len(set(keys)) == len(keys)


def test_the_model_knows_how_often_it_errs(three_days, tracked):
    true, found = true_pairs(*three_days), found_pairs(tracked)
    assert tracked.false_positive_share == pytest.approx(len(found - true) / len(found), abs=0.05)
    assert tracked.false_negative_share == pytest.approx(len(true - found) / len(true), abs=0.05)


def test_a_rerun_gives_the_same_bits(three_days, tracked):
    again = track_neurons(three_days[0])
    assert again.neuron_id.tolist() == tracked.neuron_id.tolist()
    np.testing.assert_array_equal(again.probability, tracked.probability)
    assert (again.footprints != tracked.footprints).nnz == 0


def test_a_session_of_another_place_is_refused_and_leaves_the_others_as_they_are(three_days, tracked):
    fields, _ = three_days
    other, _ = draw(77, CHANGES[:1])
    with_other = track_neurons([fields[0], fields[1], replace(other[0], session="elsewhere"), fields[2]])
    refused = with_other.alignments[2]
    assert not refused.aligned
    assert "shows another place" in refused.reason
    assert "elsewhere" not in with_other.session
    assert f1(found_pairs(tracked), found_pairs(with_other)) > 0.98


def test_the_majority_decides_which_place_is_tracked(three_days):
    fields, truth = three_days
    other, _ = draw(77, CHANGES[:1])
    tracked = track_neurons([replace(other[0], session="elsewhere"), *fields])
    assert [one.aligned for one in tracked.alignments] == [False, True, True, True]
    assert f1(true_pairs(fields, truth), found_pairs(tracked)) > 0.97


def test_ids_of_known_neurons_stay_when_a_session_is_added(three_days, tracked):
    fields, _ = three_days
    before = track_neurons(fields[:2])
    names = named(tracked)
    kept = [names[key] == name for key, name in named(before).items()]
    assert np.mean(kept) > 0.98
    own = [name for name in tracked.neuron_id[tracked.session == "day_3"] if name.startswith("day_3#")]
    assert own
    assert not set(own) & set(before.neuron_id)


def test_ids_of_an_earlier_table_are_kept_whatever_the_first_component_is(three_days, tracked):
    fields, _ = three_days
    table = {
        "session": tracked.session.tolist(),
        "component_id": tracked.component_id.tolist(),
        "neuron_id": [f"N{name}" for name in tracked.neuron_id],
    }
    again = track_neurons([replace(fields[0], known=table), *fields[1:]])
    assert again.neuron_id.tolist() == table["neuron_id"]


def test_decisions_of_the_user_always_win(three_days, tracked):
    fields, _ = three_days
    (a, b), *_ = sorted(found_pairs(tracked))
    counts = dict(zip(*np.unique(tracked.neuron_id, return_counts=True), strict=True))
    names = named(tracked)
    single = next(key for key in names if key[0] == "day_3" and counts[names[key]] == 1)
    other = next(key for key in names if key[0] == "day_1" and counts[names[key]] == 1)
    decisions = {
        "session_a": [a[0], single[0]],
        "component_a": [a[1], single[1]],
        "session_b": [b[0], other[0]],
        "component_b": [b[1], other[1]],
        "decision": ["different", "same"],
    }
    again = track_neurons([replace(fields[0], decisions=decisions), *fields[1:]])
    found = found_pairs(again)
    assert (a, b) not in found
    assert (other, single) in found
    assert len(found ^ found_pairs(tracked)) <= 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("day_1", 0, "day_2", 0, "same"), ("day_2", 0, "day_1", 0, "different")],
            "to be the same and different",
        ),
        ([("day_1", 0, "day_2", 0, "same"), ("day_1", 1, "day_2", 0, "same")], "two components of day_1"),
        ([("day_1", 99999, "day_2", 0, "same")], "no accepted component 99999 in day_1"),
    ],
)
def test_decisions_that_cannot_be_followed_are_named(three_days, rows, message):
    fields, _ = three_days
    names = ("session_a", "component_a", "session_b", "component_b", "decision")
    decisions = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    with pytest.raises(ValueError, match=message):
        track_neurons([replace(fields[0], decisions=decisions), *fields[1:2]])


def test_inverted_contrast_and_missing_images_do_not_matter(three_days):
    fields, truth = three_days
    blank = np.zeros(fields[0].shape, np.float32)
    inverted = [fields[0], replace(fields[1], mean=-fields[1].mean)]
    assert f1(true_pairs(fields[:2], truth[:2]), found_pairs(track_neurons(inverted))) > 0.96
    without = [replace(field, mean=blank, correlation=blank) for field in fields]
    assert f1(true_pairs(fields, truth), found_pairs(track_neurons(without))) > 0.96


def test_frames_of_another_size_and_pixels_of_another_size(three_days):
    """A session binned 2 x 2 and cut: the neurons are those of the whole one."""
    fields, truth = three_days
    whole = fields[1]
    height, width = 90, 100
    y, x = np.mgrid[: 2 * height, : 2 * width]
    rows = (y // 2 * width + x // 2).ravel()
    columns = ((y + 4) * whole.shape[1] + x + 6).ravel()
    bins = sp.csr_array(
        (np.full(len(rows), 0.25, np.float32), (rows, columns)), shape=(height * width, np.prod(whole.shape))
    )
    footprints = sp.csc_array(bins @ whole.footprints)
    keep = np.flatnonzero(np.asarray(footprints.sum(axis=0)).ravel() > 0.125 * np.asarray(whole.footprints.sum(axis=0)))
    binned = replace(
        whole,
        shape=(height, width),
        ids=whole.ids[keep],
        footprints=sp.csc_array(footprints[:, keep]),
        mean=(bins @ whole.mean.ravel()).reshape(height, width),
        correlation=(bins @ whole.correlation.ravel()).reshape(height, width),
        pixel_size_um=(2.4, 2.4),
    )
    sessions = [replace(fields[0], pixel_size_um=(1.2, 1.2)), binned]
    true = true_pairs(sessions, [truth[0], truth[1][keep]])
    assert f1(true, found_pairs(track_neurons(sessions))) > 0.95
    unknown = [replace(field, pixel_size_um=None) for field in sessions]
    assert f1(true, found_pairs(track_neurons(unknown))) > 0.95


def test_one_session_and_sessions_without_components_are_no_error(three_days):
    fields, _ = three_days
    alone = track_neurons(fields[:1])
    assert len(set(alone.neuron_id)) == fields[0].n_components
    pixels = fields[0].shape[0] * fields[0].shape[1]
    empty = replace(fields[1], ids=np.zeros(0, np.int64), footprints=sp.csc_array((pixels, 0), dtype=np.float32))
    for pair in ([fields[0], empty], [empty, fields[0]], [empty, replace(empty, session="again")]):
        assert len(track_neurons(pair).neuron_id) <= fields[0].n_components


def test_sessions_of_one_name_are_refused(three_days):
    with pytest.raises(ValueError, match="different names"):
        track_neurons([three_days[0][0], three_days[0][0]])
