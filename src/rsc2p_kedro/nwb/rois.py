"""ROI tables in the group `processing/ophys`: components, and components of the background.

The names of columns are a contract with readers (roiextractors, Neurosift, pynapple).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from hdmf.common import VectorData
from numpy.typing import NDArray
from pynwb.ophys import ImagingPlane, PlaneSegmentation

from rsc2p_kedro.core import results
from rsc2p_kedro.core.tracking import UNTRACKED
from rsc2p_kedro.nwb.iterators import MaskIterator, compressed
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.orientation import points_to_nwb

COLUMNS = {
    "is_accepted": "Whether the ROI is accepted as a neuron.",
    "roi_name": "Name of the ROI, made from its id.",
    "snr": "Signal-to-noise ratio of its most exceptional transient (Giovannucci et al. 2019); 2 is about 6 standard "
    "deviations of noise.",
    "r_value": "Correlation of its mask with the mean image of its transients.",
    "classifier_score": "Score of the classifier, from 0 (not a neuron) to 1 (a neuron).",
    "component_class": "Class of the ROI: soma, process (dendrite, axon or bouton), out_of_focus (soma above or below "
    "the plane), other (piece, vessel, noise), or silent (without transients, found by its shape in the mean image); "
    "unclassified where no classifier was used.",
    "soma_probability": "Probability that the ROI is a soma in the plane, by a classifier trained on simulated tissue.",
    "process_probability": "Probability that the ROI is a dendrite, axon or bouton.",
    "out_of_focus_probability": "Probability that the ROI is a soma above or below the plane.",
    "other_probability": "Probability that the ROI is anything else: a piece, a vessel, noise.",
    "red_signal": "Mean intensity of the structural channel inside the ROI minus that around it, in counts, after "
    "subtraction of the crosstalk from the functional channel.",
    "red_probability": "Probability that the ROI has the label of the structural channel.",
    "area": "Number of pixels above a fifth of the maximum of the mask.",
    "event_rate": "Calcium events per second; an event is a run of frames in each of which a transient is likely to "
    "begin.",
    "decay_time": "Decay time constant of calcium in s with which SpikeRates were inferred.",
    "transient_amplitude": "Mean amplitude of transients in RoiResponseSeries, the unit of SpikeRates; 0 where the "
    "trace has no noise.",
    "baseline": "Constant fluorescence of the ROI, which is part of neither its traces nor Neuropil.",
    "ROICentroids": "Centre (x, y) in px.",
    "Accepted": "1 where is_accepted, else 0.",
    "Rejected": "1 where not is_accepted, else 0.",
    "curated": "Whether a person decided on acceptance, instead of thresholds.",
    "dff_guarded": "Whether F0 of its dF/F was too low to divide by and was raised.",
    "dff_noise": "Noise of its dF/F in % / sqrt(Hz): median absolute difference of frames over the root of the frame "
    "rate (Rupprecht et al. 2021).",
    "dff_scale_error": "Standard error of its F0, relative to it, because the dark level of the detector is not exact.",
    "photons": "Photons per frame of the ROI at rest: as many as give its trace the shot noise that it has.",
    "d_prime": "Detectability d' of a transient of 10 % dF/F with the indicator's decay time, if shot noise were the "
    "only noise (Wilt et al. 2013).",
    "neuropil_fraction": "Part of the light around the ROI that F0 of its dF/F does not include.",
    "reason": "Why the ROI was accepted or rejected.",
    "tracked_id": "Id of the neuron over the sessions of the animal: the session and the ROI in which it was first "
    "seen; untracked where it was rejected or the session shows another place.",
    "tracking_probability": "Probability that the ROI belongs to this neuron; NaN where it is untracked.",
}
"""Columns of the table of ROIs beside `image_mask`, in order, with their descriptions."""
OPTIONAL_COLUMNS = (
    *("red_signal", "red_probability"),
    *("dff_noise", "dff_scale_error", "photons", "d_prime", "neuropil_fraction"),
)
"""Columns that only some recordings have, under the same name as in the table of components."""


def make_roi_table(
    components: results.Components,
    table: pd.DataFrame,
    plane: ImagingPlane,
    parameters: NwbParameters,
    suffix: str = "",
) -> PlaneSegmentation:
    """Makes the table of ROIs: masks, positions, quality and acceptance.

    Args:
        components: N > 0 components.
        table: N rows as in :class:`~rsc2p_kedro.nwb.recording_results.ExportedRois`.
        plane: in which the ROIs are.
        parameters: selection of ROIs (for the description) and compression.
        suffix: end of the name, which tells the plane where there are several.

    Returns:
        One row for each ROI, with the columns `image_mask` and `COLUMNS`. A column that has no value for some ROI is
        left out instead of filled with NaN.
    """
    values = _column_values(components, table)
    return PlaneSegmentation(
        name=f"PlaneSegmentation{suffix}",
        description="Components found by constrained non-negative matrix factorization (CNMF); exported: "
        f"{parameters.rois}.",
        imaging_plane=plane,
        id=components.ids.tolist(),
        columns=[
            make_mask_column(components.footprints, components.shape, parameters),
            *(
                VectorData(name=name, description=description, data=values[name])
                for name, description in COLUMNS.items()
                if name in values and not _has_gaps(values[name])
            ),
        ],
    )


def _column_values(components: results.Components, table: pd.DataFrame) -> dict[str, Sequence[Any] | NDArray]:
    """Values of the columns in `COLUMNS`, in NWB's types."""
    accepted = table["accepted"].to_numpy(bool)
    centres = table[["centre_y_px", "centre_x_px"]].to_numpy(np.float32)
    measures = {
        "snr": "snr",
        "r_value": "r_value",
        "classifier_score": "classifier_score",
        **{f"{name}_probability": f"{name}_probability" for name in results.COMPONENT_CLASSES},
        "event_rate": "event_rate_hz",
        "decay_time": "spike_decay_time_s",
        "transient_amplitude": "transient_amplitude",
        **{name: name for name in OPTIONAL_COLUMNS if name in table},
    }
    return {
        **{name: table[column].to_numpy(np.float32) for name, column in measures.items()},
        "component_class": _class_names(table["component_class"]),
        "is_accepted": accepted,
        "roi_name": [f"roi_{i:04d}" for i in components.ids],
        "area": table["area_px"].to_numpy(np.int64),
        "baseline": components.baseline,
        "ROICentroids": np.ascontiguousarray(points_to_nwb(centres)),
        "Accepted": accepted.astype(np.uint8),
        "Rejected": (~accepted).astype(np.uint8),
        "curated": table["curated"].to_numpy(bool),
        "dff_guarded": table["dff_guarded"].to_numpy(bool),
        "reason": table["reason"].tolist(),
        **(
            {
                "tracked_id": table["tracked_id"].tolist(),
                # Not 0, as a column of 0 and 1 only would pass for true and false.
                "tracking_probability": np.where(
                    table["tracked_id"] == UNTRACKED, np.nan, table["tracking_probability"]
                ).astype(np.float32),
            }
            if "tracked_id" in table
            else {}
        ),
    }


def _class_names(column: pd.Series) -> Sequence[Any]:
    """Names of classes; where only the silent ROIs have a class, the others are `unclassified`."""
    return (column if column.isna().all() else column.fillna("unclassified")).tolist()


def _has_gaps(values: Sequence[Any] | NDArray) -> bool:
    """Whether a column has no value for some ROI."""
    return bool(pd.isna(np.asarray(values)).any())


def make_background_table(
    components: results.Components, plane: ImagingPlane, parameters: NwbParameters, suffix: str = ""
) -> PlaneSegmentation:
    """Makes the table of background components.

    Args:
        components: with at least one background component.
        plane: in which they are.
        parameters: compression.
        suffix: end of the name, which tells the plane where there are several.

    Returns:
        One row for each background component, with the column `image_mask`.
    """
    return PlaneSegmentation(
        name=f"BackgroundComponents{suffix}",
        description="Footprints of the background: diffuse fluorescence that belongs to no ROI.",
        imaging_plane=plane,
        id=list(range(len(components.background_traces))),
        columns=[make_mask_column(components.background_footprints, components.shape, parameters)],
    )


def make_mask_column(footprints: sp.csc_array, shape: tuple[int, int], parameters: NwbParameters) -> VectorData:
    """Makes the column `image_mask`, whose masks are made dense as the file is written.

    Args:
        footprints: (H*W, N), rows in C order.
        shape: (H, W).
        parameters: compression.

    Returns:
        The column, (N, x, y) float32.
    """
    return VectorData(
        name="image_mask",
        description="Weight of each pixel. Axes: (ROI, x, y), x is the column and y the row of the frame.",
        data=compressed(MaskIterator(footprints, shape), parameters.compression),
    )
