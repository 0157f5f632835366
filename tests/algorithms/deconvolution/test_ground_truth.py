"""Spikes of real neurons, where the recordings are at hand; the whole comparison is `benchmarks/spike_inference.py`."""

import numpy as np
import pytest
from benchmarks import spike_inference as benchmark

FILES = sorted(benchmark.DATA.glob("*.npz"))


def test_frames_hold_the_mean_of_their_samples_and_the_number_of_their_spikes() -> None:
    times = 0.05 + 0.1 * np.arange(20)
    values, spikes = benchmark.resample(np.arange(20.0), times, np.array([0.1, 0.3, 0.41, 1.99]), 5.0)
    np.testing.assert_allclose(values, np.arange(20.0).reshape(10, 2).mean(axis=1))
    assert spikes[:3].tolist() == [1, 1, 1]
    assert spikes.sum() == 4


@pytest.mark.skipif(not FILES, reason=f"no recordings with known spikes in {benchmark.DATA}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_inferred_spikes_follow_true_ones_better_than_the_most_probable_do(path) -> None:
    traces = benchmark.load(path, (15.0,))[:12]
    scores = benchmark.score_all(traces, None)
    lines, lead = benchmark.table(traces, scores)
    assert (np.median(scores["ours"], axis=0) > np.median(scores["ours, CNMF"], axis=0)).all()
    assert np.median(scores["ours"], axis=0)[2] > 0.8
    assert lead > 0
    assert len(lines) == 2 + len(scores)
