"""Outputs of CaImAn 1.12.1 in its shapes and orders, with simulated values: the movie that they describe is known."""

import numpy as np
import scipy.sparse as sp

from rsc2p_kedro.engines.caiman import worker
from rsc2p_kedro.engines.caiman.exchange import Response

H, W, T = 6, 9, 40
OFFSET = 30.0


def f_index(y: int, x: int) -> int:
    """Index of a pixel in F order."""
    return y + H * x


def estimates(*, baseline: float = 2.0) -> dict[str, np.ndarray]:
    """Estimates of two components (one at (1, 2) and (1, 3), one at (4, 7)) and two background components."""
    rng = np.random.default_rng(0)
    A = np.zeros((H * W, 2))
    A[[f_index(1, 2), f_index(1, 3)], 0] = 0.6, 0.8
    A[f_index(4, 7), 1] = 1.0
    clean = rng.random((2, T)) * 5
    bl = np.array([baseline, 0.5])
    A = sp.csc_matrix(A)
    return {
        "A.data": A.data,
        "A.indices": A.indices,
        "A.indptr": A.indptr,
        "C": clean + bl[:, None],
        "S": rng.random((2, T)),
        "YrA": rng.normal(size=(2, T)),
        "b": rng.random((H * W, 2)),
        "f": rng.random((2, T)) * 10,
        "bl": bl,
        "c1": np.zeros(2),
        "neurons_sn": np.array([0.3, 0.4]),
        "lam": np.array([0.0, 0.1]),
        "g": np.array([[0.9], [0.8]]),
        "sn": np.arange(H * W, dtype=float),
    }


def footprints(arrays: dict[str, np.ndarray]) -> sp.csc_matrix:
    """Footprints A (H*W, 2) of estimates, pixels in F order."""
    return sp.csc_matrix((arrays["A.data"], arrays["A.indices"], arrays["A.indptr"]), shape=(H * W, 2))


def movie_of(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Movie (T, H, W) described by estimates: A C + b f, and the offset that was subtracted for CaImAn."""
    pixels = footprints(arrays) @ arrays["C"] + arrays["b"] @ arrays["f"] + OFFSET
    return pixels.T.reshape(T, W, H).transpose(0, 2, 1)


def shifts(*, piecewise: bool = True) -> dict[str, np.ndarray]:
    """Shifts of 3 x 2 patches: 0.1, 0.2 and 0.3 px along y by row, -0.01 and -0.02 px along x by column."""
    t = np.arange(T)[:, None]
    arrays = {
        "template": np.arange(H * W, dtype=float).reshape(H, W),
        "shifts_rig": np.column_stack([0.5 * np.ones(T), -0.25 * np.ones(T)]),
        "peak_quality": np.full(T, 9.0),
    }
    if piecewise:
        arrays["x_shifts_els"] = 0.01 * np.array([10, 10, 20, 20, 30, 30]) + 0 * t
        arrays["y_shifts_els"] = -0.01 * np.array([1, 2, 1, 2, 1, 2]) + 0 * t
        arrays["centre_rows"], arrays["centre_columns"] = np.array([1.0, 2.5, 4.0]), np.array([2.0, 6.0])
    return arrays


def measures() -> dict[str, np.ndarray]:
    """Quality of the two components."""
    return {
        "snr": np.array([3.0, np.inf]),
        "r_value": np.array([0.3, -1.0]),
        "accepted": np.array([True, False]),
        "n_transients": np.array([4, 0]),
        "cnn_preds": np.array([0.9, 0.2]),
    }


def relative_fluorescence() -> dict[str, np.ndarray]:
    """dF/F of the two components and the parts of its baseline; that of the second is not above 0."""
    ones = np.ones((2, T))
    return {
        "dff": ones * [[0.5], [np.nan]],
        "trace_percentile": ones * [[3.0], [1.0]],
        "background_percentile": ones * [[7.0], [-2.0]],
    }


class RecordedCaiman:
    """Replaces CaImAn: stores the requests and returns recorded responses."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict]] = []
        self.outputs: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, task, settings, *, write_movie=None, **request):
        self.requests.append((task.__name__, request))
        if task is worker.apply_motion:  # every pixel of a frame is the frame's y shift plus 0.4
            corrected = np.repeat(request["arrays"]["shifts_rig"][:, :1], H * W, axis=1).reshape(-1, H, W)
            return Response({"corrected": np.float32(corrected + 0.4)}, "1.12.1")
        return Response(self.outputs[task.__name__], "1.12.1")
