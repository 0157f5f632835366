"""Size of the neurons of a recording, measured from the movie.

Neurons are 2 to 20 px in radius, depending on magnification and cell type, and every length of the extraction scales
with their half-width. Candidates of a quick search on the spatially binned movie have footprints whose size depends
little on that of the filter they were found with. Among them are many more varicosities and pieces of processes than
somata, but these cover few pixels: the typical size is the weighted median of the radii of round candidates, the weight
being the area times the strength of the signal, up to a limit. Where it does not suit the resolution of the search, the
search is repeated at half or twice the resolution.

Figures of its accuracy are in docs/methods_extraction.md.
"""

import logging
from dataclasses import replace
from math import ceil

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.extraction.candidates import detect_candidates
from rsc2p_kedro.algorithms.extraction.footprints import half_axes, mask_areas
from rsc2p_kedro.algorithms.extraction.state import Factorization, Inputs, prepare
from rsc2p_kedro.algorithms.extraction.updates import initialize_background
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters

logger = logging.getLogger(__name__)
FALLBACK_HALF_WIDTH_PX = 5.0
"""Half-width in px where no candidate tells the size: middle of the range of twelve fields marked by hand (4 to 8)."""
TOLERATED_FACTOR = 1.25
"""A given half-width is used as it is if the measured one differs by at most this factor. Chosen, not tuned."""
MAX_FACTOR = 2.0
"""A measured half-width that differs from the given one by more than this factor is that of something else, such as
boutons among few large somata, and the given one is used. Chosen, not tuned."""
_BINNED_HALF_WIDTH = 3.0
"""Half-width of the filter of the quick search, in binned px."""
_MAX_BINS = 300
"""Maximum number of bins that are searched, evenly spaced over the recording. Chosen for its cost."""
_FACTORS = (1, 2, 4)
"""Spatial binning factors of the search; it starts with 2."""
_SUITABLE = (0.62, 1.45)
"""Range of the measured radius over the half-width of the filter within which the resolution of the search suits."""
_MAX_RADIUS = 1.75
"""Radius over the half-width of the filter from which a candidate fills the window it was cut from: no object, but
neuropil. Chosen, not tuned."""
_MASK_LEVEL = 0.35
"""Pixels above this fraction of a footprint's maximum are counted: at the edge of a blurred disc it is one half, and
noise of the maximum shifts it down. Fitted with the two constants below on 60 simulated tissues."""
_STRONG = 10.0
"""Signal in sd of noise from which larger candidates count all the same when the resolution is chosen: those of a movie
of 60 neurons of 5 px that was taken for one of 13.6 px had 3 to 6, bright large somata have 60. Chosen, not tuned."""
_MIN_AXIS_RATIO = 0.5
"""Minor over major half-axis of a round candidate. 99 % of marked neurons have 0.45 or more."""
_MAX_STRENGTH = 60.0
"""Limit of the weight by signal strength, in sd of noise."""
_BIAS = 1.05
"""Measured radius over true radius, median of the same simulated tissues: spatial binning and motion blur."""
_SPACING_HALF_WIDTHS = 6.0
"""Spacing of the splines of the neuropil in this search; wide, so that large neurons are not taken for neuropil."""


def set_half_width(inputs: Inputs) -> Inputs:
    """Measures the half-width of neurons, where the parameters leave it open or may be wrong about it.

    With `initialization: greedy_roi` or `seeded`, a given half-width is used as it is. With `adaptive`, it is a hint: a
    measured one that differs from it by more than 25 %, and by a factor of 2 at most, takes its place, with a warning.

    Args:
        inputs: data and settings.

    Returns:
        The inputs with the half-width to use.
    """
    given = inputs.parameters.given_half_width_px
    if given is not None and inputs.parameters.initialization != "adaptive":
        return inputs.with_half_width(given)
    measured = measure_half_width(inputs)
    if given is None:
        if measured is None:
            logger.warning(
                "No neuron was strong enough to measure the size of neurons: using a half-width of %.1f px. Set "
                "neuron_half_width_px if that is far from it.",
                FALLBACK_HALF_WIDTH_PX,
            )
        else:
            logger.info("Half-width of neurons, measured from the movie: %.1f px.", measured)
        return inputs.with_half_width(FALLBACK_HALF_WIDTH_PX if measured is None else measured)
    if measured is None or 1 / TOLERATED_FACTOR <= measured / given <= TOLERATED_FACTOR:
        return inputs.with_half_width(given)
    used = measured if 1 / MAX_FACTOR <= measured / given <= MAX_FACTOR else given
    logger.warning(
        "neuron_half_width_px is %.1f px, but what is active in the movie measures %.1f px: using %.1f px.",
        given,
        measured,
        used,
    )
    return inputs.with_half_width(used)


def half_width_of_movie(
    movie: blocks.Movie,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
) -> float:
    """The half-width of neurons to extract a movie with, for engines that do not measure it.

    Args:
        movie: (T, H, W), motion-corrected.
        acquisition: frame rate, and decay time of the indicator.
        parameters: settings of the extraction; a half-width that they give is returned as it is.
        compute: resources of the machine; the result does not depend on them.
        valid_mask: (H, W), pixels to use. None uses all.

    Returns:
        Half-width in px.
    """
    if parameters.given_half_width_px is not None:
        return parameters.given_half_width_px
    return set_half_width(prepare(movie, acquisition, parameters, compute, valid_mask)).half_width_px


def measure_half_width(inputs: Inputs) -> float | None:
    """Measures the typical half-width of the neurons of a movie.

    Args:
        inputs: data and settings; their half-width is not used.

    Returns:
        Half-width in px, rounded to 0.1 px; None where there is no candidate.
    """
    k, radii = _FACTORS.index(2), dict[int, float]()
    last = k
    while k not in radii:
        half_width, last = _BINNED_HALF_WIDTH * _FACTORS[k], k
        candidates = _quick_search(inputs, _FACTORS[k], half_width)
        largest = _MAX_RADIUS * half_width
        unlimited = _typical_radius(candidates, inputs, largest, _STRONG) or _typical_radius(candidates, inputs, np.inf)
        if unlimited is None:
            return None
        radii[k] = _typical_radius(candidates, inputs, largest) or unlimited
        if unlimited > _SUITABLE[1] * half_width:
            k = min(k + 1, len(_FACTORS) - 1)
        elif unlimited < _SUITABLE[0] * half_width:
            k = max(k - 1, 0)
    # Two resolutions that point at each other have the size between them.
    return round(float(np.sqrt(radii[last] * radii[k])) / _BIAS, 1)


def _quick_search(inputs: Inputs, factor: int, half_width_px: float) -> Factorization:
    """Candidates of one search on the movie binned by factor x factor px."""
    changes = {
        "spatial_downsampling": factor,
        "background_spacing": _SPACING_HALF_WIDTHS,
        "initialization": "adaptive",
        "rolling_sum": False,
    }
    parameters = inputs.parameters.model_copy(update=changes)
    step = max(1, ceil(inputs.n_bins / _MAX_BINS))
    binned = replace(inputs.binned, movie=inputs.binned.movie[::step])
    search = replace(inputs, binned=binned, parameters=parameters).with_half_width(half_width_px)
    return detect_candidates(search, initialize_background(search, refine_gain=False))


def _typical_radius(
    candidates: Factorization, inputs: Inputs, largest_px: float, strong: float = np.inf
) -> float | None:
    """Weighted median of the radii in px of the round candidates up to a radius, or of any if strong; None without."""
    footprints = sp.csc_array(candidates.A.multiply(inputs.binned.scale.reshape(-1, 1)))
    minor, major = half_axes(footprints, inputs.binned.shape)
    radius = np.sqrt(mask_areas(footprints, _MASK_LEVEL) / np.pi)
    norms = np.sqrt(np.asarray(candidates.A.astype(np.float64).power(2).sum(axis=0)).ravel())
    strength = np.minimum(norms * candidates.C.std(axis=1), _MAX_STRENGTH)
    counted = (minor > _MIN_AXIS_RATIO * np.maximum(major, 1e-12)) & ((radius < largest_px) | (strength >= strong))
    if not counted.any():
        return None
    return weighted_median(radius[counted], (radius**2 * strength)[counted])


def weighted_median(values: NDArray, weights: NDArray) -> float:
    """The value up to which half of the total weight lies.

    Args:
        values: (n,), n >= 1.
        weights: (n,), of each value, >= 0.

    Returns:
        One of the values.
    """
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, 0.5 * cumulative[-1])])
