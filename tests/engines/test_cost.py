"""Measured cost of a step: time, CPU time and memory."""

import sys
import time

import numpy as np
import pytest

from rsc2p_kedro.engines.cost import measure, process_tree_memory


def test_peak_memory_counts_new_memory_only():
    before = np.ones(10_000_000)

    def work() -> float:
        block = np.ones(30_000_000)
        time.sleep(0.5)
        return float(block[0] + before[0])

    result, cost = measure("work", work)
    assert (result, cost.step) == (2.0, "work")
    assert 0.9 * 0.24 < cost.peak_memory_gb < 0.24 + 0.05
    assert 0.5 < cost.seconds < 10
    assert process_tree_memory() > before.nbytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can return freed memory")
def test_memory_that_an_earlier_step_has_freed_counts_again():
    kept = []  # a block at the end of the heap, without which glibc returns all that was freed by itself

    def work() -> None:
        blocks = [np.ones(10_000) for _ in range(1000)]
        kept.append(np.ones(10_000))
        time.sleep(0.3)
        blocks.clear()

    peaks = [measure("work", work)[1].peak_memory_gb for _ in range(3)]
    assert min(peaks) > 0.9 * 0.08


def test_waiting_takes_no_cpu_time():
    _, cost = measure("sleep", lambda: time.sleep(0.4))
    assert cost.cpu_seconds < cost.seconds


def test_a_step_that_fails_raises_its_own_error():
    with pytest.raises(ZeroDivisionError):
        measure("fail", lambda: 1 / 0)
