"""Adapters of source extraction: the catalog on one side, an engine on the other."""

import dask.array as da
import pandas as pd

from rsc2p_kedro.core.parameters import CaimanSettings, Compute, ExtractionParameters
from rsc2p_kedro.core.results import Components, MotionCorrection
from rsc2p_kedro.datasets.seeds import check_seeds, read_seeds
from rsc2p_kedro.engines import get_engine
from rsc2p_kedro.manifest.recordings import Recording


def fit_components(
    corrected_movie: da.Array,
    motion: MotionCorrection,
    recording: Recording,
    parameters: ExtractionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> Components:
    """The first fit."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).extract_sources(
        corrected_movie,
        recording.acquisition,
        parameters,
        compute=compute,
        valid_mask=motion.valid_mask,
        seeds=check_seeds(
            None if recording.seeds is None else read_seeds(recording.seeds),
            corrected_movie.shape[1:],
            source=str(recording.seeds),
        )
        if parameters.initialization == "seeded"
        else None,
    )


def refit_components(
    corrected_movie: da.Array,
    fit_components: Components,
    motion: MotionCorrection,
    recording: Recording,
    parameters: ExtractionParameters,
    compute: Compute,
    caiman: CaimanSettings,
) -> Components:
    """The refit, from the first fit."""
    parameters = recording.override(parameters)
    return get_engine(parameters.engine, caiman).extract_sources(
        corrected_movie,
        recording.acquisition,
        parameters,
        compute=compute,
        valid_mask=motion.valid_mask,
        earlier=fit_components,
    )


def tabulate_lineage(components: Components) -> pd.DataFrame:
    """What became of each component between fit and refit."""
    rows = [(e.component_id, e.event, " ".join(map(str, e.parents)), e.reason) for e in components.lineage]
    return pd.DataFrame(rows, columns=["component_id", "event", "parents", "reason"])
