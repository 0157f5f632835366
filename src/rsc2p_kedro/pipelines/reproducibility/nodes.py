"""Nodes of the reproducibility: the table of what both halves of the frames find, and its picture."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rsc2p_kedro.core.fingerprints import uses
from rsc2p_kedro.core.results import ComponentQuality, Components, SummaryImages
from rsc2p_kedro.engines.reproducibility import match_halves, reproducibility_table
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.plots.coverage import halves_figure


def tabulate_reproducibility(
    first: Components, first_quality: ComponentQuality, second: Components, second_quality: ComponentQuality
) -> pd.DataFrame:
    """Tabulates which components accepted in one half of the frames the other half finds again.

    Args:
        first: components of the first half.
        first_quality: their quality and acceptance.
        second: components of the second half.
        second_quality: their quality and acceptance.

    Returns:
        A :class:`~rsc2p_kedro.core.schemas.ReproducibilityTable`.
    """
    return reproducibility_table(first, first_quality, second, second_quality)


@uses(recording="pixel_size_um")
def plot_reproducibility(
    first: Components,
    first_quality: ComponentQuality,
    second: Components,
    second_quality: ComponentQuality,
    corrected_summary_images: SummaryImages,
    recording: Recording,
) -> Figure:
    """Draws the contours of the components accepted in each half, those found again in another colour.

    Args:
        first: components of the first half.
        first_quality: their quality and acceptance.
        second: components of the second half.
        second_quality: their quality and acceptance.
        corrected_summary_images: of the whole corrected movie.
        recording: gives title and pixel size.

    Returns:
        The figure.
    """
    accepted = [
        components.footprints[:, np.flatnonzero(quality.accepted)]
        for components, quality in ((first, first_quality), (second, second_quality))
    ]
    return halves_figure(
        corrected_summary_images.correlation,
        (accepted[0], accepted[1]),
        match_halves(*accepted),
        title=recording.name,
        pixel_size_um=recording.pixel_size_um,
    )
