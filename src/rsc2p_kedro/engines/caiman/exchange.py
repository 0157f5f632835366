"""Requests to CaImAn, which runs in this process or in a separate Python environment.

Each request has a folder with the movie as a memory map in CaImAn's format, the request and the response; see
:mod:`.worker`. It is removed after the request, also after an error or an interruption, or if this process is killed.
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
from rsc2p_kedro.engines.caiman.conversions import c_to_f_order

_LOG_LINES = 15  # last lines of the worker's log that an error message shows
# Environment variables that apply to this interpreter only, and not to that of CaImAn's environment.
_INTERPRETER_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONWARNINGS")
_in_process = threading.Lock()  # CaImAn changes global state of a process, so it runs one request at a time
log = logging.getLogger(__name__)

INSTALLATION_HELP = """CaImAn is on conda-forge (`caiman` on PyPI is a tool for MicroPython). Install it with one of
  conda env create --file environment-caiman.yml     (or mamba, micromamba)
  pixi init --import environment-caiman.yml caiman_env && pixi install --manifest-path caiman_env
and set the interpreter of that environment in conf/local/parameters_caiman.yml:
  caiman: {python: /path/to/environment/bin/python}
See docs/engines.md. `engine: embedded` does not need CaImAn."""


class CaimanError(RuntimeError):
    """CaImAn is missing, cannot be used, or has failed. The message says what to do."""


@dataclass(frozen=True)
class Response:
    """Response to a request.

    Attributes:
        arrays: outputs of the task by their names, in CaImAn's conventions; see the functions of :mod:`.worker`.
        version: version of CaImAn.
    """

    arrays: dict[str, NDArray]
    version: str


@contextmanager
def request_folder(settings: CaimanSettings) -> Iterator[Path]:
    """Creates a folder for one request and removes it afterwards.

    Args:
        settings: `scratch_folder` is the parent folder. None uses the system's folder for temporary files.

    Yields:
        The new folder.

    Raises:
        CaimanError: `scratch_folder` does not exist.
    """
    parent = settings.scratch_folder
    if parent is not None and not Path(parent).is_dir():
        raise CaimanError(f"caiman.scratch_folder should be an existing folder, but there is no folder {parent}.")
    folder = Path(tempfile.mkdtemp(prefix="rsc2p_caiman_", dir=parent)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _blocks(movie: Movie, compute: Compute) -> list[slice]:
    """Blocks of frames for half the allowed memory: 4 bytes per pixel as float32, and up to 4 in the raw dtype."""
    frame_bytes = 8 * movie.shape[1] * movie.shape[2]
    return frame_blocks(len(movie), max(compute.block_frames, int(compute.memory_gb * 1e9 / 2 / frame_bytes)))


def movie_minimum(movie: Movie, compute: Compute) -> float:
    """Finds the lowest value of a movie, which CaImAn subtracts before motion correction and CNMF.

    Args:
        movie: (T, H, W), lazy or not.
        compute: `memory_gb` and `block_frames` set how many frames are read at once.

    Returns:
        The lowest value, in the units of the movie.
    """
    return min(float(read(movie, block).min()) for block in _blocks(movie, compute))


def _allocate(path: Path, size: int) -> None:
    """Creates a file of `size` bytes with all its disk space: writing to a memory map on a full disk kills the process.

    Raises:
        CaimanError: the disk has not enough free space.
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
            f"of free space ({error.strerror}). Set caiman.scratch_folder to a folder with more free space."
        ) from error


def write_memory_map(
    folder: Path,
    movie: Movie,
    compute: Compute,
    *,
    order: str,
    offset: float = 0.0,
    valid_mask: NDArray[np.bool_] | None = None,
) -> str:
    """Writes a movie as a memory map in CaImAn's format: (pixels, T) float32, pixels in F order.

    Args:
        folder: of the request.
        movie: (T, H, W).
        compute: `memory_gb` and `block_frames` set how many frames are in memory at once.
        order: layout of the file: `F`, frame by frame, for motion correction; `C`, pixel by pixel, for CNMF.
        offset: value subtracted from all pixels, in the units of the movie.
        valid_mask: (H, W); pixels outside become 0, as CaImAn's own `border_to_0` sets them. None keeps all pixels.

    Returns:
        Path of the file. CaImAn reads shape and order from its name.

    Raises:
        CaimanError: the movie contains NaN or infinity, or the disk has not enough free space.
    """
    T, H, W = movie.shape
    path = folder / f"movie_d1_{H}_d2_{W}_d3_1_order_{order}_frames_{T}.mmap"
    _allocate(path, 4 * T * H * W)
    target = np.memmap(path, mode="r+", dtype=np.float32, shape=(H * W, T), order=order)  # type: ignore[call-overload]
    for block in _blocks(movie, compute):
        frames = read(movie, block).astype(np.float32) - np.float32(offset)
        if not np.isfinite(frames).all():
            raise CaimanError(
                f"Frames {block.start} to {block.stop - 1} of the movie contain NaN or infinity, which CaImAn cannot "
                "process. Exclude these frames with `frames` in the recording's entry."
            )
        if valid_mask is not None:
            frames[:, ~valid_mask] = 0
        target[:, block] = c_to_f_order(frames.reshape(len(frames), -1).T, (H, W))
    target.flush()
    del target
    return str(path)


def n_processes(compute: Compute | None) -> int:
    """Number of processes that CaImAn uses.

    Args:
        compute: resources of the machine. None allows one process.

    Returns:
        `compute.threads`, or the number of cores if that is None.
    """
    return 1 if compute is None else compute.threads or dask.system.CPU_COUNT


def run_task(
    task: Callable[..., Any],
    settings: CaimanSettings,
    *,
    groups: Mapping[str, Any] | None = None,
    arrays: Mapping[str, NDArray] | None = None,
    write_movie: Callable[[Path], str] | None = None,
    compute: Compute | None = None,
    **arguments: Any,
) -> Response:
    """Runs a task with CaImAn, in this process or in CaImAn's environment, and waits for its response.

    Args:
        task: a task of :mod:`.worker`.
        settings: where CaImAn is installed, and where its files are written.
        groups: parameters in CaImAn's groups.
        arrays: inputs of the task besides the movie.
        write_movie: writes the movie into a folder and returns the path of the file. None if the task needs no movie.
        compute: resources of the machine. None uses one process.
        **arguments: further arguments of the task, as JSON.

    Returns:
        The outputs of the task and the version of CaImAn.

    Raises:
        CaimanError: CaImAn is missing (the message says how to install it), cannot be used, or has failed.
    """
    # Check the installation first: writing the movie for CaImAn may take minutes.
    problem = worker.locate_caiman() if settings.python is None else _locate_in_environment(settings.python)
    if problem:
        raise CaimanError(_problem_message(*problem, settings))
    with request_folder(settings) as folder:
        request = {"task": task.__name__, "params": dict(groups or {}), "processes": n_processes(compute), **arguments}
        request["movie"] = write_movie(folder) if write_movie else None
        np.savez(folder / "inputs.npz", allow_pickle=False, **(arrays or {}))
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        log.info("CaImAn: %s ...", task.__name__.replace("_", " "))
        if settings.python is None:
            with _in_process, one_blas_thread():
                worker.process_request(folder, "spawn")
        else:
            _run_worker(settings.python, folder)
        return _read_response(folder, settings)


def _locate_in_environment(python: str) -> tuple[str, str] | None:
    """Result of :func:`.worker.locate_caiman` in another environment."""
    command = [python, worker.__file__, "--locate"]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=120, env=_worker_environment()
        )
        return json.loads(process.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        details = getattr(error, "stderr", None) or str(error)
        raise CaimanError(
            f"caiman.python should be the interpreter (Python 3.10 or later) of the environment of CaImAn; {python} "
            f"cannot be used: {details.strip()}\n{INSTALLATION_HELP}"
        ) from error


def _worker_environment(folder: Path | None = None) -> dict[str, str]:
    """Environment variables of CaImAn's interpreter; temporary files go into the folder."""
    inherited = {name: value for name, value in os.environ.items() if name not in _INTERPRETER_VARIABLES}
    temporary = dict.fromkeys(("CAIMAN_TEMP", "TMPDIR", "TEMP", "TMP"), str(folder)) if folder else {}
    return {**inherited, **worker.ONE_THREAD, **temporary, "MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}


def _run_worker(python: str, folder: Path) -> None:
    """Runs the worker with another interpreter; ends it and all its processes in every case.

    Raises:
        CaimanError: the worker ended without a response.
    """
    with (folder / "log.txt").open("wb") as stream:
        process = subprocess.Popen(
            [python, worker.__file__, str(folder)],
            stdin=subprocess.PIPE,  # the worker ends itself when this process has died and so closed the pipe
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_worker_environment(folder),
            start_new_session=True,
        )
        try:
            process.wait()
        finally:
            _kill(process)
    if not (folder / "response.json").is_file():
        tail = "\n".join((folder / "log.txt").read_text(errors="replace").splitlines()[-_LOG_LINES:])
        raise CaimanError(
            f"The process of CaImAn ({python}) ended with exit code {process.returncode} before it finished. Exit code "
            "-9 means that the system killed it, usually for lack of memory: reduce compute.threads. Last lines of its "
            f"log:\n{tail}"
        )


def _kill(process: subprocess.Popen) -> None:
    """Ends a worker and all its child processes."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    if process.stdin is not None:
        process.stdin.close()
    process.wait()


def _read_response(folder: Path, settings: CaimanSettings) -> Response:
    """Response of the worker.

    Raises:
        CaimanError: it reports a problem.
    """
    response = json.loads((folder / "response.json").read_text(encoding="utf-8"))
    if response["problem"] is not None:
        kind, details = response["problem"]
        raise CaimanError(_problem_message(kind, details, settings))
    with np.load(folder / "outputs.npz", allow_pickle=False) as arrays:
        return Response(dict(arrays), response["version"])


def _problem_message(kind: str, details: str, settings: CaimanSettings) -> str:
    """Error message for a problem that the worker reports, with its solution."""
    environment = f"the environment of {settings.python}" if settings.python else "this environment"
    if kind == "failed":
        return f"CaImAn failed with this error:\n{details}"
    if kind == "missing_weights":
        return (
            f"`use_classifier: true` needs the weights of CaImAn's classifier, which are not in {details}. Install "
            "them with\n  caimanmanager install\nin CaImAn's environment (CAIMAN_DATA sets another folder than "
            "~/caiman_data), or set `evaluation: {use_classifier: false}`."
        )
    message = {
        "missing": f"`engine: caiman` needs CaImAn, which is not installed in {environment}.",
        "unrelated": f"`engine: caiman` needs CaImAn, but {environment} contains another package of that name: "
        f"{details}. Remove it there (pip uninstall caiman), or set caiman.python to another environment.",
        "import_failed": f"CaImAn is installed in {environment}, but cannot be imported: {details}.",
        "outdated": f"CaImAn {details} is installed in {environment}; version 1.12 or later is needed.",
    }[kind]
    return f"{message}\n{INSTALLATION_HELP}"


def caiman_problem(settings: CaimanSettings, *, use_cnn: bool = False) -> str | None:
    """Checks that CaImAn can be used. Takes as long as importing it: some seconds.

    Args:
        settings: where CaImAn is installed.
        use_cnn: whether its classifier will be used, which needs weights.

    Returns:
        The problem and its solution, for the user; None if CaImAn can be used.
    """
    try:
        run_task(worker.check, settings, groups={"quality": {"use_cnn": use_cnn}})
    except CaimanError as error:
        return str(error)
    return None


def caiman_version(settings: CaimanSettings) -> str | None:
    """Finds the version of CaImAn. Takes as long as importing it: some seconds.

    Args:
        settings: where CaImAn is installed.

    Returns:
        The version; None if CaImAn cannot be used.
    """
    try:
        return run_task(worker.check, settings, groups={"quality": {"use_cnn": False}}).version
    except CaimanError:
        return None
