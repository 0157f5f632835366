"""What an engine does. The rest of the pipeline cannot tell which one ran, except by the provenance it writes."""

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
    """Numerical work on a lazy movie (T, H, W)."""

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
            neuron_half_width_px: half-width of a neuron in px; lengths that belong to the tissue scale with it.

        Returns:
            Template, shifts to apply in px, and the quality of each frame's registration.
        """
        ...

    def apply_motion(
        self, movie: da.Array, motion: MotionCorrection, parameters: MotionCorrectionParameters
    ) -> da.Array:
        """The corrected movie (T, H, W), lazy: nothing is computed before it is stored."""
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
    ) -> Components:
        """The first fit of a corrected movie, or, given an `earlier` result, its refit.

        `seeds` are centres (n, 2) as (y, x) in px or masks (n, H, W), for `initialization: seeded`.
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
        """Quality and acceptance of components on the movie they were found in."""
        ...

    def compute_dff(
        self, components: Components, acquisition: Acquisition, parameters: EvaluationParameters
    ) -> DeltaFOverF:
        """Relative change of the fluorescence of all components."""
        ...
