"""Selection of components during the factorization, by the shape of their footprints and the strength of their traces.

Only what cannot be the body of a cell, or is not above the noise, is removed here. Bright processes, varicosities and
somata out of focus stay, so that they explain their own light instead of leaving it to the neurons around; evaluation
says what each component is.
"""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.deconvolution import estimate_noise
from rsc2p_kedro.algorithms.extraction.detection import peak_amplitudes
from rsc2p_kedro.algorithms.extraction.footprints import half_axes
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs

MIN_MINOR_AXIS = 0.35
"""Minimum minor half-axis of a footprint in neuron half-widths. Of 5900 neurons marked by hand (Allen Brain
Observatory, neurofinder), 98 % have one of 0.55 to 1.45 times the median of their field; it is lower here because the
axes are weighted by energy and a footprint may still grow. Chosen, not tuned."""
MAX_MAJOR_AXIS = 2.0
"""Maximum major half-axis of a footprint in neuron half-widths. In the same markings minor over major is 0.82 in the
median, so that few neurons reach 2 medians. Chosen, not tuned."""
MAX_MEAN_AXIS = 1.5
"""Maximum geometric mean of the half-axes of a footprint in neuron half-widths; larger ones are neuropil. Chosen from
the same markings, not tuned."""
MIN_AREA_PX = 4
"""Minimum number of pixels of a footprint. Chosen, not tuned."""
STRONG_SIGNAL = 5.0
"""Sd of a denoised trace over that of its noise from which its peaks need not exceed its troughs: a neuron that is
active most of the time has no resting level to measure them from. Chosen, not tuned."""
REFIT_FACTOR = 0.5
"""Factor on `min_peak_to_noise` for components that had passed it before, so that a refit does not lose those near the
threshold by chance. Chosen, not tuned."""
_NOISE_QUANTILE = 0.25
"""Quantile over components of the noise of a trace relative to what white noise leaves in it; not tuned."""


def rejection_reasons(
    inputs: Inputs, state: Factorization, isolated_traces: NDArray, *, passed_before: bool = False
) -> list[str]:
    """Reasons to reject components as cells.

    Args:
        inputs: data and settings.
        state: current factorization.
        isolated_traces: (N, n), noisy traces of the components.
        passed_before: whether the components have passed these tests before, in an earlier result.

    Returns:
        One reason for each component; empty for those that are kept.
    """
    if not state.n_components:
        return []
    settings, width = inputs.detection, inputs.half_width_px
    least = settings.min_peak_amplitude * (REFIT_FACTOR if passed_before else 1)
    footprints = sp.csc_array(state.A.multiply(inputs.binned.scale.reshape(-1, 1)))
    minor_axes, major_axes = half_axes(footprints, inputs.binned.shape)
    noise = _noise(state, isolated_traces)
    amplitudes = peak_amplitudes(isolated_traces, settings.decay, noise) / noise
    strengths = state.C.std(axis=1) / noise
    reasons = []
    for j, area in enumerate(np.diff(state.A.indptr)):
        minor, major, amplitude = minor_axes[j], major_axes[j], amplitudes[j]
        if area < MIN_AREA_PX:
            reasons.append(f"footprint of {area} px is smaller than {MIN_AREA_PX} px")
        elif minor < MIN_MINOR_AXIS * width:
            reasons.append(
                f"minor half-axis of the footprint, {minor:.1f} px, is below {MIN_MINOR_AXIS * width:.1f} px"
            )
        elif major > MAX_MAJOR_AXIS * width:
            reasons.append(
                f"major half-axis of the footprint, {major:.1f} px, is above {MAX_MAJOR_AXIS * width:.1f} px"
            )
        elif np.sqrt(minor * major) > MAX_MEAN_AXIS * width:
            reasons.append(
                f"mean half-axis of the footprint, {np.sqrt(minor * major):.1f} px, is above "
                f"{MAX_MEAN_AXIS * width:.1f} px"
            )
        elif settings.adaptive and amplitude < least and strengths[j] < STRONG_SIGNAL:
            reasons.append(f"net peak amplitude of {amplitude:.1f} sd of noise is below {least:g}")
        else:
            reasons.append("")
    return reasons


def _noise(state: Factorization, isolated_traces: NDArray) -> NDArray[np.float64]:
    """Noise sd (N,) of isolated traces: that of their high frequencies, or what white noise of the pixels leaves.

    The smaller of the two: transients of slow indicators, a few bins long, reach into the high frequencies.
    """
    own = np.maximum(estimate_noise(isolated_traces), 1e-12)
    energy = np.asarray(state.A.astype(np.float64).power(2).sum(axis=0)).ravel()
    white = 1 / np.sqrt(np.maximum(energy, 1e-30))
    return np.minimum(own, white * np.quantile(own / white, _NOISE_QUANTILE))
