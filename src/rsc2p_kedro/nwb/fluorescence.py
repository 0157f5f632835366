"""Traces in the group `processing/ophys`: fluorescence, dF/F, deconvolved activity, spike rates and background."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pynwb import ProcessingModule
from pynwb.ophys import DfOverF, Fluorescence, ImageSegmentation, ImagingPlane, PlaneSegmentation, RoiResponseSeries

from rsc2p_kedro.algorithms.deconvolution.indicators import usual_delay
from rsc2p_kedro.algorithms.dff import background_under_footprints
from rsc2p_kedro.core import results
from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.nwb.acquisition import UNIT
from rsc2p_kedro.nwb.iterators import compressed
from rsc2p_kedro.nwb.metadata import NwbParameters
from rsc2p_kedro.nwb.recording_results import ExportedRois
from rsc2p_kedro.nwb.rois import make_background_table, make_roi_table

RATE_UNIT = "typical transient amplitudes per frame"

DFF_DESCRIPTION = "dF/F of the ROI; 1 is 100 %. NaN in frames that were left out."

DESCRIPTIONS = {
    "RoiResponseSeries": "Demixed fluorescence of the ROI: denoised trace and residual, without its baseline. NaN in "
    "frames that were left out (invalid_times); all model traces are interpolated there, and have no spikes.",
    "Denoised": "Denoised calcium trace, without its baseline.",
    "Deconvolved": "Deconvolved activity, in the units of Denoised.",
    "Neuropil": "Background fluorescence under the footprint of the ROI, without the constant baseline of the ROI "
    "(column baseline).",
    "Baseline": "F0, the baseline of dF/F.",
}
"""Series of `Fluorescence` that have the unit of the movie, with their descriptions."""


def add_rois(
    ophys: ProcessingModule,
    rois: ExportedRois,
    *,
    plane: ImagingPlane,
    parameters: NwbParameters,
    times: Mapping[str, Any],
    spike_rates_description: str,
    suffix: str = "",
) -> None:
    """Adds ROIs and their traces; none of these objects where there is no ROI, as an empty table cannot be read back.

    Args:
        ophys: the module `processing/ophys`.
        rois: N components with their traces.
        plane: in which the ROIs are.
        parameters: selection of ROIs (for the description) and compression.
        times: fields of a series that hold its times (see :class:`~rsc2p_kedro.nwb.timing.Timing`).
        spike_rates_description: see :func:`describe_spike_rates`.
        suffix: end of the names of tables and containers, which tells the plane where there are several. One
            `ImageSegmentation` holds the tables of all planes.
    """
    components = rois.components
    if components.n_components == 0:
        return
    segmentation = ophys.data_interfaces.get("ImageSegmentation")
    if segmentation is None:
        segmentation = ImageSegmentation(name="ImageSegmentation")
        ophys.add(segmentation)
    fluorescence, dff = Fluorescence(name=f"Fluorescence{suffix}"), DfOverF(name=f"DfOverF{suffix}")
    for container in (fluorescence, dff):  # before their content, or pynwb finds no common ancestor
        ophys.add(container)
    table = make_roi_table(components, rois.table, plane, parameters, suffix)
    segmentation.add_plane_segmentation(table)
    traces = {
        "RoiResponseSeries": rois.fluorescence,
        "Denoised": components.traces,
        "Deconvolved": components.spikes,
        "Neuropil": background_under_footprints(components).astype(np.float32),
        "Baseline": rois.f0,
    }
    for name, data in traces.items():
        fluorescence.add_roi_response_series(_make_series(name, DESCRIPTIONS[name], data, table, parameters, times))
    fluorescence.add_roi_response_series(
        _make_series("SpikeRates", spike_rates_description, rois.spike_rates, table, parameters, times, unit=RATE_UNIT)
    )
    dff.add_roi_response_series(
        _make_series(
            "RoiResponseSeries",
            f"{DFF_DESCRIPTION} {rois.dff_description}",
            rois.dff,
            table,
            parameters,
            times,
            unit="n.a.",
        )
    )
    if rois.dff_with_neuropil is not None:
        about = f"{DFF_DESCRIPTION} F0 includes all light under the ROI, that of the neuropil, too."
        series = _make_series("WithNeuropil", about, rois.dff_with_neuropil, table, parameters, times, unit="n.a.")
        dff.add_roi_response_series(series)


def describe_spike_rates(evaluation: EvaluationParameters, indicator: str | None = None) -> str:
    """Describes spike rates and the parameters they were inferred with.

    Args:
        evaluation: as used; all its fields that begin with `spike_` are listed.
        indicator: gives the delay where the parameters leave it open.

    Returns:
        The description of the series `SpikeRates`.
    """
    used = {name: getattr(evaluation, name) for name in EvaluationParameters.model_fields if name.startswith("spike_")}
    if used["spike_delay"] is None:
        used["spike_delay"] = usual_delay(indicator)
    fields = EvaluationParameters.model_fields
    settings = [
        f"{name} = {value:g} ({(fields[name].description or name).split(':')[0]})" for name, value in used.items()
    ]
    return (
        "Inferred spike rate: posterior mean of the number of calcium transients that begin in each frame, given the "
        "whole noisy trace, in units of the ROI's typical transient amplitude (column transient_amplitude). It is "
        "proportional to the number of spikes; the factor cannot be determined from a fluorescence trace. Where the "
        "data leave the time of a spike uncertain, the rate is spread over the frames in question, while Deconvolved "
        "holds the single most probable spike train. Calcium of a ROI decays with the time constant in column "
        "decay_time. Rates are shifted to earlier times by half a frame and the delay, and transient amplitudes are "
        f"raised to the power 1 / supralinearity. Parameters: {'; '.join(settings)}."
    )


def add_background(
    ophys: ProcessingModule,
    components: results.Components,
    *,
    plane: ImagingPlane,
    parameters: NwbParameters,
    times: Mapping[str, Any],
    suffix: str = "",
) -> None:
    """Adds footprints and traces of the background, apart from the ROIs; nothing where it has no component.

    Args:
        ophys: the module `processing/ophys`.
        components: with nb background components.
        plane: in which they are.
        parameters: compression.
        times: fields of a series that hold its times (see :class:`~rsc2p_kedro.nwb.timing.Timing`).
        suffix: end of the names, which tells the plane where there are several.
    """
    if len(components.background_traces) == 0:
        return
    table = make_background_table(components, plane, parameters, suffix)
    fluorescence = Fluorescence(name=f"BackgroundFluorescence{suffix}")
    for container in (table, fluorescence):
        ophys.add(container)
    about, traces = "Fluorescence trace of each background component.", components.background_traces
    fluorescence.add_roi_response_series(_make_series("RoiResponseSeries", about, traces, table, parameters, times))


def _make_series(
    name: str,
    description: str,
    data: NDArray,
    table: PlaneSegmentation,
    parameters: NwbParameters,
    times: Mapping[str, Any],
    *,
    unit: str = UNIT,
) -> RoiResponseSeries:
    """Traces (N, T) of all rows of a table as a series (T, N)."""
    return RoiResponseSeries(
        name=name,
        description=f"{description} Axes: (time, ROI).",
        data=compressed(np.ascontiguousarray(data.T), parameters.compression),
        rois=table.create_roi_table_region(description="All ROIs.", region=list(range(len(data)))),
        unit=unit,
        **times,
    )
