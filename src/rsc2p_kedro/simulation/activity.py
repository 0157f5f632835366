"""What changes in time under the microscope: spikes, calcium, neuropil, bleaching."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]
_BINS = 8


def fluctuation(rng: np.random.Generator, n_frames: int, tau_frames: float, n: int = 1) -> NDArray[np.float64]:
    """Ornstein-Uhlenbeck processes (n_frames, n) of unit variance and a correlation time of `tau_frames`."""
    decay = np.exp(-1 / tau_frames)
    steps = rng.standard_normal((n_frames, n)) * np.sqrt(1 - decay**2)
    steps[0] /= np.sqrt(1 - decay**2)
    return lfilter([1.0], [1.0, -decay], steps, axis=0)


def _bursts(rng: np.random.Generator, n_bins: int, bin_s: float, rate_hz: float) -> NDArray[np.bool_]:
    """Bins (n_bins,) in which a neuron bursts."""
    n_bursts = rng.poisson(rate_hz * n_bins * bin_s)
    starts = rng.integers(0, n_bins, n_bursts)
    lengths = (rng.exponential(rng.uniform(0.25, 0.9), n_bursts) + 0.1) / bin_s
    edges = np.zeros(n_bins + 1)
    np.add.at(edges, starts, 1)
    np.add.at(edges, np.minimum(starts + np.ceil(lengths).astype(int), n_bins), -1)
    return np.cumsum(edges)[:-1] > 0


def draw_spikes(rng: np.random.Generator, settings: SimulationSettings, acquisition: Acquisition) -> NDArray[np.int64]:
    """Spikes (N, T * 8) in eighths of a frame: a slow Poisson process with bursts, its rates lognormal over neurons."""
    n_bins, bin_s = settings.n_frames * _BINS, 1 / (acquisition.frame_rate_hz * _BINS)
    spikes = np.zeros((settings.n_neurons, n_bins), np.int64)
    for train in spikes:
        burst = _bursts(rng, n_bins, bin_s, settings.burst_rate_hz * rng.lognormal(0, 0.6))
        quiet_hz = settings.spike_rate_hz * rng.lognormal(0, 0.8)
        burst_hz = max(rng.uniform(4, 14), quiet_hz)
        train[:] = rng.poisson(np.where(burst, burst_hz, quiet_hz) * bin_s)
    return spikes


def calcium(spikes: NDArray, rise_bins: float, decay_bins: float) -> NDArray[np.float64]:
    """Response to spikes (N, bins): exp(-t / decay), risen by 1 - exp(-t / rise), a lone spike peaking at 1."""
    train = np.concatenate([[1.0], np.zeros(int(10 * (decay_bins + rise_bins)))])

    def respond(events: NDArray) -> NDArray:
        response = lfilter([1.0], [1.0, -np.exp(-1 / decay_bins)], events)
        return lfilter([1.0], [1.0, -np.exp(-1 / rise_bins)], response) if rise_bins > 0 else response

    return respond(spikes) / respond(train).max()


def draw_activity(
    rng: np.random.Generator, settings: SimulationSettings, acquisition: Acquisition
) -> tuple[Float, NDArray[np.int64]]:
    """Fluorescence (N, T) over rest, in units of the mean background, and spikes a frame (N, T)."""
    fine = draw_spikes(rng, settings, acquisition)
    bins_per_s = acquisition.frame_rate_hz * _BINS
    decay_s = settings.decay_time_s or acquisition.decay_time_s
    response = calcium(fine, settings.rise_time_s * bins_per_s, decay_s * bins_per_s)
    shape = (settings.n_neurons, settings.n_frames, _BINS)
    amplitudes = settings.amplitude * rng.lognormal(0, 0.45, settings.n_neurons)
    traces = amplitudes[:, None] * response.reshape(shape).mean(axis=2)
    return traces.astype(np.float32), fine.reshape(shape).sum(axis=2)


def draw_neuropil_traces(
    rng: np.random.Generator, n_fields: int, settings: SimulationSettings, acquisition: Acquisition
) -> Float:
    """Brightness (K, T) of the neuropil's fields over rest: the first of the whole frame, the others of parts of it."""
    T, rate = settings.n_frames, acquisition.frame_rate_hz
    whole = 0.05 * fluctuation(rng, T, 20 * rate) + 0.05 * fluctuation(rng, T, 0.6 * rate)
    parts = 0.09 * np.abs(fluctuation(rng, T, 0.7 * rate, n_fields - 1))
    parts += 0.07 * fluctuation(rng, T, 6 * rate, n_fields - 1)
    return (settings.neuropil_strength * np.concatenate([whole, parts], axis=1).T).astype(np.float32)


def bleach(settings: SimulationSettings) -> Float:
    """Brightness (T,) of all fluorescence: 1 in the first frame, 1 - `bleaching` in the last."""
    fallen = 1 - np.exp(-np.linspace(0, 1, settings.n_frames) / 0.6)
    return (1 - settings.bleaching * fallen / fallen[-1]).astype(np.float32)
