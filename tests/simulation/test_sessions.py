"""Later sessions of a simulated field of view show the same neurons, displaced and partly exchanged."""

import numpy as np
import pytest

from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation import sessions
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SessionChange, SimulationSettings

ACQUISITION = Acquisition(frame_rate_hz=15, decay_time_s=0.4)
FIRST = SimulationSettings(seed=2, n_frames=32, height_px=100, width_px=120, n_neurons=20)


def again(**change: object) -> SimulationSettings:
    return FIRST.model_copy(update={"session": SessionChange.model_validate({"seed": 4, **change})})


def test_without_a_change_the_anatomy_is_that_of_the_first_session_and_the_activity_is_not():
    first, second = simulate(FIRST, ACQUISITION).truth, simulate(again(), ACQUISITION).truth
    assert abs(first.footprints - second.footprints).max() < 1e-5
    assert not np.allclose(first.traces, second.traces)
    assert second.neurons.tolist() == list(range(20))
    assert first.neurons is None


def test_neurons_are_displaced_as_asked():
    first, second = simulate(FIRST, ACQUISITION).truth, simulate(again(shift_px=[5.0, -7.0]), ACQUISITION).truth
    before, after = centres(first.footprints, first.shape), centres(second.footprints, second.shape)
    whole = ((before > 16) & (before < [84, 104])).all(axis=1)
    assert whole.sum() > 5
    np.testing.assert_allclose(after[whole] - before[whole], np.tile([5, -7], (whole.sum(), 1)), atol=0.2)


def test_the_warp_is_as_large_as_asked_and_smooth():
    change = SessionChange(warp_px=3.0)
    canvas = sessions.anatomy.Canvas(100, 120, 10)
    plain = np.mgrid[:120, :140]
    warp = sessions.seen_places(change, canvas) - plain
    assert np.abs(warp).max() == pytest.approx(3.0)
    assert np.abs(np.diff(warp, axis=1)).max() < 0.3


@pytest.mark.parametrize("turnover", [0.2, 0.5])
def test_as_many_neurons_are_exchanged_as_asked(turnover):
    seen = sessions.draw_presence(SessionChange(seed=7, turnover=turnover), 20)
    assert (seen < 20).sum() == round(20 * (1 - turnover))
    assert len(set(seen.tolist())) == 20


def test_only_smooth_tissue_has_later_sessions():
    with pytest.raises(ValueError, match="needs `tissue: smooth`"):
        simulate(again().model_copy(update={"tissue": "processes"}), ACQUISITION)
