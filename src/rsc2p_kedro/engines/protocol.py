"""The interface of engines, which do the numerical work of motion correction, source extraction and evaluation.

The rest of the pipeline does not depend on the engine; the provenance of each result names it.

Conventions: movies are (T, H, W) and images (H, W), rows then columns. Positions are (y, x) and shifts (dy, dx), in px.
A shift is to be applied to a frame: it is minus the displacement of the frame's content. Footprints have one row per
pixel, in C order.
"""

from typing import Protocol

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection


class Engine(Protocol):
    """Motion correction, source extraction and evaluation of a lazy movie.

    Every result carries the engine's name, its version and the parameters in `provenance`.
    """

    def correct_motion(
        self,
        movie: da.Array,
        parameters: MotionCorrectionParameters,
        *,
        compute: Compute,
        neuron_half_width_px: float = 4,
    ) -> MotionCorrection:
        """Estimates the motion of a movie.

        Args:
            movie: (T, H, W), integers or floats.
            parameters: of motion correction.
            compute: resources of the machine; they do not change the result of the embedded engine.
            neuron_half_width_px: half-width of a neuron in px; lengths that belong to the tissue scale with it.

        Returns:
            Template (H, W), rigid shifts (T, 2) in px to apply, shifts (T, P, 2) at the centres of P patches (P is 0 if
            motion is rigid), the pixels (H, W) that every registered frame covers, and the quality (T,) of each frame's
            registration. `patch_stride_px` and `patch_overlap_px` are those of the patches; None if motion is rigid.

        Raises:
            ValueError: the embedded engine cannot use the movie (its shape or dtype).
            CaimanError: CaImAn is missing or has failed.
        """
        ...

    def apply_motion(
        self, movie: da.Array, motion: MotionCorrection, parameters: MotionCorrectionParameters
    ) -> da.Array:
        """Corrects the motion of a movie lazily: nothing is computed before the result is stored.

        Args:
            movie: (T, H, W), the movie that the motion was estimated from.
            motion: motion of that movie, estimated by the same engine.
            parameters: of motion correction; `corrected_dtype` sets the dtype of the result.

        Returns:
            Corrected movie (T, H, W), lazy, in chunks of 64 whole frames and without missing values: pixels whose
            source is outside the frame take the value of the nearest pixel of the frame.

        Raises:
            ValueError: the movie and the motion differ in shape (embedded engine).
            CaimanError: CaImAn did not estimate this motion; or, when a chunk is computed, CaImAn has failed.
        """
        ...

    def extract_sources(
        self,
        movie: da.Array,
        acquisition: Acquisition,
        parameters: ExtractionParameters,
        *,
        compute: Compute,
        valid_mask: NDArray[np.bool_] | None = None,
        seeds: NDArray | None = None,
        earlier: Components | None = None,
        saturation_level: float | None = None,
    ) -> Components:
        """Fits the components of a motion-corrected movie, or refits those of an earlier fit.

        Args:
            movie: (T, H, W), motion-corrected, finite inside `valid_mask`.
            acquisition: frame rate in Hz and decay time of the indicator in s.
            parameters: of source extraction.
            compute: resources of the machine; they do not change the result of the embedded engine.
            valid_mask: (H, W), pixels to use. None uses all pixels.
            seeds: centres (n, 2) as (y, x) in px, or masks (n, H, W), for `initialization: seeded`.
            earlier: components to refit. None fits the movie from the start.
            saturation_level: value from which on the detector saturates, as
                :func:`~rsc2p_kedro.algorithms.detector.measure_detector` finds it: such values get no weight (embedded
                engine; CaImAn has no such weights). None for never.

        Returns:
            N components with footprints (H*W, N) of unit norm, traces (N, T) in the units of the movie, background and
            noise. `neuron_half_width_px` is that of the parameters and `n_fitted_background` the number of leading
            background components that were fitted. A refit keeps the ids of the components that survive it and has a
            `lineage`.

        Raises:
            ValueError: seeds are missing or would not be used, or the shapes of movie and earlier components differ
                (embedded engine).
            CaimanError: seeds are missing, another engine made the earlier components, or CaImAn has failed.
        """
        ...

    def evaluate(
        self,
        movie: da.Array,
        components: Components,
        acquisition: Acquisition,
        parameters: EvaluationParameters,
        *,
        compute: Compute,
    ) -> ComponentQuality:
        """Measures the quality of components on the movie that they were extracted from, and accepts or rejects them.

        Args:
            movie: (T, H, W), motion-corrected.
            components: N components extracted from that movie, by any engine.
            acquisition: frame rate in Hz and decay time of the indicator in s, which set the length of a transient.
            parameters: thresholds of acceptance, and which classes are accepted.
            compute: resources of the machine; they do not change the result of the embedded engine.

        Returns:
            SNR, spatial correlation (`r_value`), acceptance and its reason, (N,) each; the score (N,) of the
            classifier, and class and probabilities of each component (embedded engine), if it is used.

        Raises:
            ValueError: the components do not belong to the movie, or the classifier is used and the components have no
                `neuron_half_width_px` (embedded engine).
            CaimanError: CaImAn or the weights of its classifier are missing, or CaImAn has failed.
        """
        ...

    def compute_dff(
        self, components: Components, acquisition: Acquisition, parameters: EvaluationParameters
    ) -> DeltaFOverF:
        """Computes dF/F of all components, accepted or not.

        Args:
            components: N components with T frames.
            acquisition: frame rate in Hz, which converts the window of the running percentile to frames.
            parameters: percentile, window in s and dark level in counts.

        Returns:
            dF/F (N, T), where 1 is 100 %, its denominator F0 (N, T) in the units of the movie, and the components (N,)
            whose F0 was too low somewhere.

        Raises:
            CaimanError: CaImAn is missing or has failed.
        """
        ...
