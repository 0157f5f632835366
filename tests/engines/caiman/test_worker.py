"""Tasks of the worker, with a small stand-in for the parts of CaImAn that they call."""

import ast
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage as ndi
from tests.engines.caiman import recorded

from rsc2p_kedro.core.parameters import Compute
from rsc2p_kedro.engines.caiman import worker
from rsc2p_kedro.engines.caiman.exchange import write_memory_map

H, W, T = recorded.H, recorded.W, recorded.T


class CNMFParams:
    def __init__(self, params_dict: dict) -> None:
        self.groups = params_dict
        self.motion, self.quality = params_dict.get("motion", {}), params_dict.get("quality", {})

    def get_group(self, name: str) -> dict:
        return self.groups[name]


class MotionCorrect:
    """Estimates shifts of 0 and applies rigid shifts of whole pixels."""

    overlaps, strides, shifts_opencv, upsample_factor_grid = (2, 2), (3, 3), True, 4

    def __init__(self, fnames: list[str], dview=None, **motion) -> None:
        self.movie = load_memmap(fnames[0])
        self.shifts_rig: list[tuple] = []

    def motion_correct(self, save_movie: bool) -> None:
        pixels, dims, n_frames = self.movie
        self.total_template_rig = pixels[:, 0].reshape(dims, order="F").copy()
        self.total_template_els = np.where(self.total_template_rig > 0, self.total_template_rig, np.nan)
        self.shifts_rig = [(0.0, 0.0)] * n_frames
        self.x_shifts_els, self.y_shifts_els = [[0.0] * 6] * n_frames, [[0.0] * 6] * n_frames

    def apply_shifts_movie(self, path: str, remove_min: bool) -> np.ndarray:
        pixels, dims, _ = self.movie
        frames = pixels.T.reshape(-1, *dims, order="F")
        return np.array([np.roll(frame, shift, (0, 1)) for frame, shift in zip(frames, self.shifts_rig, strict=True)])


def load_memmap(path: str) -> tuple[np.ndarray, tuple[int, int], int]:
    words = Path(path).stem.split("_")
    height, width, order, n_frames = (words[words.index(key) + 1] for key in ("d1", "d2", "order", "frames"))
    shape = (int(height) * int(width), int(n_frames))
    pixels = np.memmap(path, mode="r", dtype=np.float32, shape=shape, order=order)  # type: ignore[call-overload]
    return pixels, (int(height), int(width)), int(n_frames)


class CNMF:
    """Its fit gives the recorded estimates, and its refit those that it was given, with doubled traces."""

    def __init__(self, processes: int, params: CNMFParams, dview=None, Ain=None) -> None:
        self.estimates, self.seeds = SimpleNamespace(A=Ain), Ain

    def fit(self, images: np.ndarray) -> None:
        arrays = recorded.estimates()
        self.estimates = SimpleNamespace(**{name: value for name, value in arrays.items() if "." not in name})
        self.estimates.A = recorded.footprints(arrays) if self.seeds is None else self.seeds[:, :2].astype(float)
        self.estimates.g = list(arrays["g"])

    def refit(self, images: np.ndarray, dview) -> "CNMF":
        self.estimates.C = 2 * self.estimates.C
        return self


class Estimates(SimpleNamespace):
    def evaluate_components(self, images: np.ndarray, params: CNMFParams, dview) -> None:
        self.SNR_comp, self.r_values, self.cnn_preds = (np.arange(2.0) + k for k in range(3))
        self.idx_components = np.array([1])


def detrend_df_f(A, b, C, f, YrA, *, quantileMin, frames_window, flag_auto, detrend_only=False):
    """Its running percentile is 3 for traces and 5 for the background, which alone has no residual."""
    traces = C if YrA is None else C + YrA
    percentile = 5.0 if YrA is None else 3.0
    return traces - percentile if detrend_only else (traces - percentile) / 8.0


@pytest.fixture(autouse=True)
def caiman(monkeypatch) -> None:
    cnmf = "caiman.source_extraction.cnmf"
    contents: dict[str, dict] = {
        "caiman": {"load_memmap": load_memmap},
        "caiman.motion_correction": {
            "MotionCorrect": MotionCorrect,
            "get_patch_centers": lambda dims, **_: ([1.0, 2.5, 4.0], [2.0, 6.0]),
        },
        "caiman.components_evaluation": {
            "find_activity_intervals": lambda C, Npeaks: [None, np.array([7, 8, 3, 4, 20])],
        },
        "caiman.source_extraction": {},
        cnmf: {},
        f"{cnmf}.params": {"CNMFParams": CNMFParams},
        f"{cnmf}.cnmf": {"CNMF": CNMF},
        f"{cnmf}.estimates": {"Estimates": Estimates},
        f"{cnmf}.utilities": {"detrend_df_f": detrend_df_f},
    }
    for name, attributes in contents.items():
        module = ModuleType(name)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)


def request(tmp_path: Path, movie: np.ndarray, order: str, **params) -> dict:
    compute = Compute(threads=1, show_progress=False)
    path = write_memory_map(tmp_path, movie, compute, order=order)
    return {"movie": path, "params": params, "processes": 1}


@pytest.fixture
def movie() -> np.ndarray:
    return recorded.movie_of(recorded.estimates()).astype(np.float32)


def test_the_syntax_is_that_of_python_3_10():
    text = Path(worker.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 10))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert {name.split(".")[0] for name in names if name} - sys.stdlib_module_names == {"numpy"}


@pytest.mark.parametrize("piecewise", [True, False])
def test_peak_quality_is_high_for_frames_like_the_template(tmp_path, piecewise):
    template = ndi.gaussian_filter(np.random.default_rng(0).random((32, 40)), 1)
    noise = np.random.default_rng(1).random((32, 40))
    frames = np.array([template, np.roll(template, (2, -1), (0, 1)), np.roll(template, (9, 0), (0, 1)), noise])
    motion = {"pw_rigid": piecewise, "max_shifts": [4, 4]}
    outputs = worker.estimate_motion(request(tmp_path, frames, "F", motion=motion), {}, None)
    quality = outputs["peak_quality"]
    assert quality[0] > 20
    assert quality[1] > 20  # moved within max_shifts
    assert max(quality[2:]) < 10  # moved too far, and noise
    assert ("x_shifts_els" in outputs) is piecewise
    if piecewise:
        assert outputs["x_shifts_els"].shape == (4, 6)
        assert outputs["centre_rows"].tolist() == [1.0, 2.5, 4.0]


def test_shifts_are_applied_to_frames(tmp_path, movie):
    shifts = np.tile([1, -2], (T, 1))
    outputs = worker.apply_motion(
        request(tmp_path, movie, "F", motion={"pw_rigid": False}), {"shifts_rig": shifts}, None
    )
    assert outputs["corrected"].dtype == np.float32
    np.testing.assert_array_equal(outputs["corrected"], np.roll(movie, (1, -2), (1, 2)))


def test_a_refit_starts_from_the_estimates_of_the_fit(tmp_path, movie):
    task = request(tmp_path, movie, "C")
    fit = worker.fit(task, {}, None)
    expected = recorded.estimates()
    assert set(fit) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(fit[name], value, err_msg=name)
    refit = worker.refit(task, fit, None)
    np.testing.assert_array_equal(refit["C"], 2 * fit["C"])
    for name in set(fit) - {"C"}:
        np.testing.assert_array_equal(refit[name], fit[name], err_msg=name)


def test_a_fit_starts_from_seeds(tmp_path, movie):
    seeds = np.zeros((H * W, 2), np.uint8)
    seeds[3, 0] = seeds[5, 1] = 1
    fit = worker.fit(request(tmp_path, movie, "C"), {"seeds": seeds}, None)
    assert fit["A.indices"].tolist() == [3, 5]


@pytest.mark.parametrize("use_cnn", [True, False])
def test_evaluation_returns_measures_and_acceptance(tmp_path, movie, use_cnn):
    task = request(tmp_path, movie, "C", quality={"use_cnn": use_cnn})
    outputs = worker.evaluate(task, recorded.estimates(), None)
    assert outputs["snr"].tolist() == [0, 1]
    assert outputs["r_value"].tolist() == [1, 2]
    assert outputs["accepted"].tolist() == [False, True]
    assert outputs["n_transients"].tolist() == [0, 3]
    assert ("cnn_preds" in outputs) is use_cnn


def test_percentiles_of_traces_and_background_are_returned_with_dff():
    arrays = recorded.estimates()
    outputs = worker.delta_f_over_f({"n_pixels": H * W, "percentile": 8, "window_frames": 50}, arrays, None)
    np.testing.assert_allclose(outputs["trace_percentile"], 3)
    np.testing.assert_allclose(outputs["background_percentile"], 5)
    np.testing.assert_allclose(outputs["dff"], (arrays["C"] + arrays["YrA"] - 3) / 8)
