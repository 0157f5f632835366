"""The embedded engine passes its arguments on."""

import numpy as np
from tests.reference import registration as reference

from rsc2p_kedro.algorithms.registration import estimate_motion
from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters
from rsc2p_kedro.engines.embedded import EmbeddedEngine


def test_motion_correction_scales_with_the_neurons():
    shifts = 2 * np.sin(np.arange(80) / [[7], [11]]).T
    movie = reference.moving_movie(80, (96, 96), reference.rigid(shifts), photons=20)
    compute = Compute(threads=2, show_progress=False)
    parameters = MotionCorrectionParameters(patch_stride_px=32, patch_overlap_px=16)
    expected = estimate_motion(movie, parameters, compute=compute, neuron_half_width_px=12)
    motion = EmbeddedEngine().correct_motion(movie, parameters, compute=compute, neuron_half_width_px=12)
    default = EmbeddedEngine().correct_motion(movie, parameters, compute=compute)
    np.testing.assert_array_equal(motion.patch_shifts, expected.patch_shifts)
    assert (default.patch_shifts != expected.patch_shifts).any()
    assert (motion.patch_stride_px, motion.patch_overlap_px) == (32, 16)
