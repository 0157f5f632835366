"""The results of one plane of a recording that go into its NWB file, and the components that become ROIs."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import Movie
from rsc2p_kedro.core import results
from rsc2p_kedro.nwb.acquisition import Links


@dataclass(frozen=True, eq=False)
class ExportedRois:
    """The N components that become ROIs of the file, all arrays in one order.

    Attributes:
        components: the N components.
        table: one row for each: the columns of the component table, and from dF/F and spike inference `dff_guarded`,
            `spike_decay_time_s` and `transient_amplitude`; its index holds the ids.
        fluorescence: denoised trace and residual, (N, T); NaN in frames that are left out.
        dff: dF/F, (N, T), likewise.
        dff_with_neuropil: dF/F with the neuropil in F0, (N, T), likewise; None where `dff` is that.
        dff_description: dark level and neuropil of dF/F, in sentences.
        f0: baseline F0 of dF/F, (N, T).
        spike_rates: (N, T), typical transient amplitudes per frame.
    """

    components: results.Components
    table: pd.DataFrame
    fluorescence: NDArray[np.float32]
    dff: NDArray[np.float32]
    dff_with_neuropil: NDArray[np.float32] | None
    dff_description: str
    f0: NDArray[np.float32]
    spike_rates: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RecordingResults:
    """All results of one plane of a recording that go into its NWB file.

    Attributes:
        movie: raw, (T, H, W), lazy.
        corrected_movie: (T, H, W), lazy.
        motion: shifts and template.
        components: N components.
        component_table: a :class:`~rsc2p_kedro.core.schemas.ComponentTable`, one row for each component, in any order.
        dff: dF/F and its F0, (N, T) each.
        spike_inference: spike rates inferred from the noisy traces, (N, T).
        summary_images: of the corrected movie, (H, W) each.
        links: TIFFs of the raw movie, needed for `raw: external` only.
        frame_times_s: times of all frames of the session in s, where frames are not evenly spaced (see
            :class:`~rsc2p_kedro.nwb.timing.Timing`).
        line_offset_px: offset of odd rows that was corrected in the movie, in px.
        excluded_frames: an :class:`~rsc2p_kedro.core.schemas.ExclusionTable`, one row for each frame; None excludes
            none.
        trials: (T,), for each frame the name of the file in which its trial begins; None if unknown.
        delay_s: time from the start of a volume to the frame of this plane, which is added to all times.
        structural_movie: raw, (T, H, W), lazy, of the structural channel; None where there is none.
        structural_images: of the corrected structural movie, (H, W) each; None likewise.
    """

    movie: Movie
    corrected_movie: Movie
    motion: results.MotionCorrection
    components: results.Components
    component_table: pd.DataFrame
    dff: results.DeltaFOverF
    spike_inference: results.SpikeInference
    summary_images: results.SummaryImages
    links: Links | None = None
    frame_times_s: NDArray[np.float64] | None = None
    line_offset_px: int = 0
    excluded_frames: pd.DataFrame | None = None
    trials: NDArray[np.str_] | None = None
    delay_s: float = 0.0
    structural_movie: Movie | None = None
    structural_images: results.SummaryImages | None = None

    def __post_init__(self) -> None:
        T, H, W = self.movie.shape
        N = self.components.n_components
        shapes = {
            "corrected_movie": (tuple(self.corrected_movie.shape), (T, H, W)),
            "motion.shifts": (self.motion.shifts.shape, (T, 2)),
            "components.shape": (tuple(self.components.shape), (H, W)),
            "components.n_frames": (self.components.n_frames, T),
            "dff.dff": (self.dff.dff.shape, (N, T)),
            "dff.f0": (self.dff.f0.shape, (N, T)),
            "spike_inference.rates": (self.spike_inference.rates.shape, (N, T)),
            "summary_images.mean": (self.summary_images.mean.shape, (H, W)),
        }
        if self.structural_movie is not None:
            shapes["structural_movie"] = (tuple(self.structural_movie.shape), (T, H, W))
        problems = [f"{name} should be {want}, is {got}" for name, (got, want) in shapes.items() if got != want]
        if sorted(self.component_table["component_id"]) != sorted(self.components.ids):
            problems.append("component_table and components do not have the same ids")
        if problems:
            raise ValueError(
                f"The results do not belong to the same recording of {T} frames: {'; '.join(problems)}. Run the stages "
                "again that follow the one whose result changed."
            )

    def exported_rois(self, rois: Literal["all", "accepted"]) -> ExportedRois:
        """Selects the components that become ROIs, with their traces and properties.

        Args:
            rois: all components, or the accepted ones.

        Returns:
            The components in their own order, whatever the order of the component table.
        """
        table = self.component_table.set_index("component_id").loc[self.components.ids]
        keep = np.ones(len(table), bool) if rois == "all" else table["accepted"].to_numpy(bool)
        table = table.assign(
            dff_guarded=self.dff.guarded,
            spike_decay_time_s=self.spike_inference.decay_time_s,
            transient_amplitude=self.spike_inference.transient_amplitude,
            **_dff_columns(self.dff),
        )
        components = self.components.select(keep)
        measured = [components.traces + components.residual_traces, self.dff.dff[keep]]
        if self.dff.neuropil_f0 is not None:
            whole = self.dff.f0 + self.dff.neuropil_f0
            measured.append((self.dff.dff * self.dff.f0 / np.maximum(whole, self.dff.f0))[keep])
        if self.excluded_frames is not None and self.excluded_frames["excluded"].any():
            excluded = self.excluded_frames["excluded"].to_numpy(dtype=bool)
            measured = [np.where(excluded, np.float32(np.nan), values) for values in measured]
        return ExportedRois(
            components=components,
            table=table[keep],
            fluorescence=measured[0],
            dff=measured[1],
            dff_with_neuropil=measured[2] if len(measured) > 2 else None,
            dff_description=describe_dff(self.dff),
            f0=self.dff.f0[keep],
            spike_rates=self.spike_inference.rates[keep],
        )


def _dff_columns(dff: results.DeltaFOverF) -> dict[str, NDArray[np.float32]]:
    """What is known of the dF/F of each component, by the names of columns."""
    columns = {
        "dff_noise": dff.noise_level,
        "dff_scale_error": dff.scale_error,
        "photons": dff.photons,
        "d_prime": dff.d_prime,
        "neuropil_fraction": dff.neuropil_fraction,
    }
    return {name: values for name, values in columns.items() if values is not None}


def describe_dff(dff: results.DeltaFOverF) -> str:
    """Describes dark level, gain and neuropil of dF/F.

    Args:
        dff: with its dark level, and the detector's response where it was measured.

    Returns:
        Sentences for the description of a series.
    """
    if dff.dark_level_source == results.UNKNOWN:
        dark = (
            f"The dark level of the detector is unknown ({dff.dark_level:.4g} counts were taken), and so is the scale"
        )
    else:
        error = "" if not dff.dark_level_error else f" +- {dff.dark_level_error:.2g} (standard error)"
        dark = f"Dark level {dff.dark_level:.6g}{error} counts, {dff.dark_level_source}"
    gain = ""
    if dff.detector is not None and dff.detector.gain is not None:
        gain = f" Gain {dff.detector.gain:.4g} +- {dff.detector.gain_error:.2g} counts per photon."
    neuropil = "F0 includes all light under the ROI"
    if dff.neuropil_fraction is not None:
        neuropil = "F0 is without a part of the light around the ROI (column neuropil_fraction)"
    return f"{dark}.{gain} {neuropil}."
