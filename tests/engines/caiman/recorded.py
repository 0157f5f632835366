"""What CaImAn 1.12.1 gives, in its shapes and orders, made up: values from a model whose movie is known."""

import numpy as np
import scipy.sparse as sp

H, W, T = 6, 9, 40
OFFSET = 30.0


def f_number(y: int, x: int) -> int:
    """Number of a pixel in F order."""
    return y + H * x


def estimates(*, baseline: float = 2.0) -> dict[str, np.ndarray]:
    """Two components (at (1, 2) and (1, 3), and at (4, 7)), two background components, as arrays by CaImAn's names."""
    rng = np.random.default_rng(0)
    A = np.zeros((H * W, 2))
    A[[f_number(1, 2), f_number(1, 3)], 0] = 0.6, 0.8
    A[f_number(4, 7), 1] = 1.0
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


def movie_of(found: dict[str, np.ndarray]) -> np.ndarray:
    """The movie (T, H, W) that these estimates stand for: A C + b f, and the offset CaImAn never saw."""
    A = sp.csc_matrix((found["A.data"], found["A.indices"], found["A.indptr"]), shape=(H * W, 2)).toarray()
    pixels = A @ found["C"] + found["b"] @ found["f"] + OFFSET
    return pixels.T.reshape(T, W, H).transpose(0, 2, 1)


def shifts(*, piecewise: bool = True) -> dict[str, np.ndarray]:
    """Of 3 rows and 2 columns of patches: rows move by 0.1, 0.2, 0.3 px along y, columns by -0.01, -0.02 along x."""
    t = np.arange(T)[:, None]
    found = {
        "template": np.arange(H * W, dtype=float).reshape(H, W),
        "shifts_rig": np.column_stack([0.5 * np.ones(T), -0.25 * np.ones(T)]),
        "peak_quality": np.full(T, 9.0),
    }
    if piecewise:
        found["x_shifts_els"] = 0.01 * np.array([10, 10, 20, 20, 30, 30]) + 0 * t
        found["y_shifts_els"] = -0.01 * np.array([1, 2, 1, 2, 1, 2]) + 0 * t
        found["centre_rows"], found["centre_columns"] = np.array([1.0, 2.5, 4.0]), np.array([2.0, 6.0])
    return found
