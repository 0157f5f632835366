"""CaImAn's conventions turned into ours, on frames that are not square."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from tests.engines.caiman import recorded

from rsc2p_kedro.engines.caiman import conversions as c

H, W, T = recorded.H, recorded.W, recorded.T


def components(**options):
    found = recorded.estimates(**options)
    return found, c.components_from_caiman(
        found, (H, W), offset=recorded.OFFSET, neuron_half_width_px=4, provenance={"engine": "caiman"}
    )


def test_pixels_find_their_places_in_either_order():
    image = np.arange(H * W).reshape(H, W)
    in_f = c.to_f_order(image.reshape(-1, 1), (H, W)).ravel()
    np.testing.assert_array_equal(in_f, image.ravel(order="F"))
    np.testing.assert_array_equal(c.from_f_order(in_f, (H, W)), image.ravel())
    dense = np.random.default_rng(1).random((H * W, 3))
    np.testing.assert_array_equal(c.from_f_order(sp.csr_array(dense), (H, W)).toarray(), c.from_f_order(dense, (H, W)))


def test_footprints_lie_where_caiman_has_them():
    _, record = components()
    images = record.footprints.toarray().T.reshape(2, H, W)
    assert images[0, 1, 2] == pytest.approx(0.6)
    assert images[0, 1, 3] == pytest.approx(0.8)
    assert np.argwhere(images[1]).tolist() == [[4, 7]]


@pytest.mark.parametrize("baseline", [2.0, -3.0])
def test_the_whole_movie_is_explained_with_baselines_and_offset_in_the_background(baseline):
    found, record = components(baseline=baseline)
    ours = record.footprints @ record.traces + record.background_footprints @ record.background_traces
    np.testing.assert_allclose(ours.T.reshape(T, H, W), recorded.movie_of(found), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(record.baseline, found["bl"])


def test_noisy_traces_are_those_of_caiman_without_the_baseline():
    found, record = components()
    noisy = found["C"] + found["YrA"] - found["bl"][:, None]
    np.testing.assert_allclose(record.traces + record.residual_traces, noisy, atol=1e-5)
    np.testing.assert_array_equal(record.pixel_noise, found["sn"].reshape(W, H).T)


def test_scales_and_components_without_pixels():
    found = recorded.estimates()
    whole, A = components()[1], c.sparse_of("A", found, H * W)
    empty_first = sp.csc_array(sp.hstack([sp.csc_array((H * W, 1)), A * 2]))
    longer = {name: np.concatenate([value[:1], value]) for name, value in found.items() if len(value) == 2}
    scaled = {name: longer[name] / 2 for name in ("C", "S", "YrA", "bl", "neurons_sn", "lam")} | {"f": found["f"]}
    kept = c.components_from_caiman(
        found | longer | scaled | c.sparse_parts("A", empty_first),
        (H, W),
        offset=recorded.OFFSET,
        neuron_half_width_px=4,
        provenance={},
        ids=np.array([7, 8, 9]),
    )
    assert kept.ids.tolist() == [8, 9]
    np.testing.assert_allclose(kept.traces, whole.traces, rtol=1e-5)
    np.testing.assert_allclose(kept.footprints.toarray(), whole.footprints.toarray(), rtol=1e-6)


def test_there_and_back_again():
    found, record = components()
    back = c.components_to_caiman(record)
    for name in sorted(set(found) - {"c1"}):
        np.testing.assert_allclose(back[name], found[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_all_background_of_another_engine_is_handed_over():
    _, record = components()
    other = dataclasses.replace(record, n_fitted_background=None)
    back = c.components_to_caiman(other)
    assert back["b"].shape == (H * W, 3)
    np.testing.assert_allclose(back["C"], record.traces)


def test_patch_shifts_keep_sign_and_order():
    motion = c.motion_from_caiman(recorded.shifts(), {})
    assert motion.patch_centres.tolist() == [[1, 2], [1, 6], [2.5, 2], [2.5, 6], [4, 2], [4, 6]]
    np.testing.assert_allclose(motion.patch_shifts[3, :, 0], [0.1, 0.1, 0.2, 0.2, 0.3, 0.3], rtol=1e-6)
    np.testing.assert_allclose(motion.patch_shifts[3, :, 1], [-0.01, -0.02] * 3, rtol=1e-6)
    np.testing.assert_allclose(motion.shifts[5], [0.5, -0.25])
    back = c.motion_to_caiman(motion, slice(2, 5))
    np.testing.assert_allclose(back["x_shifts_els"], recorded.shifts()["x_shifts_els"][2:5], rtol=1e-6)
    assert back["shifts_rig"].shape == (3, 2)


def test_rigid_shifts_come_without_patches():
    motion = c.motion_from_caiman(recorded.shifts(piecewise=False), {})
    assert not motion.piecewise
    assert set(c.motion_to_caiman(motion, slice(0, 2))) == {"shifts_rig"}


def test_pixels_that_a_shift_leaves_without_source_are_not_valid():
    seen = c.seen_mask((5, 6), np.array([[1.5, 0.0], [0.0, -1.0]]))
    assert np.argwhere(seen).min(axis=0).tolist() == [2, 0]
    assert np.argwhere(seen).max(axis=0).tolist() == [4, 4]
    assert c.seen_mask((5, 6), np.zeros((3, 2))).all()


def test_missing_values_at_the_borders_of_a_template_become_invalid_pixels():
    found = recorded.shifts()
    found["template"][0] = np.nan
    motion = c.motion_from_caiman(found, {})
    assert np.isfinite(motion.template).all()
    assert not motion.valid_mask[0].any()


def test_seeds_become_masks_in_f_order():
    discs = c.seed_masks(np.array([[2.0, 5.0]]), (H, W), 1)
    image = discs[:, 0].reshape(W, H).T
    assert image[2, 5]
    assert image.sum() == 9
    given = np.zeros((1, H, W), bool)
    given[0, 1, 7] = True
    assert np.flatnonzero(c.seed_masks(given, (H, W), 4)[:, 0]).tolist() == [recorded.f_number(1, 7)]


def test_lineage_follows_footprints_through_reordering_merging_and_loss():
    _, base = components()
    footprints = np.zeros((H * W, 4), np.float32)
    for j, pixels in enumerate(([0, 1], [1, 2], [20, 21], [40, 41])):
        footprints[pixels, j] = np.sqrt(0.5)
    traces = np.repeat(base.traces[:1], 4, axis=0)
    traces[3] = base.traces[1]
    four = {n: np.ones(4, np.float32) for n in ("baseline", "noise", "lam")}
    earlier = dataclasses.replace(
        base, ids=np.array([10, 11, 12, 13]), footprints=sp.csc_array(footprints), traces=traces, spikes=traces,
        residual_traces=traces, ar_coefficients=np.ones((4, 1), np.float32), **four,
    )  # fmt: skip
    merged = footprints[:, :1] + footprints[:, 1:2]
    later_footprints = np.concatenate([footprints[:, 3:], merged / np.linalg.norm(merged)], axis=1)
    later = dataclasses.replace(earlier.select(np.array([3, 0])), footprints=sp.csc_array(later_footprints))
    ids, lineage = c.trace_lineage(earlier, later)
    events = {entry.component_id: entry for entry in lineage}
    survivor = int(ids[1])
    assert ids[0] == 13
    assert survivor in (10, 11)
    assert events[13].event == "kept"
    assert events[survivor].event == "merged"
    assert set(events[survivor].parents) == {10, 11}
    assert events[21 - survivor].event == "removed"
    assert f"merged into {survivor}" in events[21 - survivor].reason
    assert events[12].event == "removed"
