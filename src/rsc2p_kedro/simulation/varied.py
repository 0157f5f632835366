"""Settings of tissues that differ as recordings do, for training and for measuring over many movies."""

import numpy as np

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.settings import MotionKind, SimulationSettings

_COVERAGE = (0.08, 0.26)
"""Range of the summed area of somata relative to the frame. Measured in the twelve marked fields: 0.08 to 0.27."""
_RADIUS_PX = (3.8, 8.2)
"""Range of the median radius of somata in px. Measured in the twelve marked fields: 4.8 to 8.1."""
_MOTIONS: tuple[MotionKind, ...] = ("drift", "walk", "jerks", "shear")


def draw_tissue_settings(
    seed: int, *, n_frames: int = 1500, side_px: int = 256
) -> tuple[SimulationSettings, Acquisition]:
    """Draws the settings of a movie: size and density of neurons, indicator, noise, motion and neuropil.

    Size, density and overlap have the ranges of marked fields. The others were chosen, not fitted: decay times of 0.2
    to 1.5 s at 5 to 30 frames/s, rise times of up to a fifth of the decay, and 2 to 50 photons per pixel and frame.

    Args:
        seed: Seed of these settings and of the movie.
        n_frames: Number of frames.
        side_px: Height and width of a frame in px.

    Returns:
        Settings with `tissue: processes`, and the facts of the recording that belong to them.
    """
    rng = np.random.default_rng([seed, 400])
    radius, coverage = rng.uniform(*_RADIUS_PX), rng.uniform(*_COVERAGE)
    decay_s = np.exp(rng.uniform(*np.log([0.2, 1.5])))
    frame_rate_hz = float(np.exp(rng.uniform(np.log(max(5, 1.5 / decay_s)), np.log(30))))
    # Dense fields overlap more: 3 to 9 % at a coverage of 0.1, 36 to 54 % at 0.2.
    overlap = float(np.clip(rng.normal(3.5 * (coverage - 0.08), 0.06), 0.02, 0.54))
    settings = {
        "seed": seed,
        "n_frames": n_frames,
        "height_px": side_px,
        "width_px": side_px,
        "tissue": "processes",
        "n_neurons": round(coverage * side_px**2 / (np.pi * radius**2)),
        "neuron_radius_px": radius,
        "overlap_share": overlap,
        "amplitude": rng.uniform(0.12, 0.35),
        "rise_time_s": decay_s * rng.uniform(0, 0.2),
        "burst_rate_hz": rng.uniform(0.03, 0.12),
        "quiet_share": rng.uniform(0.2, 0.5),
        "process_density": rng.uniform(20, 70),
        "process_strength": rng.uniform(0.5, 1.6),
        "out_of_focus_ratio": rng.uniform(0.2, 1.0),
        "axial_amplitude": rng.uniform(0, 1.6),
        "motion": _MOTIONS[rng.integers(len(_MOTIONS))],
        "rigid_amplitude_px": rng.uniform(1, 6),
        "warp_amplitude_px": rng.uniform(0, 2),
        "neuropil_strength": rng.uniform(0.5, 2.0),
        "n_vessels": int(rng.integers(0, 4)),
        "vignetting": rng.uniform(0, 0.6),
        "bleaching": rng.uniform(0, 0.35),
        "photons": float(np.exp(rng.uniform(*np.log([2, 50])))),
        "gain": rng.uniform(5, 150),
        "read_noise": rng.uniform(2, 30),
        "offset": rng.uniform(0, 400),
    }
    return (
        SimulationSettings.model_validate(settings),
        Acquisition(frame_rate_hz=frame_rate_hz, decay_time_s=float(decay_s), pixel_size_um=None),
    )
