"""The project's own engine: `rsc2p_kedro.algorithms` behind the engine protocol."""

from dataclasses import replace

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro import __version__
from rsc2p_kedro.algorithms import evaluation, extraction, registration
from rsc2p_kedro.algorithms.dff import component_dff
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    FrozenModel,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, MotionCorrection


def _provenance(parameters: FrozenModel) -> dict[str, str]:
    """Engine, version and parameters that made a result."""
    return {"engine": "embedded", "version": __version__, "parameters": parameters.model_dump_json()}


class EmbeddedEngine:
    """The algorithms of this project behind the interface :class:`rsc2p_kedro.engines.protocol.Engine`.

    Its results are the same, bit for bit, for any number of threads.
    """

    def correct_motion(
        self,
        movie: da.Array,
        parameters: MotionCorrectionParameters,
        *,
        compute: Compute,
        neuron_half_width_px: float = 4,
    ) -> MotionCorrection:
        """Estimates the motion of a movie with :func:`rsc2p_kedro.algorithms.registration.estimate_motion`.

        Args:
            movie: (T, H, W), integers or floats.
            parameters: of motion correction.
            compute: resources of the machine.
            neuron_half_width_px: half-width of a neuron in px; the length of spatial smoothing scales with it.

        Returns:
            Template (H, W), rigid and patch shifts to apply in px, and the quality of each frame's registration. Frames
            that could not be registered are flagged, their shifts interpolated over time.
        """
        motion = registration.estimate_motion(
            movie, parameters, compute=compute, neuron_half_width_px=neuron_half_width_px
        )
        grid = (parameters.patch_stride_px, parameters.patch_overlap_px) if motion.piecewise else (None, None)
        return replace(motion, patch_stride_px=grid[0], patch_overlap_px=grid[1], provenance=_provenance(parameters))

    def apply_motion(
        self, movie: da.Array, motion: MotionCorrection, parameters: MotionCorrectionParameters
    ) -> da.Array:
        """Corrects the motion of a movie lazily: each frame is interpolated once.

        Args:
            movie: (T, H, W), the movie that the motion was estimated from.
            motion: motion of that movie, estimated by any engine.
            parameters: of motion correction; `corrected_dtype` sets the dtype of the result.

        Returns:
            Corrected movie (T, H, W), lazy, in chunks of 64 whole frames.
        """
        return registration.apply_motion(movie, motion, parameters)

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
        """Fits or refits components with :mod:`rsc2p_kedro.algorithms.extraction`.

        Args:
            movie: (T, H, W), motion-corrected, finite inside `valid_mask`.
            acquisition: frame rate in Hz and decay time of the indicator in s.
            parameters: of source extraction.
            compute: resources of the machine.
            valid_mask: (H, W), pixels to use. None uses all pixels.
            seeds: centres (n, 2) as (y, x) in px, or masks (n, H, W); not used by a refit.
            earlier: components to refit, from any engine. None fits the movie from the start.
            saturation_level: value from which on the detector saturates. None for never.

        Returns:
            The components.
        """
        if earlier is None:
            components = extraction.fit(
                movie,
                acquisition,
                parameters,
                compute=compute,
                valid_mask=valid_mask,
                seeds=seeds,
                saturation_level=saturation_level,
            )
        else:
            components = extraction.refit(
                movie,
                earlier,
                acquisition,
                parameters,
                compute=compute,
                valid_mask=valid_mask,
                saturation_level=saturation_level,
            )
        return replace(components, provenance=_provenance(parameters))

    def evaluate(
        self,
        movie: da.Array,
        components: Components,
        acquisition: Acquisition,
        parameters: EvaluationParameters,
        *,
        compute: Compute,
    ) -> ComponentQuality:
        """Measures and accepts components with :func:`rsc2p_kedro.algorithms.evaluation.evaluate_components`.

        Args:
            movie: (T, H, W), motion-corrected.
            components: N components extracted from that movie, by any engine.
            acquisition: frame rate in Hz and decay time of the indicator in s.
            parameters: thresholds of acceptance, and which classes are accepted.
            compute: resources of the machine.

        Returns:
            SNR, `r_value`, acceptance and its reason, (N,) each; class and probabilities if the classifier was run.
        """
        quality = evaluation.evaluate_components(movie, components, acquisition, parameters, compute=compute)
        return replace(quality, provenance=_provenance(parameters))

    def compute_dff(
        self, components: Components, acquisition: Acquisition, parameters: EvaluationParameters
    ) -> DeltaFOverF:
        """Computes dF/F with :func:`rsc2p_kedro.algorithms.dff.component_dff`.

        Args:
            components: N components with T frames.
            acquisition: frame rate in Hz.
            parameters: percentile, window in s and dark level in counts.

        Returns:
            dF/F and F0, (N, T) each. Where F0 is too low it is raised to its guard, and the component is flagged.
        """
        return component_dff(components, acquisition, parameters)
