"""Which frames are left out: what the manifest says, and what is wrong with each frame, in one table."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.bad_frames import GIVEN
from rsc2p_kedro.core.parameters import IngestionParameters
from rsc2p_kedro.datasets.raw.frames import MINIMUM_FRAMES
from rsc2p_kedro.manifest.recordings import Recording


def exclusion_table(
    recording: Recording,
    parameters: IngestionParameters,
    found: NDArray[np.str_],
    ranges: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Decides which frames of the raw movie are left out.

    Args:
        recording: the recording, whose `exclude_frames` takes precedence.
        parameters: of ingestion.
        found: (T,) what is wrong with each frame, found in the movie; empty where it is good.
        ranges: the user's table of frames, where the recording names one.

    Returns:
        An :class:`~rsc2p_kedro.core.schemas.ExclusionTable`, one row per frame.

    Raises:
        ValueError: frames are beyond the end of the movie, or too few are left.
    """
    n_frames, reasons = len(found), found.astype(object)
    excluded = (found != "") if finds_frames(recording, parameters) else np.zeros(n_frames, bool)
    for start, stop, reason in (*_given(recording), *(() if ranges is None else ranges.itertuples(index=False))):
        if stop > n_frames:
            raise ValueError(
                f"`exclude_frames` of {recording.name} names frames {start} to {stop}, but the movie has {n_frames}: "
                "count from the first frame that is used, 0; the second number is the frame after the last one."
            )
        excluded[start:stop], reasons[start:stop] = True, reason or GIVEN
    return checked_table(recording, excluded, reasons)


def checked_table(recording: Recording, excluded: NDArray[np.bool_], reasons: NDArray) -> pd.DataFrame:
    """Makes an exclusion table, and checks that enough frames are left.

    Args:
        recording: the recording, for its name.
        excluded: (T,).
        reasons: (T,) texts.

    Returns:
        An :class:`~rsc2p_kedro.core.schemas.ExclusionTable`.

    Raises:
        ValueError: too few frames are left.
    """
    left = int((~excluded).sum())
    if left < MINIMUM_FRAMES:
        kinds = ", ".join(
            f"{number} {reason}" for reason, number in pd.Series(reasons[excluded]).value_counts().items()
        )
        raise ValueError(
            f"Of {len(excluded)} frames of {recording.name} only {left} are left, at least {MINIMUM_FRAMES} are needed "
            f"({kinds}). Check the raw frames, or set `exclude_frames: none` for this recording to use them all."
        )
    return pd.DataFrame({"frame": np.arange(len(excluded)), "excluded": excluded, "reason": reasons.astype(str)})


def kept_frames(table: pd.DataFrame) -> NDArray[np.bool_]:
    """The frames that are not left out.

    Args:
        table: one row per frame.

    Returns:
        (T,) bool.
    """
    return ~table["excluded"].to_numpy(dtype=bool)


def finds_frames(recording: Recording, parameters: IngestionParameters) -> bool:
    """Whether frames are left out that are found to be bad.

    Args:
        recording: the recording, whose `exclude_frames` takes precedence.
        parameters: of ingestion.

    Returns:
        True for `auto`, alone or among ranges.
    """
    wanted = recording.exclude_frames
    if wanted is None:
        return recording.override(parameters).exclude_frames == "auto"
    return wanted == "auto" or (isinstance(wanted, tuple) and "auto" in wanted)


def uses_all_frames(recording: Recording, parameters: IngestionParameters) -> bool:
    """Whether all frames are used, even those that could not be registered.

    Args:
        recording: the recording, whose `exclude_frames` takes precedence.
        parameters: of ingestion.

    Returns:
        True for `none`.
    """
    wanted = recording.exclude_frames
    return (recording.override(parameters).exclude_frames if wanted is None else wanted) == "none"


def long_trials(trials: NDArray) -> list[str]:
    """The trials of a recording, which dF/F is computed within.

    Args:
        trials: (n,) trial of each frame that is kept.

    Returns:
        Their names in order.

    Raises:
        ValueError: a trial has too few frames for a baseline of its own.
    """
    names, first, counts = np.unique(trials, return_index=True, return_counts=True)
    short = names[counts < MINIMUM_FRAMES].tolist()
    if short:
        raise ValueError(
            f"`dff_within_files: true` needs trials (files) of at least {MINIMUM_FRAMES} frames that are not excluded; "
            f"{len(short)} have fewer, such as {short[0]}. Set it to false for this recording."
        )
    return names[np.argsort(first)].tolist()


def _given(recording: Recording) -> Iterable[tuple[int, int, str]]:
    """Ranges that stand in the manifest."""
    wanted = recording.exclude_frames
    return [(*item, "") for item in wanted if item != "auto"] if isinstance(wanted, tuple) else []
