"""What is taken is measured: time, work and memory."""

import time

import numpy as np
import pytest

from rsc2p_kedro.engines.cost import measure, tree_memory


def test_memory_that_is_taken_is_measured_and_memory_from_before_is_not():
    before = np.ones(10_000_000)

    def work() -> float:
        block = np.ones(30_000_000)
        time.sleep(0.5)
        return float(block[0] + before[0])

    result, cost = measure("work", work)
    assert (result, cost.step) == (2.0, "work")
    assert 0.9 * 0.24 < cost.peak_memory_gb < 0.24 + 0.05
    assert 0.5 < cost.seconds < 10
    assert tree_memory() > before.nbytes


def test_waiting_is_no_work():
    _, cost = measure("sleep", lambda: time.sleep(0.4))
    assert cost.cpu_seconds < cost.seconds


def test_a_step_that_fails_raises_its_own_error():
    with pytest.raises(ZeroDivisionError):
        measure("fail", lambda: 1 / 0)
