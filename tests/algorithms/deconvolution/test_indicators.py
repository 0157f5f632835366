"""The delay of fluorescence follows from the name of the indicator."""

import numpy as np
import pytest

from rsc2p_kedro.algorithms.deconvolution import infer_spikes
from rsc2p_kedro.algorithms.deconvolution.indicators import GCAMP_DELAY, usual_delay
from rsc2p_kedro.core.parameters import Acquisition


@pytest.mark.parametrize("name", ["GCaMP6f", "jGCaMP8m", "GCaMP5k", "XCaMP-Gf", "YC3.60", None, ""])
def test_genetic_indicators_and_unknown_ones_have_the_delay_of_gcamp(name):
    assert usual_delay(name) == GCAMP_DELAY


@pytest.mark.parametrize(
    "name",
    ["OGB-1", "Oregon Green BAPTA-1", "Cal-520", "cal520 AM", "Fluo-4", "Rhod-2", "jRGECO1a", "jRCaMP1b", "R-CaMP2"],
)
def test_dyes_and_red_indicators_rise_at_once(name):
    assert usual_delay(name) == 0


def test_spikes_of_an_indicator_that_rises_at_once_come_back_in_their_frames():
    acquisition = Acquisition(frame_rate_hz=30.0, decay_time_s=1.0)
    rng, spikes = np.random.default_rng(3), np.zeros(3000)
    spikes[rng.choice(np.arange(50, 2950), 60, replace=False)] = 1
    kernel = np.exp(-np.arange(300) / acquisition.decay_time_frames)
    trace = np.convolve(spikes, kernel)[:3000] + 0.15 * rng.standard_normal(3000)

    def agreement(delay):
        rates = infer_spikes(trace[None].astype(np.float32), acquisition, delay=delay).rates[0]
        return np.corrcoef(rates, spikes)[0, 1]

    assert agreement(usual_delay("Cal-520")) > agreement(usual_delay("GCaMP6f")) + 0.1
