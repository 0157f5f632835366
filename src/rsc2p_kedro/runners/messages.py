"""What a run says: one line for each recording, progress, and a few lines at the end."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kedro.pipeline.node import Node

from rsc2p_kedro.core.commands import command
from rsc2p_kedro.datasets.pruning import StoredDataset, size_in_words, size_of_old_versions
from rsc2p_kedro.runners.freshness import NodeState, Plan, stage_of

logger = logging.getLogger(__name__)


@dataclass
class RunReport:
    """What a run has done so far.

    Attributes:
        n_recordings: recordings that were selected.
        seconds: run time of each recording of which something was made.
        reused: recordings of which nothing had to be made.
        failures: error of each recording that failed.
        joint: tables and pages over all recordings that were made.
        left_out: recordings that are not in them, because they have no results.
        log: file with all messages.
        start: start of the run, on the clock of `time.perf_counter`.
    """

    n_recordings: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    joint: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    log: Path | None = None
    start: float = field(default_factory=time.perf_counter)

    @property
    def n_done(self) -> int:
        """Recordings that are done, successfully or not."""
        return len(self.seconds) + len(self.reused) + len(self.failures)

    def done(self, name: str, *, made: bool, seconds: float, n_frames: int = 0) -> None:
        """Counts a recording.

        Args:
            name: its name.
            made: whether anything was made.
            seconds: run time.
            n_frames: of its movie; 0 if that is not known.
        """
        if made:
            self.seconds[name] = self.seconds.get(name, 0) + seconds
            self.reused = [reused for reused in self.reused if reused != name]
            speed = f" ({n_frames} frames, {n_frames / seconds:.3g} frames/s)" if n_frames else ""
            logger.info("%s done in %s%s", name, duration(seconds), speed)
        elif name not in self.seconds and name not in self.reused:
            self.reused.append(name)

    def progress(self, name: str) -> str:
        """Name of a recording and its number among all.

        Args:
            name: its name.

        Returns:
            For example `[2/3] demo_1.day_7`.
        """
        return f"[{min(self.n_done + 1, self.n_recordings)}/{self.n_recordings}] {name}"

    def log_summary(self, index: Path | None) -> None:
        """Logs what was made, reused and failed, how long it took, and where results are.

        Args:
            index: page over all recordings. None if there is none.
        """
        counts = [f"{len(self.seconds)} made", f"{len(self.reused)} reused", f"{len(self.failures)} failed"]
        logger.info("Recordings: %s, in %s.", ", ".join(counts), duration(time.perf_counter() - self.start))
        if self.joint:
            logger.info("Of all recordings: %s made.", ", ".join(self.joint))
        if self.left_out:
            logger.info("Without results yet, and left out there: %s.", ", ".join(self.left_out))
        if index is not None and index.exists():
            logger.info("Report: open %s", _relative(index))
        if self.log is not None:
            logger.info("Log: %s", _relative(self.log))

    def failed_text(self) -> str:
        """Lists the recordings that failed, and why.

        Returns:
            One line for each.
        """
        reasons = "\n".join(f"  - {name}: {type(error).__name__}: {error}" for name, error in self.failures.items())
        return f"{len(self.failures)} recording(s) failed:\n{reasons}"


OLD_VERSIONS_SHARE = 0.05
"""Size of old versions, as a share of what is free on the disk, from which the end of a run tells it. Not tuned."""


def log_old_versions(datasets: Sequence[StoredDataset]) -> None:
    """Tells how to remove old versions, if they take a good part of the disk. Nothing is ever removed by itself.

    Args:
        datasets: results of the recordings of which something was made.
    """
    n_bytes = size_of_old_versions(datasets)
    if not n_bytes:
        return
    n_free = min(shutil.disk_usage(one.path).free for one in datasets if one.path.exists())
    if n_bytes > OLD_VERSIONS_SHARE * n_free:
        logger.warning(
            "Old versions of these recordings take %s, and %s are free on the disk: `%s` removes what nothing needs "
            "(`--dry-run` lists it).",
            size_in_words(n_bytes),
            size_in_words(n_free),
            command("recordings prune"),
        )


def describe_plan(name: str, selected: Sequence[Node], plan: Plan) -> str:
    """Tells in one line what is reused of a recording, what is made, and why.

    Args:
        name: name of the recording.
        selected: its selected nodes.
        plan: what will run.

    Returns:
        For example `demo_1.day_7: motion_correction reused (2026-11-25T09:12); source_extraction: merge_threshold 0.85
        -> 0.8; then evaluation, export`.
    """
    running = {node.name for node in plan.nodes}
    selected_names = {node.name for node in selected}
    stages: dict[str, list[Node]] = {}
    for node in [*(node for node in plan.nodes if node.name not in selected_names), *selected]:
        stages.setdefault(stage_of(node), []).append(node)
    made = {stage: [plan.states[n.name] for n in nodes if n.name in running] for stage, nodes in stages.items()}
    reused = [stage for stage, states in made.items() if not states]
    reasons = _first_mentions(
        {stage: reason_of(states, len(stages[stage])) for stage, states in made.items() if states}
    )
    then = [stage for stage, reason in reasons.items() if reason == OLDER_INPUTS]
    made_at = max((plan.states[node.name].made_at for stage in reused for node in stages[stage]), default="")[:16]
    if not reasons:
        return f"{name}: reused ({made_at})" if made_at else f"{name}: reused"
    parts = [f"{', '.join(reused)} reused ({made_at})"] if reused else []
    parts += _joined_by_reason({stage: reason for stage, reason in reasons.items() if stage not in then})
    parts += ["then " + ", ".join(then)] if then else []
    return f"{name}: {'; '.join(parts)}"


OLDER_INPUTS, MISSING = "made of older results", "missing"


def reason_of(states: Sequence[NodeState], n_nodes: int) -> str:
    """Tells why some nodes of a stage run.

    Args:
        states: of the nodes that run.
        n_nodes: number of nodes of the stage.

    Returns:
        The reasons, separated by semicolons.
    """
    reasons = list(dict.fromkeys(reason for state in states for reason in state.reasons))
    n_missing = sum(state.status == "missing" for state in states)
    if n_missing == n_nodes:
        return MISSING
    reasons += [f"{n_missing} of {n_nodes} results missing"] if n_missing else []
    if reasons:
        return "; ".join(reasons)
    return OLDER_INPUTS if any(state.status == "stale" for state in states) else "made again as asked"


def _first_mentions(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reasons of stages without those that were given for an earlier stage."""
    told: set[str] = set()
    first: dict[str, str] = {}
    for stage, reason in reasons.items():
        parts = reason.split("; ")
        new = [part for part in parts if part not in told or part == MISSING]
        told.update(parts)
        first[stage] = "; ".join(new) or OLDER_INPUTS
    return first


def _joined_by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Stages with the same reason together: `ingestion, export: missing`."""
    stages: dict[str, list[str]] = {}
    for stage, reason in reasons.items():
        stages.setdefault(reason, []).append(stage)
    return [f"{', '.join(names)}: {reason}" for reason, names in stages.items()]


def remaining_time(report: RunReport) -> str:
    """Time that the recordings not yet started will take if they take as long as the others, for a message.

    Args:
        report: what the run has done so far.

    Returns:
        For example ` (about 12 min left)`, with a leading space; empty at the first recording and the last.
    """
    waiting = report.n_recordings - report.n_done
    if not report.seconds or waiting < 1:
        return ""
    mean = sum(report.seconds.values()) / (len(report.seconds) + len(report.reused))
    return f" (about {duration(mean * waiting)} left)"


def duration(seconds: float) -> str:
    """A duration as text.

    Args:
        seconds: the duration.

    Returns:
        For example `31 s`, `12 min` or `3.5 h`.
    """
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _relative(path: Path) -> Path:
    """A path as it is shown: relative to the present folder if it lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
