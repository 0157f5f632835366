import numpy as np
import pytest

from rsc2p_kedro.algorithms.extraction import candidates, fit, partition
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters


def test_candidates_without_a_pixel_are_left_out():
    """They made the joint least squares singular: a bin at the edge of the mask may hold no pixel inside of it."""
    grid = partition.spatial_blocks((6, 8), 8, 0)
    footprints = np.zeros((3, 6, 8), np.float32)
    footprints[0, 1, 2], footprints[2, 5, 7] = 2, 3
    A, C = candidates._stitch([(footprints, np.arange(12.0).reshape(3, 4))], grid, (6, 8))
    assert A.shape == (48, 2)
    assert A.data.tolist() == [2, 3]
    np.testing.assert_array_equal(C, [[0, 1, 2, 3], [8, 9, 10, 11]])


@pytest.mark.parametrize("initialization", ["adaptive", "greedy_roi"])
def test_downsampled_detection_in_a_mask_with_ragged_edge_gives_finite_results(initialization):
    rng = np.random.default_rng(0)
    mask = np.ones((40, 52), bool)
    mask[:7], mask[:, -5:], mask[30:33, 11] = False, False, False
    parameters = ExtractionParameters(initialization=initialization, spatial_downsampling=2, neuron_half_width_px=7)
    movie = rng.poisson(20, (120, *mask.shape)).astype(np.uint16)
    components = fit(
        movie, Acquisition(frame_rate_hz=15), parameters, compute=Compute(show_progress=False), valid_mask=mask
    )
    assert np.isfinite(components.traces).all()
    assert np.isfinite(components.background_traces).all()
    assert not components.footprints[~mask.ravel()].nnz
