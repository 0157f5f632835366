import numpy as np
import pytest

from rsc2p_kedro.algorithms.extraction import partition


@pytest.mark.parametrize(("shape", "core", "margin"), [((100, 70), 21, 10), ((10, 10), 64, 5), ((65, 64), 64, 0)])
def test_cores_of_blocks_cover_a_frame_once(shape, core, margin):
    covered = np.zeros(shape, int)
    for block in partition.spatial_blocks(shape, core, margin):
        covered[block.core_rows, block.core_columns] += 1
        inside = np.zeros(shape, bool)[block.rows, block.columns][block.core_within]
        assert inside.shape == covered[block.core_rows, block.core_columns].shape
    assert (covered == 1).all()


@pytest.mark.parametrize(("n_frames", "bin_frames"), [(1500, 3), (8, 1), (300, 7), (1000, 40), (5, 5)])
def test_segments_cover_time_in_whole_bins(n_frames, bin_frames):
    spans = partition.time_segments(n_frames, bin_frames)
    assert [t for span in spans for t in range(span.start, span.stop)] == list(range(n_frames))
    assert all((span.stop - span.start) % bin_frames == 0 for span in spans[:-1])
    assert all(span.stop - span.start >= bin_frames for span in spans)
