"""The table of measures of an extraction that need no ground truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.evaluation.shape_measures import measure_shapes, saturated_components
from rsc2p_kedro.algorithms.evaluation.unexplained import find_unexplained
from rsc2p_kedro.core.results import Components, DetectorSaturation, SummaryImages


@dataclass(frozen=True)
class ComponentMeasure:
    """One measure: a number of components or pixels out of a total.

    Attributes:
        measure: its name.
        count: number of components or pixels that it applies to.
        total: number of components or pixels that it is a share of.
        share: count / total; NaN where the total is 0.
        unit: what is counted, `components` or `px`.
        description: definition of the measure.
    """

    measure: str
    count: int
    total: int
    share: float
    unit: str
    description: str


def make_measure(name: str, count: int, total: int, unit: str, description: str) -> ComponentMeasure:
    """Makes a measure with its share.

    Args:
        name: of the measure.
        count: number that it applies to.
        total: number that it is a share of.
        unit: what is counted, `components` or `px`.
        description: its definition.

    Returns:
        The measure.
    """
    return ComponentMeasure(name, int(count), int(total), count / total if total else float("nan"), unit, description)


def measure_components(
    components: Components,
    accepted: NDArray[np.bool_],
    images: SummaryImages,
    valid_mask: NDArray[np.bool_],
    saturation: DetectorSaturation,
) -> list[ComponentMeasure]:
    """Measures shapes, duplicates and coverage of the accepted components.

    Args:
        components: N components.
        accepted: (N,) bool.
        images: summary images of the corrected movie.
        valid_mask: (H, W), pixels that were visible in every frame.
        saturation: of the detector.

    Returns:
        `ragged`, `thin`, `nested`, `duplicate` and `saturated` among the accepted components, and `unexplained` among
        the pixels of high local correlation.
    """
    shapes = measure_shapes(components, accepted)
    saturated = saturated_components(components, accepted, images.mean, saturation.level)
    missed = find_unexplained(images.correlation, components.footprints[:, np.flatnonzero(accepted)], valid_mask)
    of_components = [
        ("ragged", shapes.ragged, "Solidity of the mask (area over that of its convex hull) below 0.7."),
        (
            "thin",
            shapes.thin,
            "Minor half-axis below 0.58 half-widths of a neuron, or below half the median if that is unknown.",
        ),
        ("nested", shapes.nested, "More than 60 % of the mask lies within the mask of a larger component."),
        (
            "duplicate",
            shapes.duplicate,
            "IoU with a larger component of 0.5 or more, or overlap of more than a fifth and correlation of the traces "
            "of 0.8 or more.",
        ),
        (
            "saturated",
            saturated,
            "A tenth of the mask or more reaches the level of saturation, by its mean and the largest transient.",
        ),
    ]
    rows = [make_measure(name, flags.sum(), len(flags), "components", text) for name, flags, text in of_components]
    text = "Pixels of high local correlation that no accepted component covers."
    return [*rows, make_measure("unexplained", missed.unexplained.sum(), missed.high.sum(), "px", text)]
