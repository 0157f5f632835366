"""Relative change of fluorescence, dF/F.

With C the denoised trace of a component, R its residual trace, c its baseline, B the background under its footprint,
and D the dark counts of the detector under it::

    F    = C + R + c
    F0   = P(F) + M(B) - D
    dF/F = (F - P(F)) / F0

With a neuropil fraction r (`dff_neuropil`), F0 is that of the cell without the neuropil in front of and behind it::

    F0   = P(F) + M(B - D - r n)

with n the light around the cell (:mod:`.neuropil`). The numerator is the same: CNMF has taken all fluctuations of the
background out of F.

P is a running low percentile of F. F is first smoothed by a Gaussian of 0.25 s, because noise shifts a low percentile
below the resting fluorescence. M is the running median over the same window: the denominator should follow
bleaching and drift, not fast fluctuations of the neuropil. Where fluorescence falls steadily, the low percentile is
that of the end of the window, and F0 is too low by up to half a window's fall.

The offset of the detector is not fluorescence: left in the denominator it makes dF/F too small, and one that is too
high makes it too large. It follows from photon statistics (:mod:`.photon_response`).

Where F0 is below the noise of F, noise alone would exceed 100 %: F0 is raised to that noise there, and the component is
reported as guarded.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from rsc2p_kedro.algorithms.neuropil import background_around, contamination
from rsc2p_kedro.algorithms.photon_response import zero_of_variance
from rsc2p_kedro.core.parameters import Acquisition, EvaluationParameters
from rsc2p_kedro.core.results import GIVEN, NOISE, UNKNOWN, Components, DeltaFOverF, DetectorResponse

_MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation, 1 / Phi^-1(3/4)."""
# Evidence: the amplitude of dF/F over the true one, its median over the cells of each of six simulated movies
# with a dark level of 100, 0.96-1.02 with the values below, with one of them changed.
_BASELINE_PERCENTILE = 20.0
"""Percentile of the slow baseline of :func:`remove_baseline`, in %. Not varied; dF/F does not depend on it."""
_BASELINE_DECAYS = 20.0
"""Least window of that baseline, in decay times, so that it does not follow transients. Not varied."""
_SMOOTHING_S = 0.25
"""Standard deviation of the Gaussian before the low percentile, in s. With 0.05 the amplitude is 0.98-1.03, with 1
0.95-1.01."""
REFERENCE_TRANSIENT = 0.1
"""dF/F of the transient whose detectability is told."""


def running_percentile(traces: NDArray, *, percentile: float, half_width: int) -> NDArray[np.float64]:
    """Exact running percentile of each trace, by pandas.

    The window of frame t holds frames t - `half_width` ... t + `half_width`, as far as there are such frames, unlike
    that of :func:`scipy.ndimage.percentile_filter`, which pads the ends and does not interpolate between values (and is
    14 to 28 times slower than a sorted window at 221 to 901 frames).

    Args:
        traces: (N, T), finite.
        percentile: 0..100; interpolated linearly between two values, as :func:`numpy.percentile` does.
        half_width: frames on each side, 0 or more.

    Returns:
        (N, T), in the units of the traces.

    Raises:
        ValueError: `half_width` or `percentile` is out of range.
    """
    if half_width < 0 or not 0 <= percentile <= 100:
        raise ValueError(f"Expected half_width >= 0 and percentile in 0..100, got {half_width} and {percentile}.")
    windows = pd.DataFrame(np.asarray(traces, np.float64).T).rolling(2 * half_width + 1, center=True, min_periods=1)
    return np.ascontiguousarray(windows.quantile(percentile / 100).to_numpy().T)


def remove_baseline(traces: NDArray, acquisition: Acquisition, *, window_s: float = 30.0) -> NDArray[np.float64]:
    """Traces less their slow baseline, the running 20th percentile.

    Args:
        traces: (N, T), any unit, finite.
        acquisition: frame rate and decay time.
        window_s: width of the window in s; 20 decay times where those are longer.

    Returns:
        (N, T), in the units of the traces.
    """
    window_s = max(window_s, _BASELINE_DECAYS * acquisition.decay_time_s)
    half = int(np.ceil(window_s * acquisition.frame_rate_hz / 2))
    return traces - running_percentile(traces, percentile=_BASELINE_PERCENTILE, half_width=half)


def noise_of_differences(traces: NDArray) -> NDArray[np.float64]:
    """Standard deviation of white noise, from the median absolute difference between frames.

    Args:
        traces: (N, T), any unit.

    Returns:
        (N,), in the units of the traces; 0 for traces of one frame.
    """
    if traces.shape[1] < 2:
        return np.zeros(len(traces))
    return _MAD_TO_SD / np.sqrt(2) * np.median(np.abs(np.diff(traces, axis=1)), axis=1)


def background_under_footprints(components: Components) -> NDArray[np.float64]:
    """Background under each footprint a, projected on it: a'b f / a'a less the component's baseline c.

    The background of :class:`~rsc2p_kedro.core.results.Components` includes the baseline; it is taken out here, so that
    trace + residual + baseline + this background is the total fluorescence under the footprint.

    Args:
        components: footprints, background and baselines.

    Returns:
        (N, T), in the units of each component's trace.
    """
    A, b = components.footprints, sp.csc_array(components.background_footprints)
    shares = sp.csr_array(A.T @ b).astype(np.float64)
    return (shares @ components.background_traces) / _squared_norms(A)[:, None] - components.baseline[:, None]


def _squared_norms(footprints: sp.csc_array) -> NDArray:
    """a'a (N,) of each footprint, at least the smallest positive float32."""
    return np.maximum(np.asarray((footprints * footprints).sum(axis=0)).ravel(), np.finfo(np.float32).tiny)


def estimate_dark_level(components: Components) -> float | None:
    """Dark level of a movie from its components and background alone, where the movie is not at hand.

    Less exact than :func:`~rsc2p_kedro.algorithms.detector.measure_detector`: it is below the dark level by r^2 / a.

    Args:
        components: whose A C + b f gives the mean fluorescence of a pixel, and `pixel_noise` its noise.

    Returns:
        Dark counts of a pixel; None where they cannot be told.
    """
    A, b = components.footprints, sp.csc_array(components.background_footprints)
    mean = b @ components.background_traces.mean(axis=1, dtype=np.float64)
    mean = mean + A @ components.traces.mean(axis=1, dtype=np.float64)
    return zero_of_variance(mean, np.square(components.pixel_noise.ravel(), dtype=np.float64))


def dark_under_footprints(components: Components, level: float) -> NDArray[np.float64]:
    """Dark counts under each footprint a, projected on it: level * a'1 / a'a.

    Args:
        components: N components with their footprints.
        level: dark counts of a pixel.

    Returns:
        (N,), in the units of each component's trace.
    """
    A = components.footprints
    return level * np.asarray(A.sum(axis=0), np.float64).ravel() / _squared_norms(A)


def delta_f_over_f(
    traces: NDArray,
    residual_traces: NDArray,
    baseline: NDArray,
    background_under_footprint: NDArray,
    *,
    neuropil: NDArray | None = None,
    frame_rate_hz: float,
    percentile: float,
    window_s: float,
) -> DeltaFOverF:
    """dF/F of components, by the equations of this module.

    Args:
        traces: C, (N, T).
        residual_traces: R, (N, T).
        baseline: c, (N,).
        background_under_footprint: B - D, (N, T), in the units of the traces.
        neuropil: r n, (N, T), the part of it that is not of the cell; None leaves it in F0.
        frame_rate_hz: frames per second.
        percentile: low percentile, 0..100, taken as resting fluorescence.
        window_s: width of the running window in s. A shorter one follows drift more closely and removes long
            transients.

    Returns:
        dF/F (1 is 100 %), F0 in the units of the traces, and which components were guarded; dark level 0.

    Raises:
        ValueError: the shapes do not fit together, or the window is shorter than 3 frames.
    """
    N, T = traces.shape
    shapes = (residual_traces.shape, background_under_footprint.shape, baseline.shape)
    if shapes != ((N, T), (N, T), (N,)):
        raise ValueError(
            f"For traces of shape {(N, T)}, residual traces and background should be {(N, T)} and the baseline {(N,)}; "
            f"they are {shapes[0]}, {shapes[1]} and {shapes[2]}."
        )
    half = round(window_s * frame_rate_hz / 2)
    if half < 1:
        raise ValueError(f"A window of {window_s} s is below 3 frames at {frame_rate_hz} Hz; take a longer one.")
    F = traces.astype(np.float64) + residual_traces + baseline[:, None]
    smooth = gaussian_filter1d(F, _SMOOTHING_S * frame_rate_hz, axis=1, mode="nearest")
    resting = running_percentile(smooth, percentile=percentile, half_width=half)
    f0 = resting + running_percentile(background_under_footprint, percentile=50, half_width=half)
    taken = None if neuropil is None else running_percentile(neuropil, percentile=50, half_width=half)
    f0 = f0 if taken is None else f0 - taken
    lowest = np.maximum(noise_of_differences(F), 1e-6 * np.abs(F).max(axis=1, initial=0))
    lowest = np.where(lowest > 0, lowest, 1.0)[:, None]
    return DeltaFOverF(
        dff=((F - resting) / np.maximum(f0, lowest)).astype(np.float32),
        f0=np.maximum(f0, lowest).astype(np.float32),
        guarded=np.any(f0 < lowest, axis=1),
        neuropil_f0=None if taken is None else taken.astype(np.float32),
    )


def component_dff(components: Components, acquisition: Acquisition, parameters: EvaluationParameters) -> DeltaFOverF:
    """dF/F of the components of a recording, with the dark level of the parameters or an estimated one.

    Args:
        components: of the recording.
        acquisition: frame rate.
        parameters: percentile, window, dark level and neuropil (`dff_*`).

    Returns:
        dF/F and F0 (N, T), which components were guarded, and the dark level that was used.

    Raises:
        ValueError: the window is shorter than 3 frames.
    """
    level, source = parameters.dff_dark_level, GIVEN
    if level is None:
        level, source = estimate_dark_level(components), NOISE
    if level is None:
        level, source = 0.0, UNKNOWN
    background = background_under_footprints(components) - dark_under_footprints(components, level)[:, None]
    around, fractions = None, _neuropil_fractions(components, background, acquisition, parameters, level)
    if fractions is not None:
        around = fractions[:, None] * neuropil_under_footprints(components, level)
    result = delta_f_over_f(
        components.traces,
        components.residual_traces,
        components.baseline,
        background,
        neuropil=around,
        frame_rate_hz=acquisition.frame_rate_hz,
        percentile=parameters.dff_percentile,
        window_s=parameters.dff_window_s,
    )
    kept = None if fractions is None else fractions.astype(np.float32)
    return replace(result, dark_level=level, dark_level_source=source, neuropil_fraction=kept)


def neuropil_under_footprints(components: Components, level: float) -> NDArray[np.float64]:
    """Light around each component, projected on its footprint as if its own pixels had it: n a'1 / a'a.

    Args:
        components: footprints and background.
        level: dark counts of a pixel, which are no light.

    Returns:
        (N, T), in the units of each component's trace.
    """
    return dark_under_footprints(components, 1.0)[:, None] * (background_around(components) - level)


def _neuropil_fractions(
    components: Components,
    background: NDArray,
    acquisition: Acquisition,
    parameters: EvaluationParameters,
    level: float,
) -> NDArray[np.float64] | None:
    """The fraction r (N,) of each component, given or estimated from fluctuations; None if F0 is to include it."""
    wanted = parameters.dff_neuropil
    if wanted is None:
        return None
    if wanted != "estimate":
        return np.full(components.n_components, float(wanted))
    rate, traces = acquisition.frame_rate_hz, components.traces
    half = max(round(parameters.dff_window_s * rate / 2), 1)
    total = traces + components.residual_traces + background
    smooth = [
        gaussian_filter1d(values, _SMOOTHING_S * rate, axis=1, mode="nearest")
        for values in (total, neuropil_under_footprints(components, level))
    ]
    fast = [values - running_percentile(values, percentile=50, half_width=half) for values in smooth]
    silent = traces <= np.median(traces, axis=1, keepdims=True) + components.noise[:, None]
    return contamination(fast[0], fast[1], silent)


def choose_dark_level(given: float | None, response: DetectorResponse) -> tuple[float, float | None, str]:
    """The dark level that dF/F is computed with.

    Args:
        given: by the user; None leaves it to the detector's response.
        response: of the detector.

    Returns:
        Level in counts, its standard error (None where it is unknown), and its source. Where nothing tells it, it is 0,
        or the level of the darkest pixels if that is negative.
    """
    if given is not None:
        return given, 0.0, GIVEN
    if response.dark_level is None:
        return min(0.0, response.lowest_level), None, UNKNOWN
    return response.dark_level, response.dark_level_error, response.source


def describe_noise(
    dff: DeltaFOverF, components: Components, acquisition: Acquisition, response: DetectorResponse
) -> DeltaFOverF:
    """Adds to dF/F what the dark level and the photons leave uncertain.

    With the gain g, a cell at rest detects F0 a'1 / g photons per frame: as many as give its trace the shot noise that
    it has. A transient of 10 % dF/F that decays with the time constant tau is told from none with the detectability
    d' = 0.1 sqrt(photons per second tau / 2) (Wilt et al. 2013, doi 10.1016/j.bpj.2012.07.058). The noise of dF/F is
    that of Rupprecht et al. 2021 (doi 10.1038/s41593-021-00895-5): median |difference of frames| / sqrt(frame rate).

    Args:
        dff: of the components, (N, T).
        components: N components.
        acquisition: frame rate and decay time.
        response: of the detector.

    Returns:
        The same with `noise_level`, `scale_error`, and where the gain is known `photons` and `d_prime`.
    """
    f0 = np.median(dff.f0, axis=1) if dff.f0.shape[1] else np.ones(len(dff.f0))
    changes = np.abs(np.diff(dff.dff.astype(np.float64), axis=1))
    noise = np.median(changes, axis=1) if changes.size else np.zeros(len(f0))
    known = dff.dark_level_error is not None
    error = dark_under_footprints(components, dff.dark_level_error or 0.0) / f0
    described = replace(
        dff,
        noise_level=(100 * noise / np.sqrt(acquisition.frame_rate_hz)).astype(np.float32),
        scale_error=error.astype(np.float32) if known else None,
        detector=response,
    )
    if response.gain is None:
        return described
    photons = f0 * np.asarray(components.footprints.sum(axis=0), np.float64).ravel() / response.gain
    rate = photons * acquisition.frame_rate_hz
    return replace(
        described,
        photons=photons.astype(np.float32),
        d_prime=(REFERENCE_TRANSIENT * np.sqrt(rate * acquisition.decay_time_s / 2)).astype(np.float32),
    )
