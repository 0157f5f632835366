"""What workers do in tests of the cluster itself instead of processing recordings."""

import os
import signal
import time
from pathlib import Path

from rsc2p_kedro.runners.worker import Outcome, RecordingTask, worker_name


def work(task: RecordingTask) -> Outcome:
    """Does what the name of the animal says, and notes beside the logs that it was begun."""
    notes = Path(task.project.path) / "notes"
    notes.mkdir(exist_ok=True)
    animal = task.recording.partition(".")[0]
    with (notes / task.recording).open("a") as file:
        file.write(f"{task.share}\n")
    seconds = float((notes.parent / "seconds").read_text()) if (notes.parent / "seconds").exists() else 0.0
    time.sleep(seconds)
    if animal.startswith("killer"):
        os.kill(os.getpid(), signal.SIGKILL)
    if animal.startswith("error"):
        raise LookupError("the code of the worker is broken")
    fails = animal.startswith("fails") or (animal.startswith("flaky") and n_begun(notes.parent, task.recording) == 1)
    return Outcome(False, seconds, 0.1, 1, worker_name(), "ValueError: no frames" if fails else "")


def n_begun(project: Path, recording: str) -> int:
    """How often a recording was begun."""
    notes = project / "notes" / recording
    return len(notes.read_text().split()) if notes.exists() else 0
