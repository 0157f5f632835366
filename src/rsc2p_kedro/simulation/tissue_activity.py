"""Time courses of simulated tissue: somata of different activity, processes, diffuse neuropil and motion in depth.

Shares and strengths were chosen by eye to resemble GCaMP recordings of mouse cortex; they were not fitted to data,
except where a docstring says so.
"""

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.activity import (
    BINS_PER_FRAME,
    calcium_response,
    draw_activity,
    draw_neuropil_traces,
    ornstein_uhlenbeck,
)
from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]

_ALWAYS_ACTIVE_SHARE = 0.08
"""Fraction of neurons that never rest."""
_QUIET_RATE, _ACTIVE_RATE = 0.03, 8.0
"""Factors of the median rates of spikes and bursts in quiet neurons and in those that never rest."""
_RANGE_OF_LOCAL_ACTIVITY_PX = 30.0
"""Standard deviation in px of the Gaussian by which cells contribute to the diffuse neuropil around them."""


def draw_group(
    rng: np.random.Generator, n: int, rate: float, settings: SimulationSettings, acquisition: Acquisition
) -> tuple[Float, NDArray[np.int64]]:
    """Draws the activity of a group of objects whose median rates differ from those of the settings.

    Args:
        rng: Random generator.
        n: Number of objects.
        rate: Factor of the median rates of spikes and bursts.
        settings: Number of frames, rates, amplitude, and time constants of the indicator.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        Fluorescence above rest (n, T) float32 and number of spikes (n, T) int64 in each frame.
    """
    rates = {"spike_rate_hz": rate * settings.spike_rate_hz, "burst_rate_hz": rate * settings.burst_rate_hz}
    return draw_activity(rng, settings.model_copy(update={"n_neurons": n} | rates), acquisition)


def draw_soma_activity(
    rng: np.random.Generator, n: int, settings: SimulationSettings, acquisition: Acquisition
) -> tuple[Float, NDArray[np.int64]]:
    """Draws the activity of somata: `quiet_share` of them hardly ever spike, 8 % never rest.

    Args:
        rng: Random generator.
        n: Number of somata.
        settings: Number of frames, rates, amplitude, share of quiet neurons, and time constants of the indicator.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        Fluorescence above rest (n, T) float32 and number of spikes (n, T) int64 in each frame, in random order.
    """
    n_quiet = round(settings.quiet_share * n)
    n_active = min(round(_ALWAYS_ACTIVE_SHARE * n), n - n_quiet)
    sizes = ((n_quiet, _QUIET_RATE), (n_active, _ACTIVE_RATE), (n - n_quiet - n_active, 1.0))
    groups = [draw_group(rng, size, rate, settings, acquisition) for size, rate in sizes]
    order = rng.permutation(n)
    traces, spikes = (np.concatenate(part)[order] for part in zip(*groups, strict=True))
    return traces, spikes


def transient(settings: SimulationSettings, acquisition: Acquisition) -> NDArray[np.float64]:
    """Response of the indicator to one spike, averaged over each frame.

    Args:
        settings: Time constants of the indicator.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        (K,) float64 that peaks near 1, over five decay times and at least two frames.
    """
    bins_per_s = acquisition.frame_rate_hz * BINS_PER_FRAME
    decay_s = settings.decay_time_s or acquisition.decay_time_s
    n_frames = int(np.ceil(5 * (decay_s + settings.rise_time_s) * acquisition.frame_rate_hz)) + 1
    spikes = np.zeros((1, n_frames * BINS_PER_FRAME))
    spikes[0, 0] = 1
    response = calcium_response(spikes, settings.rise_time_s * bins_per_s, decay_s * bins_per_s)
    return response.reshape(n_frames, BINS_PER_FRAME).mean(axis=1)


def draw_diffuse(
    rng: np.random.Generator,
    nodes: NDArray,
    centres: NDArray,
    traces: Float,
    settings: SimulationSettings,
    acquisition: Acquisition,
) -> Float:
    """Draws the relative change of the diffuse neuropil: as a whole, by place, and following the cells around.

    Args:
        rng: Random generator.
        nodes: (K, 2), (y, x) in px of the places.
        centres: (M, 2), (y, x) in px of the objects.
        traces: (M, T), their fluorescence above rest.
        settings: Number of frames and strength of the neuropil.
        acquisition: Frame rate.

    Returns:
        (K, T) float32. The part that follows the cells has a standard deviation of 0.07 times the strength at each
        place; the others are those of :func:`~rsc2p_kedro.simulation.activity.draw_neuropil_traces`, the local one
        at half its strength.
    """
    own = draw_neuropil_traces(rng, 1 + len(nodes), settings, acquisition)
    change = own[0] + 0.5 * own[1:]
    if not len(centres):
        return change
    squared = ((nodes[:, None] - centres[None]) ** 2).sum(axis=2)
    following = np.exp(-squared / (2 * _RANGE_OF_LOCAL_ACTIVITY_PX**2)) @ np.sqrt(traces.astype(float).clip(0))
    following -= following.mean(axis=1, keepdims=True)
    following *= 0.07 * settings.neuropil_strength / np.maximum(following.std(axis=1, keepdims=True), 1e-9)
    return (change + following).astype(np.float32)


def draw_depth(rng: np.random.Generator, settings: SimulationSettings, frame_rate_hz: float) -> Float:
    """Draws the hidden depth of the plane: mostly slow, with correlation times of 8 and 1 s.

    Args:
        rng: Random generator.
        settings: Number of frames and amplitude of the motion out of the plane.
        frame_rate_hz: Frames per second.

    Returns:
        (T,) float32, in units of half the depth of field; its standard deviation is `axial_amplitude`.
    """
    slow, fast = (ornstein_uhlenbeck(rng, settings.n_frames, tau_s * frame_rate_hz)[:, 0] for tau_s in (8.0, 1.0))
    return (settings.axial_amplitude * (0.9 * slow + 0.44 * fast)).astype(np.float32)
