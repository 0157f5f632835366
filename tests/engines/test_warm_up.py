"""Warming up goes through every step of the engine."""

from rsc2p_kedro.engines.warm_up import warm_up


def test_every_step_has_something_to_work_on():
    assert warm_up() > 0
