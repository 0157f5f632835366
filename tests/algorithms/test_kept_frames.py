"""Excluded frames are interpolated or zero; what is kept stays as it is."""

import dask.array as da
import numpy as np
from tests.nwb.example import T, components, motion, results

from rsc2p_kedro.algorithms import kept_frames as kf

KEPT = ~np.isin(np.arange(T), [0, 5, 6, T - 1])


def test_everything_kept_is_returned_as_it_is():
    everything = np.ones(T, bool)
    movie = da.zeros((T, 4, 4))
    assert kf.take_frames(movie, everything) is movie
    for make, take, extend in (
        (components, kf.take_components, kf.extend_components),
        (motion, None, kf.extend_motion),
    ):
        record = make()
        assert extend(record, everything) is record
        assert take is None or take(record, everything) is record
    assert kf.extend_dff(results().dff, everything) is not None


def test_interpolation_is_linear_between_and_constant_at_the_ends():
    kept = np.array([0, 1, 1, 0, 0, 1, 0], bool)
    full = kf.interpolate(np.array([[1.0, 2.0, 5.0]], np.float32), kept)
    np.testing.assert_array_equal(full, [[1, 1, 2, 3, 4, 5, 5]])
    assert full.dtype == np.float32
    np.testing.assert_array_equal(kf.insert_zeros(np.array([3, 4, 5]), kept), [0, 3, 4, 0, 0, 5, 0])


def test_taken_frames_are_those_that_are_kept():
    movie = np.random.default_rng(0).integers(0, 9, (T, 5, 6))
    taken = kf.take_frames(da.from_array(movie, chunks=(16, -1, -1)), KEPT)
    np.testing.assert_array_equal(taken.compute(), movie[KEPT])


def test_components_survive_being_taken_and_extended():
    whole = components()
    again = kf.extend_components(kf.take_components(whole, KEPT), KEPT)
    for name in ("traces", "residual_traces", "background_traces", "spikes"):
        np.testing.assert_array_equal(getattr(again, name)[:, KEPT], getattr(whole, name)[:, KEPT])
    assert not again.spikes[:, ~KEPT].any()
    np.testing.assert_allclose(again.traces[:, 5], (2 * whole.traces[:, 4] + whole.traces[:, 7]) / 3, rtol=1e-5)


def test_motion_is_interpolated_and_not_registered():
    whole = motion()
    part = type(whole)(
        **{
            **vars(whole),
            **{n: getattr(whole, n)[KEPT] for n in ("shifts", "patch_shifts", "peak_quality", "registered")},
        }
    )
    again = kf.extend_motion(part, KEPT)
    np.testing.assert_array_equal(again.shifts[KEPT], whole.shifts[KEPT])
    np.testing.assert_array_equal(again.patch_shifts[KEPT], whole.patch_shifts[KEPT])
    np.testing.assert_array_equal(again.registered, KEPT & whole.registered)
    np.testing.assert_allclose(again.patch_shifts[0], whole.patch_shifts[1])


def test_joined_dff_is_that_of_the_parts():
    dff = results().dff
    parts = [type(dff)(dff.dff[:, s], dff.f0[:, s], dff.guarded, 3.0) for s in (slice(0, 40), slice(40, None))]
    joined = kf.join_dff(parts)
    np.testing.assert_array_equal(joined.dff, dff.dff)
    np.testing.assert_array_equal(joined.guarded, dff.guarded)
    assert joined.dark_level == 3
