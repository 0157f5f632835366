"""Evaluation and dF/F by the book: slow, plain, in memory."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def running_percentile(trace: NDArray, percentile: float, half_width: int) -> NDArray[np.float64]:
    """np.percentile of each window, cut off at the ends."""
    windows = [trace[max(t - half_width, 0) : t + half_width + 1] for t in range(len(trace))]
    return np.array([np.percentile(window, percentile) for window in windows])


def snr(trace: NDArray, length: int, mode: float, noise: float) -> float:
    """Largest z value of the mean log probability over all runs, on the scale of 3 standard deviations, run by run."""
    means = []
    for start in range(len(trace) - length + 1):
        z = (trace[start : start + length] - mode) / (3 * noise)
        means.append(np.log(stats.norm.sf(z)).mean())
    return float(stats.norm.isf(np.exp(min(means))))


def pick_runs(values: NDArray, length: int, least: float, most: int) -> list[int]:
    """Starts of the best runs that do not overlap, by going through them from best to worst."""
    starts: list[int] = []
    for start in sorted(range(len(values)), key=lambda t: (-values[t], t)):
        free = all(abs(start - other) >= length for other in starts)
        if free and values[start] >= least and len(starts) < most:
            starts.append(start)
    return starts


def blur(image: NDArray, inside: NDArray[np.bool_], sigma: float) -> NDArray[np.float64]:
    """Each pixel of a region (H, W) as the mean of the others, weighted by a Gaussian that is cut off at 4 sigma."""
    y, x = np.nonzero(inside)
    dy, dx = y[:, None] - y, x[:, None] - x
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-(dy**2 + dx**2) / (2 * sigma**2)) * (abs(dy) <= reach) * (abs(dx) <= reach)
    return weights @ image[inside] / weights.sum(axis=1)


def r_value(
    movie: NDArray,
    A: NDArray,
    C: NDArray,
    b: NDArray,
    f: NDArray,
    i: int,
    frames: NDArray[np.bool_],
    near: NDArray,
    region: NDArray[np.bool_],
    sigma: float,
) -> float:
    """Correlation over a region (H*W,) of footprint i of A (H*W, N) with what its transients bring to each pixel.

    Pixel by pixel: the light that background and others do not explain is regressed on the trace of i within its
    transients' frames (T,), the rest of that trace, the traces of the components `near`, and a constant.
    """
    if not (C[i] * frames).any():
        return 0.0
    others = np.arange(A.shape[1]) != i
    rest = movie.reshape(len(movie), -1).astype(float) - (b @ f + A[:, others] @ C[others]).T
    regressors = np.column_stack([C[i] * frames, C[i] * ~frames, *C[near], np.ones(len(movie))]).astype(float)
    sizes = np.linalg.norm(regressors, axis=0)
    regressors = regressors[:, sizes > 0] / sizes[sizes > 0]
    ridge = np.sqrt(1e-3) * np.eye(regressors.shape[1])
    padded = np.concatenate([rest, np.zeros((len(ridge), rest.shape[1]))])
    image = np.linalg.lstsq(np.concatenate([regressors, ridge]), padded, rcond=None)[0][0]
    shape, inside = movie.shape[1:], region.reshape(movie.shape[1:])
    both = [blur(each.reshape(shape), inside, sigma) for each in (A[:, i], image)]
    return float(np.corrcoef(*both)[0, 1])
