"""Adapters of evaluation: the catalog on one side, an engine on the other."""

import dask.array as da
import numpy as np
import pandas as pd

from rsc2p_kedro.algorithms.deconvolution import infer_spikes_of_all
from rsc2p_kedro.algorithms.evaluation import description
from rsc2p_kedro.core.parameters import CaimanSettings, Compute, EvaluationParameters
from rsc2p_kedro.core.results import ComponentQuality, Components, DeltaFOverF, SpikeInference
from rsc2p_kedro.datasets.curation import curate, read_curation
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.recordings import Recording


def evaluate_components(
    corrected_movie: da.Array,
    components: Components,
    recording: Recording,
    parameters: EvaluationParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> ComponentQuality:
    """How far each component can be trusted, and whether it is accepted."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).evaluate(
        corrected_movie, components, recording.acquisition, parameters, compute=compute
    )


def infer_component_spikes(
    components: Components, recording: Recording, parameters: EvaluationParameters, compute: Compute
) -> SpikeInference:
    """Spike rates of all components, from their noisy traces; some components at a time."""
    parameters = recording.override(parameters)
    return infer_spikes_of_all(
        components.traces + components.residual_traces,
        recording.acquisition,
        delay=parameters.spike_delay,
        supralinearity=parameters.spike_supralinearity,
        compute=compute,
    )


def tabulate_components(
    components: Components,
    component_quality: ComponentQuality,
    spike_inference: SpikeInference,
    recording: Recording,
) -> pd.DataFrame:
    """One row a component: where it is, how good it is, and the decision, the user's own before all others."""
    rate, quality = recording.frame_rate_hz, component_quality
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
            "baseline": components.baseline,
            "noise": components.noise,
            "decay_time_s": description.decay_times(components.ar_coefficients, rate),
            "n_transients": quality.n_transients,
            "event_rate_hz": description.event_rates(spike_inference.event_probability, rate),
            "accepted": quality.accepted,
            "reason": np.array(quality.reasons, dtype=object),
            "curated": False,
        }
    )
    return table if recording.curation is None else curate(table, read_curation(recording.curation))


def compute_dff(
    components: Components, recording: Recording, parameters: EvaluationParameters, caiman: CaimanSettings
) -> DeltaFOverF:
    """Relative change of fluorescence of all components."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).compute_dff(components, recording.acquisition, parameters)


def tabulate_all_components(names: list[str], *component_tables: pd.DataFrame) -> pd.DataFrame:
    """The components of all recordings in one table, each under the name of its recording."""
    return pd.concat(dict(zip(names, component_tables, strict=True)), names=["recording"]).reset_index(level=0)
