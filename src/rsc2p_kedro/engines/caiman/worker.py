"""Processing steps that run CaImAn, in the Python environment in which CaImAn is installed.

If CaImAn is installed beside this project, this module is imported and :func:`process_request` is called. Otherwise
this file is run as a script by the interpreter of CaImAn's environment: ``python worker.py FOLDER``. That environment
contains neither this project nor its libraries. This module therefore uses nothing but the standard library, NumPy,
SciPy and CaImAn, and no syntax newer than Python 3.10.

The folder of a request contains `request.json` (`task`, `params` in CaImAn's parameter groups, `movie`, `processes` and
further arguments of the task), `inputs.npz` and the movie as a memory map in CaImAn's format. The worker writes
`outputs.npz` and `response.json` (`problem`, `version`) into it.

Everything here follows CaImAn's conventions (pixels in F order, baselines within C, the movie less its minimum);
:mod:`.conversions` converts from and to those of this project.
"""

# ruff: noqa: NPY002 (CaImAn uses NumPy's global random generator, whose state is saved and restored here)

import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

_HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    # The folder of a script is first on Python's module path; CaImAn must not import this project's modules from it.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != _HERE]

import numpy as np  # noqa: E402

Request = dict[str, Any]
Arrays = dict[str, np.ndarray]
Problem = Optional[tuple[str, str]]  # noqa: UP045 (a value, not an annotation)

MINIMUM_VERSION = (1, 12)
"""Oldest version of CaImAn (major, minor) that this project was tested with (1.12.1)."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE_THREAD = dict.fromkeys(_THREAD_VARIABLES, "1")
"""Environment variables that limit linear algebra to one thread per process, as CaImAn's documentation recommends."""
_BLOCK_FRAMES = 100  # frames whose phase correlation one process computes at a time; has no influence on the result


class ProcessPool:
    """Processes with the methods of a `multiprocessing.Pool` that CaImAn calls on its `dview`.

    If the system kills one of the processes (for lack of memory, for example), the call raises an error; CaImAn's own
    pool would wait for its result for ever.
    """

    __module__ = "multiprocessing_view"  # CaImAn recognises a pool by `multiprocessing` in the name of its type

    def __init__(self, processes: int, start_method: str) -> None:
        context = multiprocessing.get_context(start_method)
        self._executor = ProcessPoolExecutor(processes, context, initializer=np.random.seed, initargs=(0,))

    def map(self, function: Callable, items: Iterable, chunksize: Any = None) -> list:
        """Calls a function for all items in parallel.

        Args:
            function: can be pickled.
            items: its arguments.
            chunksize: accepted for CaImAn, not used.

        Returns:
            The results in the order of the items.
        """
        return list(self._executor.map(function, items))

    def map_async(self, function: Callable, items: Iterable, chunksize: Any = None) -> "_Result":
        """Does the same as :meth:`map`; CaImAn calls `get` on the result at once.

        Args:
            function: can be pickled.
            items: its arguments.
            chunksize: accepted for CaImAn, not used.

        Returns:
            An object whose method `get` returns the results in the order of the items.
        """
        return _Result(self.map(function, items))

    def terminate(self) -> None:
        """Ends all processes at once."""
        for process in list((self._executor._processes or {}).values()):
            process.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Result:
    """Has the method of a `multiprocessing.pool.AsyncResult` that CaImAn calls."""

    def __init__(self, value: list) -> None:
        self._value = value

    def get(self, timeout: Any = None) -> list:
        return self._value


@contextmanager
def process_pool(processes: int, start_method: str) -> Iterator[Any]:
    """Provides CaImAn's `dview` and ends its processes in every case.

    Args:
        processes: number of processes.
        start_method: of `multiprocessing`, such as `spawn`.

    Yields:
        A :class:`ProcessPool`, or None for a single process, as CaImAn expects.
    """
    if processes < 2:
        yield None
        return
    pool = ProcessPool(processes, start_method)
    try:
        yield pool
    finally:
        pool.terminate()


@contextmanager
def isolated_state(folder: str) -> Iterator[None]:
    """Restores the random state, environment variables and temporary folder of this process after CaImAn has run.

    CaImAn draws from NumPy's global random generator, and seeds it. Here it starts from seed 0.

    Args:
        folder: where CaImAn and its libraries write their temporary files meanwhile.

    Yields:
        Nothing.
    """
    state, environment, temporary = np.random.get_state(), dict(os.environ), tempfile.tempdir
    os.environ.update({**ONE_THREAD, "CAIMAN_TEMP": folder})
    tempfile.tempdir = folder
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
        tempfile.tempdir = temporary
        os.environ.clear()
        os.environ.update(environment)


def locate_caiman() -> Problem:
    """Checks what is installed as `caiman` without importing it.

    Returns:
        None if it is CaImAn; otherwise `missing` and the interpreter, or `unrelated` and name and version of the other
        package of that name (on PyPI, `caiman` is a tool for MicroPython).
    """
    from importlib.metadata import PackageNotFoundError, metadata
    from importlib.util import find_spec

    spec = find_spec("caiman")
    if spec is None:
        return ("missing", sys.executable)
    folders = list(spec.submodule_search_locations or [])
    if any((Path(folder) / "source_extraction").is_dir() for folder in folders):
        return None
    try:
        package = metadata("caiman")
        return ("unrelated", f"{package['Name']} {package['Version']} ({package['Summary']})")
    except PackageNotFoundError:
        return ("unrelated", str(spec.origin or folders))


def import_caiman() -> tuple[str, Problem]:
    """Imports CaImAn and checks its version.

    Returns:
        Version (empty if it cannot be imported), and the problem: None, or its kind (`missing`, `unrelated`,
        `import_failed`, `outdated`) and details.
    """
    problem = locate_caiman()
    if problem:
        return "", problem
    try:
        import caiman
        import caiman.source_extraction
    except Exception as error:
        return "", ("import_failed", f"{type(error).__name__}: {error}")
    version = str(getattr(caiman, "__version__", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return version, (("outdated", version) if numbers < MINIMUM_VERSION else None)


def missing_weights(request: Request) -> Problem:
    """Checks that the weights of CaImAn's classifier are installed, if a request uses it.

    Args:
        request: whose parameter `use_cnn` of the group `quality` decides whether weights are needed.

    Returns:
        None, or `missing_weights` and the folder in which CaImAn expects them.
    """
    if not request["params"].get("quality", {}).get("use_cnn"):
        return None
    from caiman.paths import caiman_datadir

    folder = Path(caiman_datadir(), "model")
    exist = any(path.suffix != ".json" for path in folder.glob("cnn_model.*"))
    return None if exist else ("missing_weights", str(folder))


def _load_images(path: str) -> np.ndarray:
    """Movie (T, H, W) as CaImAn's CNMF expects it: a view of a memory map of (pixels, T)."""
    import caiman

    pixels, dims, n_frames = caiman.load_memmap(path)
    return np.reshape(pixels.T, [n_frames, *dims], order="F")


def _params(request: Request) -> Any:
    """CaImAn's `CNMFParams` of a request."""
    from caiman.source_extraction.cnmf.params import CNMFParams

    groups = {**request["params"], "data": {**request["params"].get("data", {}), "fnames": [request["movie"]]}}
    return CNMFParams(params_dict=groups)


def _peak_quality(arguments: tuple) -> np.ndarray:
    """Peak of each frame's phase correlation with the template, in standard deviations of the phase correlation."""
    import caiman
    from scipy import fft

    path, start, stop, template, max_shifts = arguments
    pixels, dims, _ = caiman.load_memmap(path)
    spectrum = np.conj(fft.rfft2((template - template.mean()).astype(np.float32)))
    quality = np.empty(stop - start)
    for i, frame in enumerate(np.reshape(pixels[:, start:stop].T, [stop - start, *dims], order="F")):
        product = fft.rfft2(frame - frame.mean()) * spectrum
        surface = fft.irfft2(product / np.maximum(np.abs(product), 1e-12), frame.shape)
        nearby = surface[np.ix_(*(np.r_[0 : limit + 1, -limit:0] for limit in max_shifts))]
        quality[i] = nearby.max() / max(surface.std(), 1e-12)
    return quality


def estimate_motion(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Estimates motion with CaImAn's NoRMCorre (Pnevmatikakis & Giovannucci 2017, doi 10.1016/j.jneumeth.2017.07.031).

    Args:
        request: with the group `motion` and the movie as a memory map in F order.
        inputs: none.
        dview: CaImAn's pool of processes, or None.

    Returns:
        `template` (H, W); `shifts_rig` (T, 2) in px; if `pw_rigid`, `x_shifts_els` (rows) and `y_shifts_els` (columns),
        (T, P) each, and the positions of the patch centres; `peak_quality` (T,), which CaImAn does not provide: the
        height of the phase correlation peak in standard deviations of the phase correlation.
    """
    from caiman.motion_correction import MotionCorrect, get_patch_centers

    params = _params(request)
    mc = MotionCorrect([request["movie"]], dview=dview, **params.get_group("motion"))
    mc.motion_correct(save_movie=False)
    piecewise = params.motion["pw_rigid"]
    template = mc.total_template_els if piecewise else mc.total_template_rig
    rigid = np.asarray(mc.shifts_rig, float).reshape(-1, 2)
    outputs = {"template": template, "shifts_rig": rigid}
    if piecewise:
        rows, columns = get_patch_centers(
            template.shape, overlaps=mc.overlaps, strides=mc.strides, shifts_opencv=mc.shifts_opencv,
            upsample_factor_grid=mc.upsample_factor_grid,
        )  # fmt: skip
        outputs.update(
            x_shifts_els=np.asarray(mc.x_shifts_els, float),
            y_shifts_els=np.asarray(mc.y_shifts_els, float),
            centre_rows=np.asarray(rows, float),
            centre_columns=np.asarray(columns, float),
        )
    filled = np.where(np.isfinite(template), template, np.nanmedian(template)).astype(np.float32)
    max_shifts = [int(shift) for shift in params.motion["max_shifts"]]
    blocks = [(start, min(start + _BLOCK_FRAMES, len(rigid))) for start in range(0, len(rigid), _BLOCK_FRAMES)]
    items = [(request["movie"], *block, filled, max_shifts) for block in blocks]
    quality = dview.map(_peak_quality, items) if dview else [_peak_quality(item) for item in items]
    return {**outputs, "peak_quality": np.concatenate(quality)}


def apply_motion(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Applies shifts that CaImAn has estimated.

    Args:
        request: with the group `motion` and the movie as a memory map in F order.
        inputs: `shifts_rig` (T, 2); if `pw_rigid`, `x_shifts_els` and `y_shifts_els`, (T, P) each.
        dview: not used; CaImAn applies shifts in one process.

    Returns:
        `corrected` (T, H, W) float32.
    """
    from caiman.motion_correction import MotionCorrect

    params = _params(request)
    mc = MotionCorrect([request["movie"]], dview=None, **params.get_group("motion"))
    mc.shifts_rig = [tuple(shift) for shift in inputs["shifts_rig"]]
    if params.motion["pw_rigid"]:
        mc.x_shifts_els, mc.y_shifts_els = list(inputs["x_shifts_els"]), list(inputs["y_shifts_els"])
    corrected = mc.apply_shifts_movie(request["movie"], remove_min=False)
    return {"corrected": np.asarray(corrected, np.float32)}


def _arrays_of_estimates(cnm: Any) -> Arrays:
    """Estimates of a fit as plain arrays."""
    import scipy.sparse as sp

    estimates = cnm.estimates
    A = sp.csc_matrix(estimates.A)
    n_frames = np.shape(estimates.C)[1]
    b: Any = np.zeros((A.shape[0], 0)) if estimates.b is None else estimates.b
    values = {
        "C": estimates.C,
        "S": estimates.S,
        "YrA": estimates.YrA,
        "b": b.toarray() if sp.issparse(b) else np.asarray(b),
        "f": np.zeros((0, n_frames)) if estimates.f is None else estimates.f,
        "bl": estimates.bl,
        "c1": estimates.c1,
        "neurons_sn": estimates.neurons_sn,
        "lam": estimates.lam,
        "g": np.array([np.ravel(g) for g in estimates.g]).reshape(A.shape[1], -1),
        "sn": np.ravel(estimates.sn),
    }
    per_component = ("bl", "c1", "neurons_sn", "lam")
    outputs = {
        name: np.array([float(np.ravel(v)[0]) for v in value]) if name in per_component else np.asarray(value)
        for name, value in values.items()
    }
    return {**outputs, **{"A." + part: getattr(A, part) for part in ("data", "indices", "indptr")}}


def _footprints(arrays: Arrays, n_pixels: int) -> Any:
    """CaImAn's A (pixels, N) from the three arrays of a CSC matrix."""
    import scipy.sparse as sp

    parts = tuple(arrays["A." + part] for part in ("data", "indices", "indptr"))
    return sp.csc_matrix(parts, shape=(n_pixels, len(parts[2]) - 1))


def fit(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Fits a movie with CaImAn's CNMF (Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037).

    Args:
        request: with CaImAn's parameter groups and the movie as a memory map in C order.
        inputs: `seeds` (pixels, n) if components start from masks; otherwise none, and CaImAn fits in patches.
        dview: CaImAn's pool of processes, or None.

    Returns:
        CaImAn's estimates by their names there: footprints `A` as `A.data`, `A.indices` and `A.indptr`, traces `C`, `S`
        and `YrA` (N, T), background `b` (pixels, nb) and `f` (nb, T), `sn` (pixels,), and `bl`, `c1`, `g`,
        `lam` and `neurons_sn` of each component.
    """
    from caiman.source_extraction.cnmf.cnmf import CNMF

    images, params = _load_images(request["movie"]), _params(request)
    seeds = inputs["seeds"].astype(bool) if "seeds" in inputs else None
    cnm = CNMF(request["processes"], params=params, dview=dview, Ain=seeds)
    cnm.fit(images)
    return _arrays_of_estimates(cnm)


def refit(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Refits the components of an earlier fit on the whole frame.

    Args:
        request: as for :func:`fit`.
        inputs: estimates of the earlier fit, as :func:`fit` returns them.
        dview: CaImAn's pool of processes, or None.

    Returns:
        CaImAn's estimates, as :func:`fit` returns them.
    """
    from caiman.source_extraction.cnmf.cnmf import CNMF

    images, params = _load_images(request["movie"]), _params(request)
    cnm = CNMF(request["processes"], params=params, dview=dview)
    cnm.mmap_file = request["movie"]
    _fill_estimates(cnm.estimates, inputs, images.shape[1:])
    return _arrays_of_estimates(cnm.refit(images, dview=dview))


def _fill_estimates(estimates: Any, inputs: Arrays, dims: tuple) -> None:
    """Sets CaImAn's estimates from plain arrays."""
    estimates.A = _footprints(inputs, int(np.prod(dims)))
    estimates.dims = dims
    for name in ("C", "S", "YrA", "b", "f", "bl", "c1", "neurons_sn", "lam", "sn"):
        if name in inputs:
            setattr(estimates, name, inputs[name])
    estimates.R = estimates.YrA
    if "g" in inputs:
        estimates.g = list(inputs["g"])


def evaluate(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Evaluates components with CaImAn's `evaluate_components`.

    Args:
        request: with the group `quality`, and the movie as a memory map in C order.
        inputs: estimates, as :func:`fit` returns them.
        dview: CaImAn's pool of processes, or None.

    Returns:
        `snr`, `r_value`, `accepted` and `n_transients` (at most 10, those that `r_value` is computed from), (N,) each;
        `cnn_preds` (N,) if `use_cnn`.
    """
    from caiman.components_evaluation import find_activity_intervals
    from caiman.source_extraction.cnmf.estimates import Estimates

    images, params = _load_images(request["movie"]), _params(request)
    estimates = Estimates()
    _fill_estimates(estimates, inputs, images.shape[1:])
    estimates.evaluate_components(images, params, dview=dview)
    accepted = np.zeros(len(estimates.C), bool)
    accepted[estimates.idx_components] = True
    frames = find_activity_intervals(estimates.C, Npeaks=10)
    transients = [0 if active is None else 1 + int((np.diff(np.sort(active)) > 1).sum()) for active in frames]
    outputs = {
        "snr": estimates.SNR_comp,
        "r_value": estimates.r_values,
        "accepted": accepted,
        "n_transients": np.array(transients, int),
    }
    return {**outputs, "cnn_preds": estimates.cnn_preds} if params.quality["use_cnn"] else outputs


def delta_f_over_f(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Computes dF/F with CaImAn's `detrend_df_f`.

    Args:
        request: with `n_pixels`, `percentile` and `window_frames`.
        inputs: estimates `A`, `C`, `YrA`, `b` and `f`, as :func:`fit` returns them.
        dview: not used.

    Returns:
        `dff`, and the running percentiles of the traces (`trace_percentile`) and of the background below the footprints
        (`background_percentile`), whose sum is F0; (N, T) each.
    """
    from caiman.source_extraction.cnmf.utilities import detrend_df_f

    A = _footprints(inputs, request["n_pixels"])
    C, YrA, b, f = (np.asarray(inputs[name], float) for name in ("C", "YrA", "b", "f"))
    options = {"quantileMin": request["percentile"], "frames_window": request["window_frames"], "flag_auto": False}
    background = (A.T @ b) @ f
    dff = detrend_df_f(A, b, C, f, YrA, **options)
    detrended = detrend_df_f(A, b, C, f, YrA, detrend_only=True, **options)
    detrended_background = detrend_df_f(A, b, background, f, None, detrend_only=True, **options)
    return {
        "dff": dff,
        "trace_percentile": C + YrA - detrended,
        "background_percentile": background - detrended_background,
    }


def check(request: Request, inputs: Arrays, dview: Any) -> Arrays:
    """Computes nothing: the request only reports whether CaImAn works, and has weights if its classifier is used.

    Args:
        request: with `use_cnn` in the group `quality`.
        inputs: none.
        dview: not used.

    Returns:
        No arrays.
    """
    return {}


TASKS = {
    task.__name__: task for task in (estimate_motion, apply_motion, fit, refit, evaluate, delta_f_over_f, check)
}  # fmt: skip
"""Tasks that a request can name."""


def _run_task(folder: Path, request: Request, start_method: str) -> Request:
    """Runs the task of a request, writes its outputs and returns the response."""
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        inputs = dict(arrays)
    with isolated_state(str(folder)):
        version, problem = import_caiman()
        problem = problem or missing_weights(request)
        if problem:
            return {"problem": problem, "version": version}
        with process_pool(request["processes"], start_method) as dview:
            outputs = TASKS[request["task"]](request, inputs, dview)
    np.savez(folder / "outputs.npz", **outputs)  # type: ignore[arg-type]
    return {"problem": None, "version": version}


def process_request(folder: Path, start_method: str) -> None:
    """Processes the request in a folder and writes the response into it. Errors of CaImAn become part of the response.

    Args:
        folder: of the request, see the module's docstring.
        start_method: of CaImAn's processes; `fork` is faster than `spawn`, but only safe while no other threads run.
    """
    folder = folder.resolve()
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        response = _run_task(folder, request, start_method)
    except Exception:
        (folder / "outputs.npz").unlink(missing_ok=True)  # if the disk is full, this leaves room for the response
        response = {"problem": ("failed", traceback.format_exc()), "version": ""}
    (folder / "response.json").write_text(json.dumps(response), encoding="utf-8")


def _exit_with_parent(folder: str, ending: threading.Lock) -> None:
    """Ends this process, its children and the folder once the parent process has ended, which closes the pipe to it.

    Holds `ending` from then on, so that the main thread cannot end this process while the folder is being removed.
    """
    while os.read(0, 1):
        pass
    ending.acquire()
    for _ in range(20):  # the main thread and CaImAn's processes may still write into the folder
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            break
        time.sleep(0.1)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "--locate":
        print(json.dumps(locate_caiman()))
        sys.exit()
    ending = threading.Lock()
    threading.Thread(target=_exit_with_parent, args=(sys.argv[1], ending), daemon=True).start()
    can_fork = sys.platform.startswith("linux")
    try:
        process_request(Path(sys.argv[1]), "fork" if can_fork else "spawn")
    finally:
        ending.acquire()
