"""Ctrl-C waits for a place where writing can be left."""

import signal
import threading

import pytest

from rsc2p_kedro.nwb.interrupts import held_interrupts


def test_interrupt_comes_at_the_end_of_the_block():
    done = []

    def block() -> None:
        with held_interrupts():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["the rest of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_comes_where_the_block_asks_for_it():
    def block() -> None:
        with held_interrupts() as check:
            check()
            signal.raise_signal(signal.SIGINT)
            check()
            raise AssertionError("not left")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_of_the_caller_gets_what_was_held_back():
    received = []
    previous = signal.signal(signal.SIGINT, lambda *_: received.append("ctrl-C"))
    try:
        with held_interrupts():
            signal.raise_signal(signal.SIGINT)
            assert received == []
        assert received == ["ctrl-C"]
    finally:
        signal.signal(signal.SIGINT, previous)


def test_other_threads_leave_signals_alone():
    handlers = []

    def work() -> None:
        with held_interrupts() as check:
            check()
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
