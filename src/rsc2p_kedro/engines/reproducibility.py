"""Split-half reproducibility: which components of one half of the frames the other half finds again.

Two extractions of the same movie from different frames share its anatomy but not its noise, so that what only one of
them finds is either noise or was active in that half only. The measure needs no ground truth; it bounds the accuracy
from neither side, since a structure that is no neuron can be found twice.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import dask.array as da
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.core.results import ComponentQuality, Components
from rsc2p_kedro.simulation.truth import intersection_over_union, match_footprints

Half = Literal["first", "second"]
HALVES: tuple[Half, Half] = ("first", "second")


def half_of(movie: da.Array | NDArray | pd.DataFrame, half: Half) -> Any:
    """One half of the frames of a movie, or of a table with a row for each frame.

    Args:
        movie: (T, H, W), lazy or not; or the table.
        half: `first` or `second`, which has one frame more if T is odd.

    Returns:
        The frames, a view of the movie.
    """
    middle = len(movie) // 2
    return movie[:middle] if half == "first" else movie[middle:]


def on_half(function: Callable, half: Half, *arguments: Any, **named: Any) -> Any:
    """Calls a function with one half of the movie instead of the whole.

    Args:
        function: function with an argument `corrected_movie`, and maybe one `excluded_frames`.
        half: `first` or `second`.
        *arguments: arguments of the function, with the whole movie.
        **named: further arguments by name.

    Returns:
        The result of the function.
    """
    bound = inspect.signature(function).bind(*arguments, **named)
    for name in {"corrected_movie", "excluded_frames"} & bound.arguments.keys():
        bound.arguments[name] = half_of(bound.arguments[name], half)
    return function(*bound.args, **bound.kwargs)


def match_halves(first: sp.csc_array, second: sp.csc_array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Matches the components of two halves one to one by the Hungarian method.

    Args:
        first: footprints of the first half, CSC (H*W, N).
        second: footprints of the second half, CSC (H*W, M).

    Returns:
        Indices of the matched components in both halves: the IoU of their masks (pixels above a fifth of the
        footprint's maximum) is 0.5 or more.
    """
    return match_footprints(intersection_over_union(first, second))


def reproducibility_table(
    first: Components, first_quality: ComponentQuality, second: Components, second_quality: ComponentQuality
) -> pd.DataFrame:
    """Tabulates which of the components accepted in one half the other half finds again.

    Args:
        first: components of the first half of the frames.
        first_quality: their quality and acceptance.
        second: components of the second half.
        second_quality: their quality and acceptance.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.ReproducibilityTable`: one row for each half, and one for both together.
    """
    halves = ((first, first_quality), (second, second_quality))
    accepted = [components.footprints[:, np.flatnonzero(quality.accepted)] for components, quality in halves]
    again = len(match_halves(*accepted)[0])
    of_any = [len(match_halves(accepted[i], halves[1 - i][0].footprints)[0]) for i in (0, 1)]
    numbers = [footprints.shape[1] for footprints in accepted]
    counts: list[tuple[str, int, int, int]] = [*zip(HALVES, numbers, (again, again), of_any, strict=True)]
    counts.append(("both", sum(numbers), 2 * again, sum(of_any)))
    rows = [
        (half, n, found, found / n if n else np.nan, extracted, extracted / n if n else np.nan)
        for half, n, found, extracted in counts
    ]
    columns = ["half", "accepted", "accepted_again", "share_accepted_again", "extracted_again", "share_extracted_again"]
    return pd.DataFrame(rows, columns=columns)
