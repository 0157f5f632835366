"""Warming up runs every step of the embedded engine."""

import pytest

from rsc2p_kedro.engines.warm_up import warm_up


@pytest.mark.slow
def test_every_step_has_components_to_work_on():
    assert warm_up() > 0
