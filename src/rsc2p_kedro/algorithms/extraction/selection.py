"""Selection of components by the shape of their footprints and the amplitude of their transients."""

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.deconvolution import estimate_noise
from rsc2p_kedro.algorithms.extraction.detection import peak_amplitudes
from rsc2p_kedro.algorithms.extraction.footprints import half_axes
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs

MIN_MINOR_AXIS = 0.58
"""Minimum minor half-axis of a footprint in neuron half-widths; thinner ones are processes. Of 5900 neurons marked
by hand (Allen Brain Observatory, neurofinder), 98 % have a minor half-axis of 0.55 to 1.45 times the median of their
field. Not tuned; other values are compared in docs/methods_extraction.md."""
MAX_MAJOR_AXIS = 2.0
"""Maximum major half-axis of a footprint in neuron half-widths; longer ones are processes or neuropil. In the same
markings minor over major is 0.82 in the median, so that few neurons reach 2 medians. Not tuned; other values are
compared in docs/methods_extraction.md."""
CUT_OFF_FACTOR = 0.5
"""Factor on `MIN_MINOR_AXIS` at the edge of the valid pixels, where half of a neuron may be outside."""
STRONG_PEAK = 7.0
"""Net peak amplitude in units of `min_peak_to_noise` from which a footprint may have any size: no neuropil has such
peaks. Chosen on real recordings with large somata and boutons; other values are compared in
docs/methods_extraction.md."""
MIN_AXIS_RATIO = 0.4
"""Minor over major half-axis from which a footprint with strong peaks may have any size: a soma or a bouton; longer
ones are dendrites. Of 5900 neurons marked by hand 1 % are below 0.45. On the neurofinder crop it removed 3 of 46
accepted components, none of which matched an annotated cell. Not tuned; other values are compared in
docs/methods_extraction.md."""


def rejection_reasons(inputs: Inputs, state: Factorization, isolated_traces: NDArray) -> list[str]:
    """Reasons to reject components as neurons.

    Args:
        inputs: data and settings.
        state: current factorization.
        isolated_traces: (N, n), noisy traces of the components.

    Returns:
        One reason for each component; empty for those that are kept.
    """
    settings, mask = inputs.detection, inputs.binned.mask
    width, least = settings.neuron_half_width_px, settings.min_peak_amplitude
    footprints = sp.csc_array(state.A.multiply(inputs.binned.scale.reshape(-1, 1)))
    minor_axes, major_axes = half_axes(footprints, inputs.binned.shape)
    noise = np.maximum(estimate_noise(isolated_traces), 1e-12) if state.n_components else np.ones(0)
    amplitudes = peak_amplitudes(isolated_traces, settings.decay, noise) / noise
    min_minor = np.where(_reaches_edge(mask, state.A), CUT_OFF_FACTOR, 1.0) * MIN_MINOR_AXIS * width
    reasons = []
    for j, area in enumerate(np.diff(state.A.indptr)):
        minor, major, amplitude = minor_axes[j], major_axes[j], amplitudes[j]
        if settings.adaptive and amplitude >= STRONG_PEAK * least and minor >= MIN_AXIS_RATIO * major:
            reasons.append("")
        elif area < settings.min_area_px:
            reasons.append(f"footprint of {area} px is smaller than {settings.min_area_px} px")
        elif minor < min_minor[j]:
            reasons.append(f"minor half-axis of the footprint, {minor:.1f} px, is below {min_minor[j]:.1f} px")
        elif major > MAX_MAJOR_AXIS * width:
            reasons.append(
                f"major half-axis of the footprint, {major:.1f} px, is above {MAX_MAJOR_AXIS * width:.1f} px"
            )
        elif settings.adaptive and amplitude < least:
            reasons.append(f"net peak amplitude of {amplitude:.1f} sd of noise is below {least:g}")
        else:
            reasons.append("")
    return reasons


def _reaches_edge(mask: NDArray[np.bool_], A: sp.csc_array) -> NDArray[np.bool_]:
    """Whether each footprint reaches the edge of the valid pixels, so that part of the neuron may be outside."""
    edge = mask & ~ndi.binary_erosion(mask)
    return np.asarray((A > 0).T @ edge.ravel().astype(np.int64)) > 0
