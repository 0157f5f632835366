"""Ctrl-C while a library writes that cannot be interrupted.

Python raises `KeyboardInterrupt` between any two of its instructions, so also in the functions that HDF5 calls to write
to a file. HDF5 then holds a file that it cannot close, and the process often ends with a segmentation fault.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_interrupts() -> Iterator[Callable[[], None]]:
    """Holds ctrl-C back until the end of the block, or until the block asks for it.

    Only the main thread receives ctrl-C, so elsewhere nothing is held back.

    Yields:
        A function for places where the block can be left; it raises `KeyboardInterrupt` if ctrl-C was pressed.
    """
    pressed = threading.Event()

    def check() -> None:
        if pressed.is_set():
            pressed.clear()
            raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is None:  # None: not set by Python
        yield check
        return
    signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed.is_set():
            signal.raise_signal(signal.SIGINT)
