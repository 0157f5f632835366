"""Nodes of the stage evaluation: they pass datasets of the catalog to an engine or an algorithm."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.deconvolution import infer_spikes_of_all
from rsc2p_kedro.algorithms.deconvolution.indicators import usual_delay
from rsc2p_kedro.algorithms.dff import choose_dark_level, describe_noise
from rsc2p_kedro.algorithms.evaluation import description, red_label
from rsc2p_kedro.algorithms.kept_frames import (
    extend_dff,
    extend_spikes,
    join_dff,
    take_components,
    take_frames,
)
from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.parameters import (
    DEFAULT_HALF_WIDTH_PX,
    CaimanSettings,
    Compute,
    EvaluationParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import (
    COMPONENT_CLASSES,
    SILENT,
    ComponentQuality,
    Components,
    DeltaFOverF,
    DetectorResponse,
    MotionCorrection,
    RedLabels,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.pipelines import exclusion
from rsc2p_kedro.pipelines.evaluation.curation import curate


@uses(recording="frame_rate_hz decay_time_s", evaluation="!dff_* !spike_*")
def evaluate_components(
    corrected_movie: da.Array,
    components: Components,
    excluded_frames: pd.DataFrame,
    recording: Recording,
    parameters: EvaluationParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> ComponentQuality:
    """Evaluates the quality of components and accepts or rejects them.

    Args:
        corrected_movie: corrected movie (T, H, W) that the components were extracted from.
        components: components of the refit.
        excluded_frames: frames that are left out.
        recording: the recording, whose own parameters take precedence.
        parameters: thresholds, and the engine to use.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.

    Returns:
        SNR, r_value, class, acceptance and its reason of each component.
    """
    parameters = recording.override(parameters)
    kept = exclusion.kept_frames(excluded_frames)
    return get_engine(parameters.engine, caiman).evaluate(
        take_frames(corrected_movie, kept),
        take_components(components, kept),
        recording.acquisition,
        parameters,
        compute=compute,
    )


@uses(recording="frame_rate_hz decay_time_s imaging_plane", evaluation="spike_*", nwb="imaging_plane")
def infer_component_spikes(
    components: Components,
    excluded_frames: pd.DataFrame,
    recording: Recording,
    parameters: EvaluationParameters,
    compute: Compute,
    nwb: NwbParameters,
) -> SpikeInference:
    """Infers spike rates of all components from their noisy traces.

    Args:
        components: components of the refit.
        excluded_frames: frames that are left out; there are no spikes in them.
        recording: the recording, whose own parameters and indicator take precedence.
        parameters: delay and supralinearity of the indicator.
        compute: resources of the machine; components are processed in parallel.
        nwb: metadata that recordings share, among them the indicator.

    Returns:
        Spike rates and event probabilities (N, T); decay time, transient amplitude and noise (N,).
    """
    parameters = recording.override(parameters)
    kept = exclusion.kept_frames(excluded_frames)
    seen, delay = take_components(components, kept), parameters.spike_delay
    if delay is None:
        delay = usual_delay(recording.imaging_plane.indicator or nwb.imaging_plane.indicator)
    spikes = infer_spikes_of_all(
        seen.traces + seen.residual_traces,
        recording.acquisition,
        delay=delay,
        supralinearity=parameters.spike_supralinearity,
        compute=compute,
    )
    return extend_spikes(spikes, kept)


@uses(recording="frame_rate_hz")
def tabulate_components(
    components: Components,
    component_quality: ComponentQuality,
    spike_inference: SpikeInference,
    excluded_frames: pd.DataFrame,
    recording: Recording,
    curation: pd.DataFrame | None = None,
    red_labels: RedLabels | None = None,
) -> pd.DataFrame:
    """Tabulates position, area, quality and acceptance of each component.

    Args:
        components: components of the refit.
        component_quality: their quality and acceptance.
        spike_inference: their spikes.
        excluded_frames: frames that do not count for the rate of events.
        recording: the recording, for its frame rate.
        curation: decisions of the user, which take precedence over those of the evaluation.
        red_labels: their signals in the structural channel, if there is one.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.ComponentTable`, one row per component.

    Raises:
        ValueError: there is a decision on a component that does not exist.
    """
    rate, quality = recording.frame_rate_hz, component_quality
    kept = exclusion.kept_frames(excluded_frames)
    centres = description.centres(components.footprints, components.shape)
    table = pd.DataFrame(
        {
            "component_id": components.ids,
            "centre_y_px": centres[:, 0],
            "centre_x_px": centres[:, 1],
            "area_px": description.areas(components.footprints),
            "snr": quality.snr,
            "r_value": quality.r_value,
            "classifier_score": np.nan if quality.classifier_score is None else quality.classifier_score,
            **_class_columns(components, quality),
            **_red_columns(red_labels),
            "baseline": components.baseline,
            "noise": components.noise,
            "decay_time_s": description.decay_times(components.ar_coefficients, rate),
            "n_transients": quality.n_transients,
            "event_rate_hz": description.event_rates(spike_inference.event_probability[:, kept], rate),
            "accepted": quality.accepted,
            "reason": np.array(quality.reasons, dtype=object),
            "curated": False,
        }
    )
    return table if curation is None else curate(table, curation)


def _class_columns(components: Components, quality: ComponentQuality) -> dict[str, NDArray]:
    """Class and probabilities of each component; without a classifier, only which ones are silent is known."""
    names = [f"{name}_probability" for name in COMPONENT_CLASSES]
    if quality.component_class is None or quality.class_probabilities is None:
        classes = np.array([SILENT if silent else None for silent in components.is_silent], dtype=object)
        probabilities = np.full((components.n_components, len(names)), np.nan)
    else:
        classes = np.array(quality.component_class, dtype=object)
        probabilities = quality.class_probabilities.astype(np.float64)
    return {"component_class": classes, **dict(zip(names, probabilities.T, strict=True))}


def _red_columns(red_labels: RedLabels | None) -> dict[str, NDArray]:
    """Signal and probability of the label; no columns where there is no structural channel."""
    if red_labels is None:
        return {}
    return {"red_signal": red_labels.red_signal, "red_probability": red_labels.red_probability}


def measure_red_labels(
    structural_movie: da.Array,
    corrected_movie: da.Array,
    motion: MotionCorrection,
    components: Components,
    excluded_frames: pd.DataFrame,
    corrected_summary_images: SummaryImages,
    structural_summary_images: SummaryImages,
    recording: Recording,
    motion_correction: MotionCorrectionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> RedLabels:
    """Measures which components have the label of the structural channel.

    Args:
        structural_movie: raw movie (T, H, W) of the structural channel.
        corrected_movie: corrected movie (T, H, W) of the functional channel.
        motion: motion of the recording, which is applied to the structural channel.
        components: components of the refit.
        excluded_frames: frames that are left out; in them, both channels may show the same artefact.
        corrected_summary_images: of the functional channel.
        structural_summary_images: of the structural channel, corrected.
        recording: the recording, whose own parameters take precedence.
        motion_correction: engine that applies the shifts.
        compute: resources of the machine.
        caiman: location of the user's CaImAn.

    Returns:
        Red signal and probability of each component, and the crosstalk.
    """
    parameters = recording.override(motion_correction)
    corrected = get_engine(parameters.engine, caiman).apply_motion(structural_movie, motion, parameters)
    kept = exclusion.kept_frames(excluded_frames)
    movies = (take_frames(movie, kept) for movie in (corrected, corrected_movie))
    red, green = (red_label.mean_traces(movie, components.footprints, compute=compute) for movie in movies)
    return red_label.label_components(
        take_components(components, kept),
        structural_summary_images.mean,
        corrected_summary_images.mean,
        red,
        green,
        motion.valid_mask,
        half_width_px=components.neuron_half_width_px or DEFAULT_HALF_WIDTH_PX,
    )


@uses(recording="frame_rate_hz decay_time_s", evaluation="engine dff_*")
def compute_dff(
    components: Components,
    excluded_frames: pd.DataFrame,
    frame_table: pd.DataFrame,
    detector_response: DetectorResponse,
    recording: Recording,
    parameters: EvaluationParameters,
    caiman: CaimanSettings,
) -> DeltaFOverF:
    """Computes dF/F of all components, and its noise and error.

    Args:
        components: components of the refit.
        excluded_frames: frames that are left out; dF/F is interpolated there.
        frame_table: trial of each frame, for `dff_within_files`.
        detector_response: dark level, where the user gives none, and gain.
        recording: the recording, whose own parameters take precedence.
        parameters: percentile and window of the baseline, and the engine to use.
        caiman: location of the user's CaImAn.

    Returns:
        dF/F and F0, (N, T) each, with the dark level and what it and the photons leave uncertain.

    Raises:
        ValueError: `dff_within_files` is set, and a trial has too few frames.
    """
    parameters = recording.override(parameters)
    engine, kept = get_engine(parameters.engine, caiman), exclusion.kept_frames(excluded_frames)
    seen = take_components(components, kept)
    # All trials have the dark level of the whole recording, which more pixels and levels determine.
    level, error, source = choose_dark_level(parameters.dff_dark_level, detector_response)
    parameters = parameters.model_copy(update={"dff_dark_level": level})
    if not parameters.dff_within_files:
        dff = engine.compute_dff(seen, recording.acquisition, parameters)
    else:
        trials = frame_table["trial"].to_numpy()[kept]
        parts = [take_components(seen, trials == name) for name in exclusion.long_trials(trials)]
        dff = join_dff([engine.compute_dff(part, recording.acquisition, parameters) for part in parts])
    dff = replace(dff, dark_level_error=error, dark_level_source=source)
    return extend_dff(describe_noise(dff, seen, recording.acquisition, detector_response), kept)
