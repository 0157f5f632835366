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
    """What made a result: a later run may have other parameters, and the result stays what it is."""
    return {"engine": "embedded", "version": __version__, "parameters": parameters.model_dump_json()}


class EmbeddedEngine:
    """See :class:`rsc2p_kedro.engines.protocol.Engine`."""

    def correct_motion(
        self,
        movie: da.Array,
        parameters: MotionCorrectionParameters,
        *,
        compute: Compute,
        neuron_half_width_px: int = 4,
    ) -> MotionCorrection:
        """Estimates the motion of a movie.

        Args:
            movie: (T, H, W), integers or floats.
            parameters: of motion correction.
            compute: resources of the machine.
            neuron_half_width_px: half-width of a neuron in px; the length of spatial smoothing scales with it.

        Returns:
            Template, shifts to apply in px, and the quality of each frame's registration.
        """
        motion = registration.estimate_motion(
            movie, parameters, compute=compute, neuron_half_width_px=neuron_half_width_px
        )
        grid = (parameters.patch_stride_px, parameters.patch_overlap_px) if motion.piecewise else (None, None)
        return replace(motion, patch_stride_px=grid[0], patch_overlap_px=grid[1], provenance=_provenance(parameters))

    def apply_motion(
        self, movie: da.Array, motion: MotionCorrection, parameters: MotionCorrectionParameters
    ) -> da.Array:
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
    ) -> Components:
        if earlier is None:
            found = extraction.fit(movie, acquisition, parameters, compute=compute, valid_mask=valid_mask, seeds=seeds)
        else:
            found = extraction.refit(movie, earlier, acquisition, parameters, compute=compute, valid_mask=valid_mask)
        return replace(found, provenance=_provenance(parameters))

    def evaluate(
        self,
        movie: da.Array,
        components: Components,
        acquisition: Acquisition,
        parameters: EvaluationParameters,
        *,
        compute: Compute,
    ) -> ComponentQuality:
        quality = evaluation.evaluate_components(movie, components, acquisition, parameters, compute=compute)
        return replace(quality, provenance=_provenance(parameters))

    def compute_dff(
        self, components: Components, acquisition: Acquisition, parameters: EvaluationParameters
    ) -> DeltaFOverF:
        return component_dff(components, acquisition, parameters)
