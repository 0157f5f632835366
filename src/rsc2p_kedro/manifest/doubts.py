"""What is probably wrong with recordings although a run would succeed: told by `kedro recordings check` and by runs."""

import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from rsc2p_kedro.core.plausibility import questions
from rsc2p_kedro.datasets.frame_times import read_frame_times
from rsc2p_kedro.datasets.raw import Layout, RawRecording
from rsc2p_kedro.manifest.recordings import Recording

_QUIET_S = 60
"""Files that changed within this time may still be written or copied. Chosen, not tuned."""


def recording_doubts(recording: Recording, *, read_files: bool = True, raw: RawRecording | None = None) -> list[str]:
    """Finds values of a recording that are unusual, and signs that its files are not complete.

    Args:
        recording: with valid values.
        read_files: whether to look at the headers of its files as well, which takes seconds where they are many.
        raw: its files, if they have been inspected already.

    Returns:
        One line for each doubt, with the likely cause.
    """
    doubts = [
        *questions("frame_rate_hz", recording.frame_rate_hz),
        *questions("pixel_size_um", *(recording.pixel_size_um or ())),
        *questions("decay_time_s", recording.decay_time_s),
    ]
    if not read_files or recording.simulation is not None or not recording.path.exists():
        return doubts
    raw = raw or recording.inspect()
    notes = [f"raw data: {note}." for note in raw.notes]
    return [*doubts, *notes, *_recent_changes(raw), *_surplus_times(recording, raw)]


def _recent_changes(raw: RawRecording) -> list[str]:
    """Whether the folder or the last file changed just now."""
    paths = [raw.path, *(file.path for file in raw.files[-1:])]
    age = time.time() - max((path.stat().st_mtime for path in paths if path.exists()), default=0)
    if not 0 <= age < _QUIET_S:
        return []
    return [
        f"raw data: {raw.path} changed {age:.0f} s ago. If it is still being recorded or copied, wait until it is "
        "complete and run again."
    ]


def _surplus_times(recording: Recording, raw: RawRecording) -> list[str]:
    """Whether there are times of more frames than there are on disk."""
    if recording.frame_times is None or not raw.n_frames:
        return []
    try:
        n_times = len(read_frame_times(recording.frame_times, frame_rate_hz=recording.frame_rate_hz))
    except ValueError:
        return []  # reported as a problem
    if n_times <= raw.n_frames:
        return []
    return [
        f"frame_times: {recording.frame_times} has {n_times} times, but there are {raw.n_frames} frames on disk. If "
        "the last ones are missing, copy them."
    ]


def shared_data(recordings: Sequence[Recording]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Finds recordings that are made of the same frames.

    Args:
        recordings: all recordings of the manifest; of one with several planes, the session or any one of them.

    Returns:
        Problems (two animals cannot have the same frames, and two simulated recordings would overwrite each other) and
        doubts (two sessions of one animal), by the name of the later recording.
    """
    by_path: dict[tuple[Path, Layout], list[Recording]] = defaultdict(list)
    for recording in recordings:
        by_path[recording.path.resolve(), recording.layout].append(recording)
    problems: dict[str, list[str]] = defaultdict(list)
    doubts: dict[str, list[str]] = defaultdict(list)
    for (path, _), sharing in by_path.items():
        for first, second in combinations(sharing, 2):
            if not _overlap(first, second):
                continue
            certain = first.animal != second.animal or None not in (first.simulation, second.simulation)
            line, later = f"path: {path} is the data of {first.session_name} too", second.session_name
            if certain:
                problems[later].append(f"{line}: correct one of them, or tell them apart by `frames` or `files`.")
            else:
                doubts[later].append(f"{line}; if this is not meant, correct one of them.")
    return dict(problems), dict(doubts)


def _overlap(first: Recording, second: Recording) -> bool:
    """Whether two recordings of one path have frames in common."""
    if first.frames is None or second.frames is None:
        return True
    return first.frames[0] < second.frames[1] and second.frames[0] < first.frames[1]
