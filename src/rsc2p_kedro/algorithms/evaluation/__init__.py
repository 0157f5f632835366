"""Which components are cells: how exceptional their transients are, and how well the movie fits their footprints."""

import numpy as np

from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.evaluation.acceptance import decide
from rsc2p_kedro.algorithms.evaluation.snr import Transients, find_transients
from rsc2p_kedro.algorithms.evaluation.spatial_consistency import neighbours, r_values, transient_weights
from rsc2p_kedro.engines.results import ComponentQuality, Components
from rsc2p_kedro.parameters import Acquisition, Compute, EvaluationParameters

__all__ = ["decide", "evaluate_components"]

_GROUP = 32


def _check(movie: blocks.Movie, components: Components) -> None:
    expected = (components.n_frames, *components.shape)
    if movie.shape != expected:
        raise ValueError(
            f"Components cannot be evaluated: they are those of a movie (T, H, W) of {expected}, this one is "
            f"{movie.shape}. Evaluate them on the movie they were found in."
        )


def _transients(components: Components, acquisition: Acquisition, compute: Compute) -> Transients:
    """Transients of all components, some components at a time."""
    groups = blocks.frame_blocks(components.n_components, _GROUP)
    parts = blocks.run(
        lambda s: find_transients(components.traces[s] + components.residual_traces[s], acquisition),
        groups,
        compute=compute,
        description="Transients",
        unit="component",
        sizes=[s.stop - s.start for s in groups],
    )
    columns = zip(*((p.snr, p.frames, p.active) for p in parts), strict=True)
    return Transients(*map(np.concatenate, columns))


def _count_runs(frames: np.ndarray) -> np.ndarray:
    """Runs of consecutive frames (N,) in masks (N, T)."""
    return (np.diff(frames.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=1)


def evaluate_components(
    movie: blocks.Movie,
    components: Components,
    acquisition: Acquisition,
    parameters: EvaluationParameters,
    *,
    compute: Compute,
) -> ComponentQuality:
    """Quality and acceptance of components on the movie they were found in.

    Args:
        movie: (T, H, W), lazy or not.
        components: found in that movie.
        acquisition: frame rate and decay time, which set how long a transient is.
        parameters: thresholds.
        compute: what the machine may use; it does not change the result by a bit.

    Raises:
        ValueError: the components are not of this movie.
    """
    _check(movie, components)
    if not components.n_components:
        nothing = np.zeros(0, np.float32)
        return ComponentQuality(nothing, nothing, np.zeros(0, bool), (), np.zeros(0, np.int64))
    transients = _transients(components, acquisition, compute)
    weights = transient_weights(components.traces, transients.frames, neighbours(components.footprints))
    r_value = r_values(movie, components, weights, compute=compute).astype(np.float32)
    snr = transients.snr.astype(np.float32)
    accepted, reasons = decide(snr, r_value, parameters)
    return ComponentQuality(
        snr=snr,
        r_value=r_value,
        accepted=accepted,
        reasons=reasons,
        n_transients=_count_runs(transients.frames).astype(np.int64),
    )
