"""Settings of a simulated recording.

Fluorescence is in units of the mean background, lengths in px, detected fluorescence in photons. The frame rate, and
the decay time of the indicator unless it is given here, come from the recording's
:class:`~rsc2p_kedro.core.parameters.Acquisition`.
"""

from typing import Literal

from pydantic import Field

from rsc2p_kedro.core.parameters import FrozenModel

MotionKind = Literal["none", "drift", "walk", "jerks", "shear"]
Tissue = Literal["smooth", "processes"]


class SessionChange(FrozenModel):
    """What differs in a later session of a simulated field of view (:mod:`rsc2p_kedro.simulation.sessions`)."""

    seed: int = Field(1, ge=0, description="Seed of what is this session's own: activity, motion, noise, who is seen.")
    shift_px: tuple[float, float] = Field(
        (0.0, 0.0), description="Displacement (y, x) in px of the field of view in the frame."
    )
    rotation_deg: float = Field(0.0, ge=-45, le=45, description="Rotation of the field of view in degrees.")
    scale: float = Field(1.0, gt=0.5, lt=2, description="Magnification of the field of view.")
    warp_px: float = Field(0.0, ge=0, le=10, description="Largest smooth displacement in px along each axis.")
    warp_scale_px: float = Field(80.0, ge=8, description="Distance in px over which the smooth displacement changes.")
    turnover: float = Field(
        0.0, ge=0, le=1, description="Fraction of the neurons that are out of focus now, with others in their stead."
    )
    brightness: float = Field(1.0, gt=0, description="Photons relative to the first session.")


class SimulationSettings(FrozenModel):
    """A simulated movie with known motion, footprints, traces and spikes."""

    seed: int = Field(1, ge=0, description="Seed of the random generator; the same seed gives the same movie exactly.")
    n_frames: int = Field(600, ge=16, description="Number of frames.")
    height_px: int = Field(128, ge=32, description="Height of a frame in px.")
    width_px: int = Field(128, ge=32, description="Width of a frame in px.")

    tissue: Tissue = Field(
        "smooth",
        description="`smooth`: compact somata over a smooth background; `processes`: somata with the outlines of "
        "marked neurons among thin processes, bright spots and somata out of focus, with motion out of the plane.",
    )

    n_neurons: int = Field(30, ge=0, description="Number of neurons.")
    neuron_radius_px: float = Field(
        4.6,
        ge=1.5,
        le=30,
        description="Mean radius of a soma in px; in `processes` the median radius of the circle of the same area.",
    )
    hollow_share: float = Field(
        0.35,
        ge=0,
        le=1,
        description="Fraction of neurons with a dark nucleus; in `processes` all nuclei are dark to some degree.",
    )
    overlap_share: float = Field(0.2, ge=0, le=0.9, description="Fraction of neurons that touch or overlap another.")

    amplitude: float = Field(
        0.22,
        ge=0,
        description="Median peak fluorescence of the response to one spike; the mean background is 1. A lower value "
        "makes fainter neurons.",
    )
    decay_time_s: float | None = Field(
        None, gt=0, description="Decay time constant of the indicator in s; `null` takes that of the recording."
    )
    rise_time_s: float = Field(
        0.0, ge=0, description="Rise time constant of the indicator in s; 0 is an instantaneous rise."
    )
    spike_rate_hz: float = Field(0.04, ge=0, description="Median rate of spikes outside bursts in Hz.")
    burst_rate_hz: float = Field(
        0.06,
        ge=0,
        description="Median rate of bursts in Hz; a burst has 4 to 14 spikes/s for 0.25 to 0.9 s on average.",
    )

    motion: MotionKind = Field(
        "jerks",
        description="`none`; `drift`: one slow wave; `walk`: a random walk around the mean position; `jerks`: a walk "
        "with sudden jumps that decay; `shear`: a walk in which the rows of a frame are displaced against each other.",
    )
    rigid_amplitude_px: float = Field(
        4.0, ge=0, le=40, description="Largest displacement of the whole frame in px along each axis."
    )
    warp_amplitude_px: float = Field(
        1.5, ge=0, le=10, description="Largest local deviation from the rigid motion in px along each axis."
    )
    warp_scale_px: float = Field(
        85.0,
        ge=8,
        description="Distance in px over which the local deviation changes. Below the stride of the registration "
        "patches, piecewise registration cannot follow it.",
    )

    neuropil_strength: float = Field(
        1.0,
        ge=0,
        le=5,
        description="Amplitude of the neuropil fluctuations, relative to the default. A higher value hides more "
        "neurons.",
    )
    n_vessels: int = Field(2, ge=0, le=50, description="Number of dark blood vessels across the field of view.")
    vignetting: float = Field(0.45, ge=0, lt=1, description="Fraction of the light that is lost in the corners.")
    bleaching: float = Field(0.08, ge=0, lt=1, description="Fraction of the fluorescence lost by the last frame.")

    photons: float = Field(
        12.0,
        gt=0,
        le=1e5,
        description="Photons per pixel and frame from the mean background. A lower value gives more shot noise.",
    )
    gain: float = Field(20.0, gt=0, description="Counts per photon.")
    read_noise: float = Field(12.0, ge=0, description="Standard deviation of the read noise of the detector in counts.")
    offset: float = Field(100.0, ge=0, description="Offset of the detector in counts.")
    saturation: int = Field(
        65535, ge=1, le=65535, description="Highest count of the digitizer; higher counts are clipped."
    )
    soft_saturation: float | None = Field(
        None,
        gt=0,
        description="Count at which the detector begins to saturate: higher counts are compressed towards a limit 10 % "
        "above it, before read noise is added. `null` is a linear detector.",
    )

    red_share: float = Field(
        0.3, ge=0, le=1, description="Fraction of neurons with the label of the structural channel, if there is one."
    )
    red_strength: float = Field(
        0.6,
        ge=0,
        description="Median brightness of labelled cells in the structural channel; the mean background of the "
        "functional one is 1.",
    )
    crosstalk: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Fraction of the functional fluorescence that the structural channel detects.",
    )

    quiet_share: float = Field(
        0.33, ge=0, le=1, description="Fraction of neurons that hardly ever spike. For `tissue: processes`."
    )
    process_density: float = Field(
        40.0,
        ge=0,
        le=500,
        description="Number of thin processes per 100 x 100 px; there are 1.2 times as many bright spots. For "
        "`tissue: processes`. A higher value gives more candidates that are no neurons.",
    )
    process_strength: float = Field(
        1.0,
        ge=0,
        le=10,
        description="Brightness of processes and spots relative to the default. For `tissue: processes`.",
    )
    out_of_focus_ratio: float = Field(
        0.5, ge=0, le=5, description="Number of somata out of focus per neuron. For `tissue: processes`."
    )
    axial_amplitude: float = Field(
        1.0,
        ge=0,
        le=3,
        description="Standard deviation of the motion out of the plane in units of half the depth of field, which "
        "changes brightness and blur. For `tissue: processes`.",
    )
    session: SessionChange | None = Field(
        None,
        description="A later session of the same field of view (`tissue: smooth`): the recording shows the neurons "
        "that the same settings show without it, displaced and partly exchanged. `null` is the first session.",
    )
