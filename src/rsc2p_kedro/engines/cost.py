"""What a step of the work costs: wall time, CPU time and memory of this process and of those it starts."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil

Result = TypeVar("Result")
SAMPLE_INTERVAL_S = 0.2


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


def tree_memory(pid: int | None = None) -> int:
    """Memory of a process and of all its children.

    Args:
        pid: process id; None: this process.

    Returns:
        Sum of the unique set sizes in bytes: memory that would be free if these processes ended. Pages of files that
        the system merely caches do not count. Processes that end meanwhile count 0.
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
        self.peak = tree_memory()
        self.start()

    def run(self) -> None:
        """Takes a sample five times a second."""
        while not self._stopped.wait(SAMPLE_INTERVAL_S):
            self.peak = max(self.peak, tree_memory())

    def stop(self) -> int:
        """Ends sampling.

        Returns:
            The peak in bytes.
        """
        self._stopped.set()
        self.join()
        self.peak = max(self.peak, tree_memory())
        return self.peak


def _cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + children)


def measure(step: str, work: Callable[[], Result]) -> tuple[Result, StepCost]:
    """Does some work and measures what it costs.

    Args:
        step: name of the step.
        work: called once, without arguments.

    Returns:
        What `work` returned, and its cost.
    """
    memory_before, cpu_before = tree_memory(), _cpu_seconds()
    monitor, start = MemoryMonitor(), time.perf_counter()
    try:
        result = work()
    finally:
        seconds, peak = time.perf_counter() - start, monitor.stop()
    cpu = _cpu_seconds() - cpu_before
    return result, StepCost(step, seconds, cpu, (peak - memory_before) / 1e9)
