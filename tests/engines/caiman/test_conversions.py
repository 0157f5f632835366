"""Conversion between CaImAn's conventions and those of this project, on frames that are not square."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
from tests.engines.caiman import recorded

from rsc2p_kedro.engines.caiman import conversions as c

H, W, T = recorded.H, recorded.W, recorded.T


def components(**options):
    arrays = recorded.estimates(**options)
    return arrays, c.components_from_caiman(
        arrays, (H, W), offset=recorded.OFFSET, neuron_half_width_px=4, provenance={"engine": "caiman"}
    )


def test_pixels_are_sorted_between_f_and_c_order():
    image = np.arange(H * W).reshape(H, W)
    in_f = c.c_to_f_order(image.reshape(-1, 1), (H, W)).ravel()
    np.testing.assert_array_equal(in_f, image.ravel(order="F"))
    np.testing.assert_array_equal(c.f_to_c_order(in_f, (H, W)), image.ravel())
    dense = np.random.default_rng(1).random((H * W, 3))
    np.testing.assert_array_equal(c.f_to_c_order(sp.csr_array(dense), (H, W)).toarray(), c.f_to_c_order(dense, (H, W)))


def test_footprints_keep_their_positions():
    _, record = components()
    images = record.footprints.toarray().T.reshape(2, H, W)
    assert images[0, 1, 2] == pytest.approx(0.6)
    assert images[0, 1, 3] == pytest.approx(0.8)
    assert np.argwhere(images[1]).tolist() == [[4, 7]]


@pytest.mark.parametrize("baseline", [2.0, -3.0])
def test_components_and_background_sum_to_the_movie_with_baselines_and_offset(baseline):
    arrays, record = components(baseline=baseline)
    ours = record.footprints @ record.traces + record.background_footprints @ record.background_traces
    np.testing.assert_allclose(ours.T.reshape(T, H, W), recorded.movie_of(arrays), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(record.baseline, arrays["bl"])


def test_noisy_traces_equal_caimans_without_the_baseline():
    arrays, record = components()
    noisy = arrays["C"] + arrays["YrA"] - arrays["bl"][:, None]
    np.testing.assert_allclose(record.traces + record.residual_traces, noisy, atol=1e-5)
    np.testing.assert_array_equal(record.pixel_noise, arrays["sn"].reshape(W, H).T)


def test_footprints_are_normalized_and_components_without_pixels_dropped():
    arrays = recorded.estimates()
    whole, A = components()[1], c.sparse_from_arrays("A", arrays, H * W)
    empty_first = sp.csc_array(sp.hstack([sp.csc_array((H * W, 1)), A * 2]))
    longer = {name: np.concatenate([value[:1], value]) for name, value in arrays.items() if len(value) == 2}
    scaled = {name: longer[name] / 2 for name in ("C", "S", "YrA", "bl", "neurons_sn", "lam")} | {"f": arrays["f"]}
    kept = c.components_from_caiman(
        arrays | longer | scaled | c.sparse_to_arrays("A", empty_first),
        (H, W),
        offset=recorded.OFFSET,
        neuron_half_width_px=4,
        provenance={},
    )
    assert kept.ids.tolist() == [0, 1]
    np.testing.assert_allclose(kept.traces, whole.traces, rtol=1e-5)
    np.testing.assert_allclose(kept.footprints.toarray(), whole.footprints.toarray(), rtol=1e-6)


def test_estimates_survive_a_round_trip():
    arrays, record = components()
    back = c.components_to_caiman(record)
    for name in sorted(set(arrays) - {"c1"}):
        np.testing.assert_allclose(back[name], arrays[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("n_fitted_background", [None, 3])
def test_all_fitted_background_of_another_engine_is_passed_on(n_fitted_background):
    _, record = components()
    other = dataclasses.replace(record, n_fitted_background=n_fitted_background)
    back = c.components_to_caiman(other)
    assert back["b"].shape == (H * W, 3)
    assert not back["bl"].any()
    np.testing.assert_allclose(back["C"], record.traces)


def test_size_of_neurons_and_number_of_fitted_background_components_are_recorded():
    arrays, record = components()
    assert record.neuron_half_width_px == 4
    assert record.n_fitted_background == len(arrays["f"]) == 2
    assert len(record.background_traces) == 3  # the last one holds offset and baselines


def test_patch_shifts_keep_sign_and_order():
    motion = c.motion_from_caiman(recorded.shifts(), {})
    assert motion.patch_centres.tolist() == [[1, 2], [1, 6], [2.5, 2], [2.5, 6], [4, 2], [4, 6]]
    np.testing.assert_allclose(motion.patch_shifts[3, :, 0], [0.1, 0.1, 0.2, 0.2, 0.3, 0.3], rtol=1e-6)
    np.testing.assert_allclose(motion.patch_shifts[3, :, 1], [-0.01, -0.02] * 3, rtol=1e-6)
    np.testing.assert_allclose(motion.shifts[5], [0.5, -0.25])
    back = c.motion_to_caiman(motion, slice(2, 5))
    np.testing.assert_allclose(back["x_shifts_els"], recorded.shifts()["x_shifts_els"][2:5], rtol=1e-6)
    assert back["shifts_rig"].shape == (3, 2)


def test_rigid_motion_has_no_patches():
    motion = c.motion_from_caiman(recorded.shifts(piecewise=False), {})
    assert not motion.piecewise
    assert set(c.motion_to_caiman(motion, slice(0, 2))) == {"shifts_rig"}


def test_pixels_whose_source_lies_beyond_the_frame_are_invalid():
    valid = c.valid_mask_of_shifts((5, 6), np.array([[1.5, 0.0], [0.0, -1.0]]))
    assert np.argwhere(valid).min(axis=0).tolist() == [2, 0]
    assert np.argwhere(valid).max(axis=0).tolist() == [4, 4]
    assert c.valid_mask_of_shifts((5, 6), np.zeros((3, 2))).all()


def test_missing_pixels_of_the_template_are_invalid():
    arrays = recorded.shifts()
    arrays["template"][0] = np.nan
    motion = c.motion_from_caiman(arrays, {})
    assert np.isfinite(motion.template).all()
    assert not motion.valid_mask[0].any()


def test_seeds_are_converted_to_masks_in_f_order():
    discs = c.seed_masks(np.array([[2.0, 5.0]]), (H, W), 1)
    image = discs[:, 0].reshape(W, H).T
    assert image[2, 5]
    assert image.sum() == 9
    given = np.zeros((1, H, W), bool)
    given[0, 1, 7] = True
    assert np.flatnonzero(c.seed_masks(given, (H, W), 4)[:, 0]).tolist() == [recorded.f_index(1, 7)]


def test_lineage_of_reordered_merged_and_removed_components():
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
    ids, lineage = c.lineage_by_similarity(earlier, later)
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
