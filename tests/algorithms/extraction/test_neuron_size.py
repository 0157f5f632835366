"""The size of neurons is measured from movies whose neurons have a known size."""

import logging

import numpy as np
import pytest
from scipy.special import expit

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.algorithms.extraction.neuron_size import (
    FALLBACK_HALF_WIDTH_PX,
    half_width_of_movie,
    measure_half_width,
    set_half_width,
)
from rsc2p_kedro.algorithms.extraction.state import prepare
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters

ACQUISITION = Acquisition(frame_rate_hz=10, decay_time_s=0.5)
COMPUTE = Compute(threads=2, show_progress=False)
N_FRAMES = 300


def somata_and_spots(radius, seed=3):
    """Movie (T, H, W) of somata of one radius on a grid, with three times as many bright spots of 1 px between them."""
    rng = np.random.default_rng(seed)
    step = round(5 * radius)
    side = 4 * step
    y, x = np.mgrid[:side, :side]
    movie = rng.normal(100, 6, (N_FRAMES, side, side))
    centres = [(step * (i + 0.5), step * (j + 0.5)) for i in range(4) for j in range(4)]
    spots = rng.uniform(2, side - 2, (3 * len(centres), 2))
    for (cy, cx), size, height in [(c, radius, 25) for c in centres] + [(c, 1.0, 30) for c in spots]:
        image = expit((size - np.hypot(y - cy, x - cx)) / 0.5)
        trace = np.convolve(rng.random(N_FRAMES) < 0.03, np.exp(-np.arange(30) / 5))[:N_FRAMES]
        movie += height * trace[:, None, None] * image
    return movie.astype(np.float32)


def inputs_of(movie, **parameters):
    return prepare(movie, ACQUISITION, ExtractionParameters(**parameters), COMPUTE, None)


@pytest.mark.parametrize("radius", [3, 4, 6, 9, 14])
def test_the_size_of_somata_is_measured_among_many_spots(radius):
    assert measure_half_width(inputs_of(somata_and_spots(radius))) == pytest.approx(radius, rel=0.2)


def test_a_wrong_size_is_replaced_by_the_measured_one_with_a_warning(caplog):
    movie = somata_and_spots(6)
    measured = measure_half_width(inputs_of(movie))
    assert set_half_width(inputs_of(movie, neuron_half_width_px=9)).half_width_px == measured
    assert "neuron_half_width_px is 9.0 px" in caplog.text
    caplog.clear()
    assert set_half_width(inputs_of(movie, neuron_half_width_px=5.5)).half_width_px == 5.5
    assert set_half_width(inputs_of(movie, neuron_half_width_px=2)).half_width_px == 2  # beyond a factor of 2
    assert set_half_width(inputs_of(movie, neuron_half_width_px=15)).half_width_px == 15
    assert set_half_width(inputs_of(movie, neuron_half_width_px=2, initialization="greedy_roi")).half_width_px == 2


def test_without_neurons_the_fallback_is_used_and_said(caplog):
    caplog.set_level(logging.WARNING)
    noise = np.random.default_rng(0).normal(100, 5, (200, 48, 48)).astype(np.float32)
    assert measure_half_width(inputs_of(noise)) is None
    assert half_width_of_movie(noise, ACQUISITION, ExtractionParameters(), compute=COMPUTE) == FALLBACK_HALF_WIDTH_PX
    assert "No neuron was strong enough" in caplog.text


def test_fit_records_the_size_and_refit_keeps_it():
    movie = somata_and_spots(6)
    fit = extraction.fit(movie, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    refit = extraction.refit(movie, fit, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    assert fit.neuron_half_width_px == refit.neuron_half_width_px == measure_half_width(inputs_of(movie))
