"""What a cluster costs by itself: the small version of `python -m benchmarks.cluster_scale`."""

import pytest
from benchmarks.cluster_scale import measure

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_client_and_scheduler_need_no_more_memory_with_each_recording():
    cost = measure(n_recordings=120, n_workers=2, seconds=0.05)
    assert cost.memory_gb[120] - cost.memory_gb[100] < 0.04, "2 MB a recording would be no scheduler but a leak"
