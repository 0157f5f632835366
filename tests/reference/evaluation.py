"""Evaluation and dF/F by the book: slow, plain, in memory."""

import numpy as np
from numpy.typing import NDArray


def running_percentile(trace: NDArray, percentile: float, half_width: int) -> NDArray[np.float64]:
    """np.percentile of each window, cut off at the ends."""
    windows = [trace[max(t - half_width, 0) : t + half_width + 1] for t in range(len(trace))]
    return np.array([np.percentile(window, percentile) for window in windows])
