"""Asking CaImAn for one step of the work: a folder for the run, files in it, and CaImAn in this process or in its own.

The folder holds the movie as one of CaImAn's memory maps, what is asked and what comes back; see :mod:`.worker`. It is
removed at the end, also after a failure, an interruption, or the death of this process.
"""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.system
import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie, frame_blocks, one_blas_thread, read
from rsc2p_kedro.core.parameters import CaimanSettings, Compute
from rsc2p_kedro.engines.caiman import worker
from rsc2p_kedro.engines.caiman.conversions import to_f_order

_LOG_TAIL = 15
# What is true of our interpreter is not true of the other one.
_OURS_ALONE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONWARNINGS")
_in_process = threading.Lock()
log = logging.getLogger(__name__)

HOW_TO_GET_IT = """CaImAn is on conda-forge; `caiman` on PyPI is another tool, for MicroPython. Get it with one of
  conda env create --file environment-caiman.yml     (mamba and micromamba take the same)
  pixi init --import environment-caiman.yml caiman_env && pixi install --manifest-path caiman_env
and name the interpreter of that environment in conf/local/parameters_caiman.yml, or on the command line:
  caiman: {python: /path/to/environment/bin/python}
docs/engines.md tells more. `engine: embedded` needs none of this."""


class CaimanError(RuntimeError):
    """CaImAn is not there, is not what it should be, or has failed."""


@dataclass(frozen=True)
class Answer:
    """What came back: arrays by CaImAn's names, and CaImAn's version."""

    arrays: dict[str, NDArray]
    version: str


@contextmanager
def run_folder(settings: CaimanSettings) -> Iterator[Path]:
    """A folder of its own for one step, gone afterwards."""
    parent = settings.scratch_folder
    if parent is not None and not Path(parent).is_dir():
        raise CaimanError(f"caiman.scratch_folder should be a folder that exists, is {parent}.")
    folder = Path(tempfile.mkdtemp(prefix="rsc2p_caiman_", dir=parent)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _map_name(shape: tuple[int, ...], order: str) -> str:
    """The name by which CaImAn knows what is in a memory map."""
    return f"movie_d1_{shape[1]}_d2_{shape[2]}_d3_1_order_{order}_frames_{shape[0]}.mmap"


def _block_frames(movie: Movie, compute: Compute) -> int:
    """Frames that fit into the memory allowed, as float32 and once more as they came."""
    frame_bytes = 8 * movie.shape[1] * movie.shape[2]
    return max(compute.block_frames, int(compute.memory_gb * 1e9 / 2 / frame_bytes))


def lowest_value(movie: Movie, compute: Compute) -> float:
    """The lowest value of a movie."""
    parts = frame_blocks(len(movie), _block_frames(movie, compute))
    return min(float(read(movie, part).min()) for part in parts)


def _reserve(path: Path, size: int) -> None:
    """Makes a file of so many bytes, all of them really there: a map that finds the disk full kills the process.

    Raises:
        CaimanError: there is no room for it.
    """
    free = shutil.disk_usage(path.parent).free
    try:
        if size > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with path.open("wb") as stream:
            stream.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
    except OSError as error:
        raise CaimanError(
            f"CaImAn needs the movie as a file of {size / 1e9:.1f} GB; {path.parent.parent} has {free / 1e9:.1f} GB "
            f"left ({error.strerror}). Name another place as caiman.scratch_folder."
        ) from error


def write_map(
    folder: Path,
    movie: Movie,
    compute: Compute,
    *,
    order: str,
    offset: float = 0.0,
    valid_mask: NDArray[np.bool_] | None = None,
) -> str:
    """Writes a movie as one of CaImAn's memory maps: (pixels, T) float32, pixels in F order.

    Args:
        folder: of the run.
        movie: (T, H, W).
        compute: how much of the movie may be in memory.
        order: `F`, frame by frame, which motion correction reads; `C`, pixel by pixel, which CNMF needs.
        offset: what is taken off all values.
        valid_mask: (H, W), outside of which everything becomes 0, as CaImAn's own `border_to_0` does.

    Returns:
        Path of the file.

    Raises:
        CaimanError: the movie holds NaN or infinity, or there is no room for it.
    """
    T, H, W = movie.shape
    path = folder / _map_name(movie.shape, order)
    _reserve(path, 4 * T * H * W)
    target = np.memmap(path, mode="r+", dtype=np.float32, shape=(H * W, T), order=order)  # type: ignore[call-overload]
    for part in frame_blocks(T, _block_frames(movie, compute)):
        frames = read(movie, part).astype(np.float32) - np.float32(offset)
        if not np.isfinite(frames).all():
            raise CaimanError(f"Frames {part.start} to {part.stop - 1} of the movie hold NaN or infinity.")
        if valid_mask is not None:
            frames[:, ~valid_mask] = 0
        target[:, part] = to_f_order(frames.reshape(len(frames), -1).T, (H, W))
    target.flush()
    del target
    return str(path)


def processes_of(compute: Compute | None) -> int:
    """Processes that CaImAn may use."""
    return 1 if compute is None else compute.threads or dask.system.CPU_COUNT


def ask(
    task: Callable[..., Any],
    settings: CaimanSettings,
    *,
    groups: Mapping[str, Any] | None = None,
    arrays: Mapping[str, NDArray] | None = None,
    write_movie: Callable[[Path], str] | None = None,
    compute: Compute | None = None,
    **more: Any,
) -> Answer:
    """Has CaImAn do one task of :mod:`.worker`.

    Args:
        task: the function there.
        settings: where CaImAn is.
        groups: CaImAn's parameters.
        arrays: what the task needs beside the movie.
        write_movie: writes the movie into a folder and returns the path of the file.
        compute: what the machine may use; none: one process.
        more: what else the task asks for.

    Raises:
        CaimanError: CaImAn is missing (the message says how to get it), is another tool, or has failed.
    """
    _look_before_working(settings)
    with run_folder(settings) as folder:
        request = {"task": task.__name__, "params": dict(groups or {}), "processes": processes_of(compute), **more}
        request["movie"] = write_movie(folder) if write_movie else None
        np.savez(folder / "inputs.npz", allow_pickle=False, **(arrays or {}))
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        log.info("CaImAn: %s ...", task.__name__.replace("_", " "))
        if settings.python is None:
            with _in_process, one_blas_thread():
                worker.perform(folder, "spawn")
        else:
            _run_worker(settings.python, folder)
        return _read_answer(folder, settings)


def _look_before_working(settings: CaimanSettings) -> None:
    """Says at once that CaImAn is not where it should be, before a movie is written for it.

    Raises:
        CaimanError: see :func:`ask`.
    """
    problem = worker.locate_caiman() if settings.python is None else _locate_there(settings.python)
    if problem:
        raise CaimanError(_explain(problem[0], problem[1], settings))


def _locate_there(python: str) -> tuple[str, str] | None:
    """What :func:`.worker.locate_caiman` says in another environment."""
    command = [python, worker.__file__, "--locate"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=_environment())
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        raise CaimanError(
            f"caiman.python should be the interpreter (Python 3.10 or later) of the environment CaImAn is in; {python} "
            f"does not work as one: {told.strip()}\n{HOW_TO_GET_IT}"
        ) from error


def _environment(folder: Path | None = None) -> dict[str, str]:
    """The surroundings of CaImAn's own interpreter, with all temporary files in the folder."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
    places = dict.fromkeys(("CAIMAN_TEMP", "TMPDIR", "TEMP", "TMP"), str(folder)) if folder else {}
    return {**inherited, **worker.ONE_THREAD, **places, "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _run_worker(python: str, folder: Path) -> None:
    """Runs the worker by another interpreter, and ends it with all its processes if anything goes wrong here."""
    with (folder / "log.txt").open("wb") as stream:
        process = subprocess.Popen(
            [python, worker.__file__, str(folder)],
            stdin=subprocess.PIPE,  # the worker ends when this end of the pipe is gone
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
        try:
            process.wait()
        finally:
            _end(process)
    if not (folder / "answer.json").is_file():
        tail = "\n".join((folder / "log.txt").read_text(errors="replace").splitlines()[-_LOG_TAIL:])
        raise CaimanError(
            f"{python} ended with code {process.returncode} and no answer (-9: killed by the system, mostly for want "
            f"of memory: fewer compute.threads need less). Its last lines:\n{tail}"
        )


def _end(process: subprocess.Popen) -> None:
    """No process of a worker is left, however it ended."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    if process.stdin is not None:
        process.stdin.close()
    process.wait()


def _read_answer(folder: Path, settings: CaimanSettings) -> Answer:
    answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    if answer["problem"] is not None:
        kind, facts = answer["problem"]
        raise CaimanError(_explain(kind, facts, settings))
    with np.load(folder / "outputs.npz", allow_pickle=False) as arrays:
        return Answer(dict(arrays), answer["version"])


def _explain(kind: str, facts: str, settings: CaimanSettings) -> str:
    """What is wrong, in words that say what to do."""
    where = f"the environment of {settings.python}" if settings.python else "this environment"
    if kind == "failed":
        return f"CaImAn failed. What it said:\n{facts}"
    if kind == "weightless":
        return (
            f"`use_cnn: true` needs the weights of CaImAn's classifier, and {facts} has none. Get them by running\n"
            "  caimanmanager install\nin the environment CaImAn is in (CAIMAN_DATA names another place than "
            "~/caiman_data), or set `evaluation: {use_cnn: false}`."
        )
    said = {
        "absent": f"`engine: caiman` needs CaImAn, and {where} has none.",
        "unrelated": f"`engine: caiman` needs CaImAn, and {where} has another tool of that name: {facts}. Remove it "
        "there (pip uninstall caiman), or name another environment.",
        "broken": f"CaImAn is in {where}, but cannot be imported: {facts}.",
        "old": f"CaImAn {facts} is in {where}; version 1.12 or later is needed.",
    }[kind]
    return f"{said}\n{HOW_TO_GET_IT}"


def caiman_problem(settings: CaimanSettings, *, use_cnn: bool = False) -> str | None:
    """What keeps CaImAn from working, in words; none if it is there. Takes as long as importing it.

    Args:
        settings: where CaImAn is.
        use_cnn: whether its classifier will be asked as well, which needs weights.
    """
    try:
        ask(worker.check, settings, groups={"quality": {"use_cnn": use_cnn}})
    except CaimanError as error:
        return str(error)
    return None
