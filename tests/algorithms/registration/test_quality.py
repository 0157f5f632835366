import numpy as np
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import apply_motion, estimate_motion, motion_quality
from rsc2p_kedro.algorithms.registration.quality import bin_edges, crispness, residual_motion
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters

COMPUTE = Compute(threads=2, show_progress=False)


def test_correction_improves_all_figures():
    shifts = np.stack([2 * np.sin(np.arange(120) / 9), np.cos(np.arange(120) / 5)], 1)
    movie = reference.moving_movie(120, (96, 96), reference.rigid(shifts), photons=20)
    parameters = MotionCorrectionParameters(patch_stride_px=32, patch_overlap_px=16)
    motion = estimate_motion(movie, parameters, compute=COMPUTE)
    quality = motion_quality(movie, apply_motion(movie, motion, parameters), motion, compute=COMPUTE)
    assert all(better for *_, better in quality.rows())
    assert quality.residual_before > 0.5
    assert quality.residual_after < 0.1
    assert quality.registered_fraction == 1


def test_crispness_is_the_norm_of_the_gradient():
    y, x = np.mgrid[:10, :20].astype(float)
    assert np.isclose(crispness(3 * y + 4 * x), 5 * np.sqrt(200))


def test_bins_cover_all_frames_in_order():
    edges = bin_edges(1000)
    assert (edges[0], edges[-1], len(edges)) == (0, 1000, 257)
    assert (np.diff(edges) >= 3).all()
    np.testing.assert_array_equal(bin_edges(3), [0, 1, 2, 3])


def test_residual_motion_finds_the_drift():
    shifts = np.stack([np.linspace(-1, 1, 60), np.zeros(60)], 1)
    movie = reference.moving_movie(60, (96, 96), reference.rigid(shifts), photons=50).astype(np.float32)
    still = reference.moving_movie(60, (96, 96), reference.rigid(0 * shifts), photons=50).astype(np.float32)
    assert residual_motion(movie) > 0.5
    assert residual_motion(still) < 0.1
    assert residual_motion(still[:1]) == 0
