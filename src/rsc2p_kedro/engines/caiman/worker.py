"""The part that runs where CaImAn is: asks CaImAn for one step of the work, arrays come and go through files.

Either this module is imported and :func:`perform` called (CaImAn in the same environment), or it is run as a script by
the interpreter of the user's CaImAn environment: ``python worker.py FOLDER``. That environment has neither this project
nor its libraries, so that nothing is used here but the standard library, NumPy, SciPy and CaImAn, and no syntax
newer than Python 3.10.

The folder holds `request.json` (`task`, `params` in CaImAn's groups, `movie`, `processes`), `inputs.npz` and the movie
as one of CaImAn's memory maps. `outputs.npz` and `answer.json` are written into it. Everything here is in CaImAn's own
conventions (pixels in F order, offsets as they are); :mod:`.conversions` turns them into ours.
"""

# ruff: noqa: NPY002 (CaImAn draws from NumPy's global generator, whose state is kept and put back here)

import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

_HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    # A script's folder comes first where modules are looked for; what lies beside this one is none of CaImAn's.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != _HERE]

import numpy as np  # noqa: E402

Request = dict[str, Any]
Arrays = dict[str, np.ndarray]
Problem = Optional[tuple[str, str]]  # noqa: UP045 (a value, not an annotation)

LEAST_VERSION = (1, 12)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
ONE_THREAD = dict.fromkeys(_THREADS, "1")
_CHUNK_FRAMES = 100


class View:
    """Processes in the shape CaImAn expects of a `multiprocessing.Pool`; a process that dies is an error, not a wait.

    CaImAn's own pool waits for ever once the system has killed one of its processes (for want of memory, say).
    """

    __module__ = "multiprocessing_view"  # CaImAn looks for the word `multiprocessing` in the name of the type

    def __init__(self, processes: int, start_method: str) -> None:
        context = multiprocessing.get_context(start_method)
        self._executor = ProcessPoolExecutor(processes, context, initializer=np.random.seed, initargs=(0,))

    def map(self, function: Callable, items: Iterable, chunksize: Any = None) -> list:
        return list(self._executor.map(function, items))

    def map_async(self, function: Callable, items: Iterable, chunksize: Any = None) -> "_Result":
        return _Result(self.map(function, items))

    def terminate(self) -> None:
        for process in list((self._executor._processes or {}).values()):
            process.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Result:
    def __init__(self, value: list) -> None:
        self._value = value

    def get(self, timeout: Any = None) -> list:
        return self._value


@contextmanager
def processes_of(number: int, start_method: str) -> Iterator[Any]:
    """A view of some processes, stopped whatever happens; none for one process."""
    if number < 2:
        yield None
        return
    view = View(number, start_method)
    try:
        yield view
    finally:
        view.terminate()


@contextmanager
def state_of_its_own(folder: str) -> Iterator[None]:
    """Temporary files below the folder, and a random state that ends where CaImAn does.

    CaImAn draws from NumPy's global generator (and reseeds it): it starts from 0, and everybody else's is put back.
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
    """What is wrong with what is installed as `caiman`, without importing it: none, or what and the facts in words."""
    from importlib.metadata import PackageNotFoundError, metadata
    from importlib.util import find_spec

    spec = find_spec("caiman")
    if spec is None:
        return ("absent", sys.executable)
    folders = list(spec.submodule_search_locations or [])
    if any((Path(folder) / "source_extraction").is_dir() for folder in folders):
        return None
    try:
        about = metadata("caiman")
        return ("unrelated", f"{about['Name']} {about['Version']} ({about['Summary']})")
    except PackageNotFoundError:
        return ("unrelated", str(spec.origin or folders))


def find_caiman() -> tuple[str, Problem]:
    """The version of CaImAn, and what is wrong: none, or `absent`, `unrelated`, `broken` or `old`, with the facts."""
    problem = locate_caiman()
    if problem:
        return "", problem
    try:
        import caiman
        import caiman.source_extraction
    except Exception as error:
        return "", ("broken", f"{type(error).__name__}: {error}")
    version = str(getattr(caiman, "__version__", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return version, (("old", version) if numbers < LEAST_VERSION else None)


def missing_weights(request: Request) -> Problem:
    """The folder where the weights of CaImAn's classifier should be, if they are asked for and not there."""
    if not request["params"].get("quality", {}).get("use_cnn"):
        return None
    from caiman.paths import caiman_datadir

    folder = Path(caiman_datadir(), "model")
    there = any(path.suffix != ".json" for path in folder.glob("cnn_model.*"))
    return None if there else ("weightless", str(folder))


def _load_images(path: str) -> np.ndarray:
    """The movie (T, H, W) as CaImAn's CNMF wants it: a view of a map of pixels over time."""
    import caiman

    pixels, dims, n_frames = caiman.load_memmap(path)
    return np.reshape(pixels.T, [n_frames, *dims], order="F")


def _params(request: Request) -> Any:
    from caiman.source_extraction.cnmf.params import CNMFParams

    groups = {**request["params"], "data": {**request["params"].get("data", {}), "fnames": [request["movie"]]}}
    return CNMFParams(params_dict=groups)


def _peak_quality(arguments: tuple) -> np.ndarray:
    """How far the peak of each frame's phase correlation with the template stands out, in sd of all of it."""
    import caiman
    from scipy import fft

    path, start, stop, template, reach = arguments
    pixels, dims, _ = caiman.load_memmap(path)
    spectrum = np.conj(fft.rfft2((template - template.mean()).astype(np.float32)))
    quality = np.empty(stop - start)
    for i, frame in enumerate(np.reshape(pixels[:, start:stop].T, [stop - start, *dims], order="F")):
        product = fft.rfft2(frame - frame.mean()) * spectrum
        surface = fft.irfft2(product / np.maximum(np.abs(product), 1e-12), frame.shape)
        near = surface[np.ix_(*(np.r_[0 : r + 1, -r:0] for r in reach))]
        quality[i] = near.max() / max(surface.std(), 1e-12)
    return quality


def estimate_motion(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """Shifts and template; how clear each frame's peak is, which CaImAn does not tell, is measured here."""
    from caiman.motion_correction import MotionCorrect, get_patch_centers

    params = _params(request)
    mc = MotionCorrect([request["movie"]], dview=view, **params.get_group("motion"))
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
    reach = [int(r) for r in params.motion["max_shifts"]]
    parts = [(start, min(start + _CHUNK_FRAMES, len(rigid))) for start in range(0, len(rigid), _CHUNK_FRAMES)]
    items = [(request["movie"], *part, filled, reach) for part in parts]
    quality = view.map(_peak_quality, items) if view else [_peak_quality(item) for item in items]
    return {**outputs, "peak_quality": np.concatenate(quality)}


def apply_motion(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """The corrected frames (T, H, W), interpolated by CaImAn from its own shifts."""
    from caiman.motion_correction import MotionCorrect

    params = _params(request)
    mc = MotionCorrect([request["movie"]], dview=None, **params.get_group("motion"))
    mc.shifts_rig = [tuple(shift) for shift in inputs["shifts_rig"]]
    if params.motion["pw_rigid"]:
        mc.x_shifts_els, mc.y_shifts_els = list(inputs["x_shifts_els"]), list(inputs["y_shifts_els"])
    moved = mc.apply_shifts_movie(request["movie"], remove_min=False)
    return {"corrected": np.asarray(moved, np.float32)}


def _estimates_of(cnm: Any) -> Arrays:
    """What a fit has found, as plain arrays."""
    import scipy.sparse as sp

    found = cnm.estimates
    A = sp.csc_matrix(found.A)
    n_frames = np.shape(found.C)[1]
    b: Any = np.zeros((A.shape[0], 0)) if found.b is None else found.b
    values = {
        "C": found.C,
        "S": found.S,
        "YrA": found.YrA,
        "b": b.toarray() if sp.issparse(b) else np.asarray(b),
        "f": np.zeros((0, n_frames)) if found.f is None else found.f,
        "bl": found.bl,
        "c1": found.c1,
        "neurons_sn": found.neurons_sn,
        "lam": found.lam,
        "g": np.array([np.ravel(g) for g in found.g]).reshape(A.shape[1], -1),
        "sn": np.ravel(found.sn),
    }
    per_component = ("bl", "c1", "neurons_sn", "lam")
    outputs = {
        name: np.array([float(np.ravel(v)[0]) for v in value]) if name in per_component else np.asarray(value)
        for name, value in values.items()
    }
    return {**outputs, **_sparse_parts("A", A)}


def _sparse_parts(name: str, matrix: Any) -> Arrays:
    return {name + "." + part: getattr(matrix, part) for part in ("data", "indices", "indptr")}


def _sparse(name: str, arrays: Arrays, n_rows: int) -> Any:
    import scipy.sparse as sp

    parts = tuple(arrays[name + "." + part] for part in ("data", "indices", "indptr"))
    return sp.csc_matrix(parts, shape=(n_rows, len(parts[2]) - 1))


def fit(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """The first fit, in patches, or from seeds."""
    from caiman.source_extraction.cnmf.cnmf import CNMF

    images, params = _load_images(request["movie"]), _params(request)
    seeds = inputs["seeds"].astype(bool) if "seeds" in inputs else None
    cnm = CNMF(request["processes"], params=params, dview=view, Ain=seeds)
    cnm.fit(images)
    return _estimates_of(cnm)


def refit(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """The refit of an earlier result."""
    from caiman.source_extraction.cnmf.cnmf import CNMF

    images, params = _load_images(request["movie"]), _params(request)
    cnm = CNMF(request["processes"], params=params, dview=view)
    cnm.mmap_file = request["movie"]
    _fill(cnm.estimates, inputs, images.shape[1:])
    return _estimates_of(cnm.refit(images, dview=view))


def _fill(estimates: Any, inputs: Arrays, dims: tuple) -> None:
    """Puts an earlier result into CaImAn's record of it."""
    estimates.A = _sparse("A", inputs, int(np.prod(dims)))
    estimates.dims = dims
    for name in ("C", "S", "YrA", "b", "f", "bl", "c1", "neurons_sn", "lam", "sn"):
        if name in inputs:
            setattr(estimates, name, inputs[name])
    estimates.R = estimates.YrA
    if "g" in inputs:
        estimates.g = list(inputs["g"])


def evaluate(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """Quality of components, and which CaImAn accepts."""
    from caiman.components_evaluation import find_activity_intervals
    from caiman.source_extraction.cnmf.estimates import Estimates

    images, params = _load_images(request["movie"]), _params(request)
    estimates = Estimates()
    _fill(estimates, inputs, images.shape[1:])
    estimates.evaluate_components(images, params, dview=view)
    accepted = np.zeros(len(estimates.C), bool)
    accepted[estimates.idx_components] = True
    frames = find_activity_intervals(estimates.C, Npeaks=10)
    transients = [0 if one is None else 1 + int((np.diff(np.sort(one)) > 1).sum()) for one in frames]
    outputs = {
        "snr": estimates.SNR_comp,
        "r_value": estimates.r_values,
        "accepted": accepted,
        "n_transients": np.array(transients, int),
    }
    return {**outputs, "cnn": estimates.cnn_preds} if params.quality["use_cnn"] else outputs


def delta_f_over_f(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """dF/F, and what remains of trace and of background once their running percentiles are taken off."""
    from caiman.source_extraction.cnmf.utilities import detrend_df_f

    A = _sparse("A", inputs, request["n_pixels"])
    C, YrA, b, f = (np.asarray(inputs[name], float) for name in ("C", "YrA", "b", "f"))
    options = {"quantileMin": request["percentile"], "frames_window": request["window_frames"], "flag_auto": False}
    under = (A.T @ b) @ f
    dff = detrend_df_f(A, b, C, f, YrA, **options)
    detrended = detrend_df_f(A, b, C, f, YrA, detrend_only=True, **options)
    background = detrend_df_f(A, b, under, f, None, detrend_only=True, **options)
    return {"dff": dff, "rest": C + YrA - detrended, "background_rest": under - background}


def check(request: Request, inputs: Arrays, view: Any) -> Arrays:
    """Nothing but whether CaImAn is there, and its classifier's weights if these are asked for."""
    return {}


TASKS = {
    one.__name__: one for one in (estimate_motion, apply_motion, fit, refit, evaluate, delta_f_over_f, check)
}  # fmt: skip


def _work(folder: Path, request: Request, start_method: str) -> Request:
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        inputs = dict(arrays)
    with state_of_its_own(str(folder)):
        version, problem = find_caiman()
        problem = problem or missing_weights(request)
        if problem:
            return {"problem": problem, "version": version}
        with processes_of(request["processes"], start_method) as view:
            outputs = TASKS[request["task"]](request, inputs, view)
    np.savez(folder / "outputs.npz", **outputs)  # type: ignore[arg-type]
    return {"problem": None, "version": version}


def perform(folder: Path, start_method: str) -> None:
    """Does what `request.json` in the folder asks for, and writes what came of it.

    Args:
        folder: of this run; see the text of the module.
        start_method: how processes are started: `fork` is quick, and safe only where no threads run.
    """
    folder = folder.resolve()
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        answer = _work(folder, request, start_method)
    except Exception:
        (folder / "outputs.npz").unlink(missing_ok=True)  # half of it, if the disk is full: the answer needs room
        answer = {"problem": ("failed", traceback.format_exc()), "version": ""}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _end_with_parent(folder: str) -> None:
    """Who started this holds the other end of the standard input; once that is gone, nobody waits for an answer."""
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "--locate":
        print(json.dumps(locate_caiman()))
        sys.exit()
    threading.Thread(target=_end_with_parent, args=(sys.argv[1],), daemon=True).start()
    can_fork = sys.platform.startswith("linux")
    perform(Path(sys.argv[1]), "fork" if can_fork else "spawn")
