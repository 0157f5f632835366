"""Time courses of a simulated recording: spikes, calcium, neuropil and bleaching.

The strengths and time constants in this module were chosen by eye to resemble GCaMP recordings of mouse cortex; they
were not fitted to data.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]

BINS_PER_FRAME = 8
"""Time bins per frame in which spikes are drawn and calcium is computed, so that spikes fall between frames."""


def ornstein_uhlenbeck(
    rng: np.random.Generator, n_frames: int, tau_frames: float, n_processes: int = 1
) -> NDArray[np.float64]:
    """Draws stationary Ornstein-Uhlenbeck processes of zero mean and unit variance.

    Args:
        rng: Random generator.
        n_frames: Number of frames T.
        tau_frames: Correlation time in frames.
        n_processes: Number of independent processes n.

    Returns:
        (T, n) float64.
    """
    decay = np.exp(-1 / tau_frames)
    steps = rng.standard_normal((n_frames, n_processes)) * np.sqrt(1 - decay**2)
    steps[0] /= np.sqrt(1 - decay**2)
    return lfilter([1.0], [1.0, -decay], steps, axis=0)


def _draw_bursts(rng: np.random.Generator, n_bins: int, bin_s: float, rate_hz: float) -> NDArray[np.bool_]:
    """Time bins (n_bins,) in which a neuron bursts."""
    n_bursts = rng.poisson(rate_hz * n_bins * bin_s)
    starts = rng.integers(0, n_bins, n_bursts)
    lengths = (rng.exponential(rng.uniform(0.25, 0.9), n_bursts) + 0.1) / bin_s
    edges = np.zeros(n_bins + 1)
    np.add.at(edges, starts, 1)
    np.add.at(edges, np.minimum(starts + np.ceil(lengths).astype(int), n_bins), -1)
    return np.cumsum(edges)[:-1] > 0


def draw_spikes(rng: np.random.Generator, settings: SimulationSettings, acquisition: Acquisition) -> NDArray[np.int64]:
    """Draws spike trains: a Poisson process with bursts, whose rates are lognormal across neurons.

    Args:
        rng: Random generator.
        settings: Number of frames and neurons, and the median rates of spikes and bursts.
        acquisition: Frame rate.

    Returns:
        (N, T * 8) int64, number of spikes in each eighth of a frame.
    """
    n_bins, bin_s = settings.n_frames * BINS_PER_FRAME, 1 / (acquisition.frame_rate_hz * BINS_PER_FRAME)
    spikes = np.zeros((settings.n_neurons, n_bins), np.int64)
    for train in spikes:
        bursting = _draw_bursts(rng, n_bins, bin_s, settings.burst_rate_hz * rng.lognormal(0, 0.6))
        rate_hz = settings.spike_rate_hz * rng.lognormal(0, 0.8)
        burst_rate_hz = max(rng.uniform(4, 14), rate_hz)
        train[:] = rng.poisson(np.where(bursting, burst_rate_hz, rate_hz) * bin_s)
    return spikes


def calcium_response(spikes: NDArray, rise_bins: float, decay_bins: float) -> NDArray[np.float64]:
    """Calcium response to spike trains, linear in the spikes.

    Args:
        spikes: (N, bins), spikes in each time bin.
        rise_bins: Rise time constant in bins; 0 for an instantaneous rise.
        decay_bins: Decay time constant in bins.

    Returns:
        (N, bins) float64: spikes convolved with exp(-t / decay), or with (1 - exp(-t / rise)) exp(-t / decay) up to
        discretization, scaled so that the response to one spike peaks at 1.
    """
    single_spike = np.concatenate([[1.0], np.zeros(int(10 * (decay_bins + rise_bins)))])

    def respond(events: NDArray) -> NDArray:
        response = lfilter([1.0], [1.0, -np.exp(-1 / decay_bins)], events)
        return lfilter([1.0], [1.0, -np.exp(-1 / rise_bins)], response) if rise_bins > 0 else response

    return respond(spikes) / respond(single_spike).max()


def draw_activity(
    rng: np.random.Generator, settings: SimulationSettings, acquisition: Acquisition
) -> tuple[Float, NDArray[np.int64]]:
    """Draws the activity of all neurons.

    Args:
        rng: Random generator.
        settings: Number of frames and neurons, rates, amplitude, and time constants of the indicator.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        Fluorescence above rest (N, T) float32 in units of the mean background, averaged over each frame, and the number
        of spikes (N, T) int64 in each frame.
    """
    spikes = draw_spikes(rng, settings, acquisition)
    bins_per_s = acquisition.frame_rate_hz * BINS_PER_FRAME
    decay_s = settings.decay_time_s or acquisition.decay_time_s
    response = calcium_response(spikes, settings.rise_time_s * bins_per_s, decay_s * bins_per_s)
    shape = (settings.n_neurons, settings.n_frames, BINS_PER_FRAME)
    amplitudes = settings.amplitude * rng.lognormal(0, 0.45, settings.n_neurons)
    traces = amplitudes[:, None] * response.reshape(shape).mean(axis=2)
    return traces.astype(np.float32), spikes.reshape(shape).sum(axis=2)


def draw_neuropil_traces(
    rng: np.random.Generator, n_fields: int, settings: SimulationSettings, acquisition: Acquisition
) -> Float:
    """Draws the time courses of the neuropil.

    Args:
        rng: Random generator.
        n_fields: Number of neuropil fields K; the first extends over the whole frame, the others over parts of it.
        settings: Number of frames and strength of the neuropil.
        acquisition: Frame rate.

    Returns:
        (K, T) float32, change of brightness relative to rest, with correlation times of 0.6 to 20 s.
    """
    T, rate = settings.n_frames, acquisition.frame_rate_hz
    whole = 0.05 * ornstein_uhlenbeck(rng, T, 20 * rate) + 0.05 * ornstein_uhlenbeck(rng, T, 0.6 * rate)
    parts = 0.09 * np.abs(ornstein_uhlenbeck(rng, T, 0.7 * rate, n_fields - 1))
    parts += 0.07 * ornstein_uhlenbeck(rng, T, 6 * rate, n_fields - 1)
    return (settings.neuropil_strength * np.concatenate([whole, parts], axis=1).T).astype(np.float32)


def bleaching_curve(settings: SimulationSettings) -> Float:
    """Decline of all fluorescence by bleaching, exponential with a time constant of 0.6 of the recording.

    Args:
        settings: Number of frames and the fraction that is bleached by the last one.

    Returns:
        (T,) float32: 1 in the first frame, 1 - `bleaching` in the last.
    """
    bleached = 1 - np.exp(-np.linspace(0, 1, settings.n_frames) / 0.6)
    return (1 - settings.bleaching * bleached / bleached[-1]).astype(np.float32)
