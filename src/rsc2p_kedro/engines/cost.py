"""Cost of a processing step: wall time, CPU time and memory of this process and of its child processes."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil

Result = TypeVar("Result")
SAMPLE_INTERVAL_S = 0.2
"""Time between two samples of memory in s; short compared with most steps of a run. Not tuned."""


@dataclass(frozen=True)
class StepCost:
    """Cost of one step.

    Attributes:
        step: name of the step.
        seconds: wall time.
        cpu_seconds: CPU time of this process and of all processes that ended during the step, their start included.
            Unlike wall time, it does not grow when other programs use the machine.
        peak_memory_gb: most memory (unique set size) that this process and its children held at once, above what they
            held when the step began.
    """

    step: str
    seconds: float
    cpu_seconds: float
    peak_memory_gb: float


def process_tree_memory(pid: int | None = None) -> int:
    """Measures the memory of a process and of all its child processes.

    Args:
        pid: process id. None measures this process.

    Returns:
        Sum of the unique set sizes in bytes: the memory that would be freed if these processes ended. File pages that
        the system merely caches do not count; a process that ends during the call counts 0.
    """
    root = psutil.Process(pid)
    total = 0
    for process in (root, *root.children(recursive=True)):
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total


class MemoryMonitor(threading.Thread):
    """Samples the memory of this process and its children until it is stopped.

    Attributes:
        peak: highest sample so far, in bytes.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._stopped = threading.Event()
        self.peak = process_tree_memory()
        self.start()

    def run(self) -> None:
        """Takes a sample every `SAMPLE_INTERVAL_S` until :meth:`stop` is called."""
        while not self._stopped.wait(SAMPLE_INTERVAL_S):
            self.peak = max(self.peak, process_tree_memory())

    def stop(self) -> int:
        """Stops sampling.

        Returns:
            The highest sample in bytes.
        """
        self._stopped.set()
        self.join()
        self.peak = max(self.peak, process_tree_memory())
        return self.peak


def _release_free_memory() -> None:
    """Returns freed memory to the operating system, where the C library can (glibc).

    What the allocator keeps after one step would hide the memory of the next one: the fit of 750 x 128 x 128 by the
    embedded engine, run twice, took 0.07 GB and then 0.00 GB without this, and 0.04 GB each time with it.
    """
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _cpu_seconds() -> float:
    """CPU time in s of this process and of its ended child processes (which Windows does not report)."""
    times = psutil.Process().cpu_times()
    children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + children)


def measure(step: str, work: Callable[[], Result]) -> tuple[Result, StepCost]:
    """Runs a step and measures its cost.

    Args:
        step: name of the step.
        work: the step, called once without arguments.

    Returns:
        The value returned by `work`, and the cost of the call.
    """
    _release_free_memory()
    memory_before, cpu_before = process_tree_memory(), _cpu_seconds()
    monitor, start = MemoryMonitor(), time.perf_counter()
    try:
        result = work()
    finally:
        seconds, peak = time.perf_counter() - start, monitor.stop()
    cpu = _cpu_seconds() - cpu_before
    return result, StepCost(step, seconds, cpu, (peak - memory_before) / 1e9)
