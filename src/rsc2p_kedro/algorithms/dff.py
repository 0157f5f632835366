"""Relative change of fluorescence, dF/F.

With C the denoised trace of a component, R its residual trace, c its baseline, B the background under its footprint,
and D the dark counts of the detector under it::

    F    = C + R + c
    F0   = P(F) + M(B) - D
    dF/F = (F - P(F)) / F0

P is a running low percentile of F. F is first smoothed by a Gaussian of 0.25 s, because noise shifts a low percentile
below the resting fluorescence. M is the running median over the same window: the denominator should follow
bleaching and drift, not fast fluctuations of the neuropil. Where fluorescence falls steadily, the low percentile is
that of the end of the window, and F0 is too low by up to half a window's fall.

The offset of the detector is not fluorescence: left in the denominator it makes dF/F too small. It follows from photon
statistics: the variance of a pixel's noise grows linearly with its mean fluorescence and is 0 (up to read noise) in the
dark.

Where F0 is below the noise of F, noise alone would exceed 100 %: F0 is raised to that noise there, and the component is
reported as guarded.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy import stats
from scipy.ndimage import gaussian_filter1d

from rsc2p_kedro.core.parameters import Acquisition, EvaluationParameters
from rsc2p_kedro.core.results import Components, DeltaFOverF

_MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation, 1 / Phi^-1(3/4)."""
# Evidence: the amplitude of dF/F over the true one, its median over the cells of each of six simulated movies
# (benchmarks/evaluation_calibration.py dff), 0.96-1.02 with the values below, with one of them changed.
_BASELINE_PERCENTILE = 20.0
"""Percentile of the slow baseline of :func:`remove_baseline`, in %. Not varied; dF/F does not depend on it."""
_BASELINE_DECAYS = 20.0
"""Least window of that baseline, in decay times, so that it does not follow transients. Not varied."""
_SMOOTHING_S = 0.25
"""Standard deviation of the Gaussian before the low percentile, in s. With 0.05 the amplitude is 0.98-1.03, with 1
0.95-1.01."""
_N_GROUPS, _MIN_PIXELS = 30, 3000
"""Groups of pixels that the line of :func:`dark_level` is fitted to, and pixels needed: 100 per group. With 10 and 100
groups the amplitude is 0.96-1.02."""
_MIN_CORRELATION = 0.9
"""Correlation of variance and mean fluorescence below which the line of :func:`dark_level` is not used. With 0.8 and
0.95 the amplitude is 0.96-1.02."""
_MIN_RANGE = 0.3
"""Range of mean fluorescence, as a fraction of the brightest group, that the line needs. With 0.1 the amplitude is
0.96-1.02; with 0.5 the dark level of two movies is not estimated, and their amplitudes are 0.49 and 0.51."""
_MAX_DARK_FRACTION = 0.9
"""Upper bound of the dark level, as a fraction of the darkest group, so that F0 stays positive."""


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


def dark_level(mean: NDArray, noise: NDArray) -> float:
    """Dark counts of a detector: the mean fluorescence at which the variance of the noise extrapolates to 0.

    A straight line is fitted by the Theil-Sen estimator (Sen 1968, doi 10.1080/01621459.1968.10480934) to the medians
    of 30 groups of pixels of similar brightness.

    Args:
        mean: (P,), mean fluorescence of pixels in counts.
        noise: (P,), standard deviation of their noise in counts.

    Returns:
        Counts, at least 0. 0 also where it cannot be estimated: with fewer than 3000 pixels, pixels of similar
        brightness, or variances that do not lie on a line.
    """
    order = np.argsort(mean, kind="stable")
    if len(order) < _MIN_PIXELS:
        return 0.0
    groups = np.array_split(order, _N_GROUPS)
    means = np.array([np.median(mean[group]) for group in groups], np.float64)
    variances = np.array([np.median(np.square(noise[group], dtype=np.float64)) for group in groups])
    if means[-1] - means[0] <= _MIN_RANGE * means[-1] or np.ptp(variances) == 0:
        return 0.0
    slope = stats.theilslopes(variances, means).slope
    if slope <= 0 or np.corrcoef(means, variances)[0, 1] < _MIN_CORRELATION:
        return 0.0
    return float(np.clip(np.median(means - variances / slope), 0, _MAX_DARK_FRACTION * means[0]))


def estimate_dark_level(components: Components) -> float:
    """:func:`dark_level` of the pixels of a movie, from its components and background.

    Args:
        components: whose A C + b f gives the mean fluorescence of a pixel, and `pixel_noise` its noise.

    Returns:
        Dark counts of a pixel, at least 0.
    """
    A, b = components.footprints, sp.csc_array(components.background_footprints)
    mean = b @ components.background_traces.mean(axis=1, dtype=np.float64)
    mean = mean + A @ components.traces.mean(axis=1, dtype=np.float64)
    noise = components.pixel_noise.ravel()
    usable = (noise > 0) & (mean > 0)
    return dark_level(mean[usable], noise[usable])


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
    lowest = np.maximum(noise_of_differences(F), 1e-6 * np.abs(F).max(axis=1, initial=0))
    lowest = np.where(lowest > 0, lowest, 1.0)[:, None]
    return DeltaFOverF(
        dff=((F - resting) / np.maximum(f0, lowest)).astype(np.float32),
        f0=np.maximum(f0, lowest).astype(np.float32),
        guarded=np.any(f0 < lowest, axis=1),
    )


def component_dff(components: Components, acquisition: Acquisition, parameters: EvaluationParameters) -> DeltaFOverF:
    """dF/F of the components of a recording, with the dark level of the parameters or an estimated one.

    Args:
        components: of the recording.
        acquisition: frame rate.
        parameters: percentile, window and dark level (`dff_*`).

    Returns:
        dF/F and F0 (N, T), which components were guarded, and the dark level that was used.

    Raises:
        ValueError: the window is shorter than 3 frames.
    """
    level = parameters.dff_dark_level
    level = estimate_dark_level(components) if level is None else level
    background = background_under_footprints(components) - dark_under_footprints(components, level)[:, None]
    result = delta_f_over_f(
        components.traces,
        components.residual_traces,
        components.baseline,
        background,
        frame_rate_hz=acquisition.frame_rate_hz,
        percentile=parameters.dff_percentile,
        window_s=parameters.dff_window_s,
    )
    return replace(result, dark_level=level)
