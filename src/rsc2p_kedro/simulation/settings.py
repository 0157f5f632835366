"""What a simulated recording looks like.

Fluorescence is counted in units of the mean background, lengths in px, light in photons. The frame rate, and the decay
of the indicator unless it is given here, come from the recording's :class:`~rsc2p_kedro.core.parameters.Acquisition`.
"""

from typing import Literal

from pydantic import Field

from rsc2p_kedro.core.parameters import FrozenModel

MotionKind = Literal["none", "drift", "walk", "jerks", "shear"]


class SimulationSettings(FrozenModel):
    """Settings of one simulated movie with known motion, footprints, traces and spikes."""

    seed: int = Field(1, ge=0, description="Another seed makes another recording; the same seed makes the same bits.")
    n_frames: int = Field(600, ge=16, description="Length in frames.")
    height_px: int = Field(128, ge=32, description="Rows of a frame.")
    width_px: int = Field(128, ge=32, description="Columns of a frame.")

    n_neurons: int = Field(30, ge=0, description="Neurons, some hollow, some overlapping.")
    neuron_radius_px: float = Field(4.6, ge=1.5, le=30, description="Mean radius of a soma in px.")
    hollow_share: float = Field(0.35, ge=0, le=1, description="Share of somata with a dark nucleus.")
    overlap_share: float = Field(0.2, ge=0, le=0.9, description="Share of neurons that touch or overlap another one.")

    amplitude: float = Field(
        0.22,
        ge=0,
        description="Median fluorescence at the peak of one spike; the background is 1. Lower: fainter cells.",
    )
    decay_time_s: float | None = Field(
        None, gt=0, description="Decay time constant of the indicator in s; none: that of the recording."
    )
    rise_time_s: float = Field(0.0, ge=0, description="Rise time constant of the indicator in s; 0: at once.")
    spike_rate_hz: float = Field(0.04, ge=0, description="Median rate of single spikes of a neuron.")
    burst_rate_hz: float = Field(0.06, ge=0, description="Median rate of bursts (4-14 spikes/s for 0.25-0.9 s).")

    motion: MotionKind = Field(
        "jerks",
        description="`none`; `drift`: a slow wave; `walk`: a random walk held near its place; `jerks`: a walk with "
        "sudden jumps that decay; `shear`: a walk in which the rows of a frame slide against each other.",
    )
    rigid_amplitude_px: float = Field(4.0, ge=0, le=40, description="Largest displacement of the whole frame per axis.")
    warp_amplitude_px: float = Field(
        1.5, ge=0, le=10, description="Largest local deviation from the rigid motion per axis; 0: none."
    )
    warp_scale_px: float = Field(
        85.0,
        ge=8,
        description="Distance over which the local deviation changes. Below the stride of the patches no "
        "registration in patches can follow it.",
    )

    neuropil_strength: float = Field(
        1.0, ge=0, le=5, description="Size of the changes of the background in time and place. Higher hides more cells."
    )
    n_vessels: int = Field(2, ge=0, le=50, description="Dark blood vessels across the field of view.")
    vignetting: float = Field(0.45, ge=0, lt=1, description="Share of the light that is lost in the corners.")
    bleaching: float = Field(0.08, ge=0, lt=1, description="Share of the fluorescence that is lost by the last frame.")

    photons: float = Field(
        12.0, gt=0, le=1e5, description="Photons per pixel and frame from the mean background. Lower: more shot noise."
    )
    gain: float = Field(20.0, gt=0, description="Counts per photon.")
    read_noise: float = Field(12.0, ge=0, description="Standard deviation of the noise of the detector, in counts.")
    offset: float = Field(100.0, ge=0, description="Counts in the dark.")
    saturation: int = Field(65535, ge=1, le=65535, description="Highest count of the digitizer; all above it is cut.")
