"""Reference implementations of evaluation and dF/F: slow, plain, in memory."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def running_percentile(trace: NDArray, percentile: float, half_width: int) -> NDArray[np.float64]:
    """np.percentile of each window, cut off at the ends."""
    windows = [trace[max(t - half_width, 0) : t + half_width + 1] for t in range(len(trace))]
    return np.array([np.percentile(window, percentile) for window in windows])


def snr(trace: NDArray, length: int) -> float:
    """Largest z value of the mean log probability over all runs, on the scale of 3 standard deviations, run by run.

    Mode: mean of the shortest interval with half of the values. Noise: root mean square of the values below it.
    """
    values, half = sorted(trace), (len(trace) + 1) // 2
    start = min(range(len(trace) - half + 1), key=lambda k: values[k + half - 1] - values[k])
    mode = np.mean(values[start : start + half])
    noise = np.sqrt(np.mean([(value - mode) ** 2 for value in values if value < mode]))
    means = []
    for start in range(len(trace) - length + 1):
        z = (trace[start : start + length] - mode) / (3 * noise)
        means.append(np.log(stats.norm.sf(z)).mean())
    return float(stats.norm.isf(np.exp(min(means))))


def select_runs(values: NDArray, length: int, min_value: float, max_runs: int) -> list[int]:
    """Starts of the best runs that do not overlap, taken from best to worst."""
    starts: list[int] = []
    for start in sorted(range(len(values)), key=lambda t: (-values[t], t)):
        free = all(abs(start - other) >= length for other in starts)
        if free and values[start] >= min_value and len(starts) < max_runs:
            starts.append(start)
    return starts


def blur(image: NDArray, inside: NDArray[np.bool_], sigma: float) -> NDArray[np.float64]:
    """Mean over the pixels of a region (H, W), weighted by a Gaussian about each that is cut off at 4 sigma."""
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
) -> float:
    """Correlation over a region (H*W,) of footprint i of A (H*W, N) with its transient image.

    In each pixel, the movie less background and other components is regressed on the trace of i within the frames (T,)
    of its transients, the rest of that trace, and the traces of the components `near`, all without their mean. Both
    images are blurred by a sixth of the radius of a disc with the area of the footprint, cut at a fifth of its maximum.
    """
    others = np.arange(A.shape[1]) != i
    rest = movie.reshape(len(movie), -1).astype(float) - (b @ f + A[:, others] @ C[others]).T
    regressors = np.column_stack([C[i] * frames, C[i] * ~frames, *C[near]]).astype(float)
    if np.ptp(regressors[:, 0]) == 0:
        return 0.0
    regressors -= regressors.mean(axis=0)
    sizes = np.linalg.norm(regressors, axis=0)
    regressors = regressors[:, sizes > 0] / sizes[sizes > 0]
    ridge = np.sqrt(1e-3) * np.eye(regressors.shape[1])
    padded = np.concatenate([rest, np.zeros((len(ridge), rest.shape[1]))])
    image = np.linalg.lstsq(np.concatenate([regressors, ridge]), padded, rcond=None)[0][0]
    shape, inside = movie.shape[1:], region.reshape(movie.shape[1:])
    radius = np.sqrt((A[:, i] > 0.2 * A[:, i].max()).sum() / np.pi)
    both = [blur(each.reshape(shape), inside, radius / 6) for each in (A[:, i], image)]
    return float(np.corrcoef(*both)[0, 1])
