"""Nodes of the stage source extraction: they pass datasets of the catalog to an engine."""

import dask.array as da
import pandas as pd
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.kept_frames import extend_components, take_components, take_frames
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import CaimanSettings, Compute, ExtractionParameters
from rsc2p_kedro.core.results import Components, DetectorSaturation, MotionCorrection
from rsc2p_kedro.datasets.seeds import check_seeds
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines import exclusion


@uses(recording="frame_rate_hz decay_time_s", source_extraction="!find_silent")
def fit_components(
    corrected_movie: da.Array,
    motion: MotionCorrection,
    excluded_frames: pd.DataFrame,
    detector_saturation: DetectorSaturation,
    recording: Recording,
    parameters: ExtractionParameters,
    compute: Compute,
    caiman: CaimanSettings,
    seeds: NDArray | None = None,
) -> Components:
    """Fits components to the corrected movie (first fit).

    Args:
        corrected_movie: corrected movie (T, H, W).
        motion: its motion, whose valid mask limits the search for neurons.
        excluded_frames: frames that are left out; traces are interpolated there, and there are no spikes.
        detector_saturation: level from which the detector saturates; such values get no weight (embedded engine).
        recording: the recording, whose own parameters take precedence.
        parameters: parameters of source extraction, including the engine.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.
        seeds: centres (n, 2) as (y, x) in px or masks (n, H, W), for `initialization: seeded`.

    Returns:
        The components of the first fit.

    Raises:
        ValueError: `initialization: seeded` without seeds, or with seeds that do not fit the movie.
    """
    parameters = recording.override(parameters)
    if parameters.initialization == "seeded":
        seeds = check_seeds(seeds, corrected_movie.shape[1:], source=recording.seeds or "seeds")
    kept = exclusion.kept_frames(excluded_frames)
    components = get_engine(parameters.engine, caiman).extract_sources(
        take_frames(corrected_movie, kept),
        recording.acquisition,
        parameters,
        compute=compute,
        valid_mask=motion.valid_mask,
        saturation_level=detector_saturation.level,
        seeds=seeds if parameters.initialization == "seeded" else None,
    )
    return extend_components(components, kept)


@uses(recording="frame_rate_hz decay_time_s")
def refit_components(
    corrected_movie: da.Array,
    motion: MotionCorrection,
    excluded_frames: pd.DataFrame,
    detector_saturation: DetectorSaturation,
    fit_components: Components,
    recording: Recording,
    parameters: ExtractionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> Components:
    """Refits the components of the first fit.

    Args:
        corrected_movie: corrected movie (T, H, W).
        motion: its motion, whose valid mask limits the search for neurons.
        excluded_frames: frames that are left out; traces are interpolated there, and there are no spikes.
        detector_saturation: level from which the detector saturates; such values get no weight (embedded engine).
        fit_components: components of the first fit, by the same engine.
        recording: the recording, whose own parameters take precedence.
        parameters: parameters of source extraction, including the engine.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.

    Returns:
        The components of the refit, with their lineage.
    """
    parameters = recording.override(parameters)
    kept = exclusion.kept_frames(excluded_frames)
    components = get_engine(parameters.engine, caiman).extract_sources(
        take_frames(corrected_movie, kept),
        recording.acquisition,
        parameters,
        compute=compute,
        valid_mask=motion.valid_mask,
        saturation_level=detector_saturation.level,
        earlier=take_components(fit_components, kept),
    )
    return extend_components(components, kept)


def tabulate_lineage(components: Components) -> pd.DataFrame:
    """Tabulates the lineage of each component between fit and refit.

    Args:
        components: components of the refit.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.LineageTable`, one row per component of the fit or the refit.
    """
    rows = [(e.component_id, e.event, " ".join(map(str, e.parents)), e.reason) for e in components.lineage]
    return pd.DataFrame(rows, columns=["component_id", "event", "parents", "reason"])
