"""Motion of a simulated recording.

The content of frame t is displaced by d(t, y, x) = rigid(t) + shear(t) (y - y0) / H + warp(t, y, x), in px as (dy, dx):
frame(y, x) = scene((y, x) - d(t, y, x)), where y0 is the middle row. Shear and warp have zero mean over the frame, so
that `rigid` is the mean displacement. The correct shift to apply to a frame is -d. Amplitudes come from the settings;
time constants were chosen by eye and not fitted to data.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from rsc2p_kedro.simulation.activity import ornstein_uhlenbeck
from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]


def _scale_to_maximum(motion: NDArray, largest: float) -> NDArray:
    """Motion (T, ...) scaled so that its largest absolute value is `largest`."""
    return motion * (largest / max(float(np.abs(motion).max()), 1e-12))


def _drift(rng: np.random.Generator, n_frames: int) -> NDArray:
    """One slow sine wave (T, 2) along each axis, half a period to a whole one per recording."""
    return np.sin(2 * np.pi * (np.linspace(0, 1, n_frames)[:, None] * rng.uniform(0.5, 1, 2) + rng.uniform(0, 1, 2)))


def _jerks(rng: np.random.Generator, n_frames: int) -> NDArray:
    """Sudden jumps (T, 2) of up to 1, on average one in 100 frames, that decay with 1 to 6 frames."""
    motion = np.zeros((n_frames, 2))
    for start in np.flatnonzero(rng.random(n_frames) < 0.01):
        decay = rng.integers(1, 7)
        after = np.arange(min(3 * decay, n_frames - start))
        motion[start : start + len(after)] += rng.uniform(-1, 1, 2) * np.exp(-after / decay)[:, None]
    return motion


def draw_rigid(rng: np.random.Generator, settings: SimulationSettings) -> Float:
    """Draws the rigid motion.

    Args:
        rng: Random generator.
        settings: Number of frames, kind and amplitude of the motion.

    Returns:
        (T, 2) float32, displacement (dy, dx) in px of the whole frame, within ±`rigid_amplitude_px` along each axis.
    """
    T, largest = settings.n_frames, settings.rigid_amplitude_px
    if settings.motion == "none":
        return np.zeros((T, 2), np.float32)
    if settings.motion == "drift":
        return _scale_to_maximum(_drift(rng, T), largest).astype(np.float32)
    walk = ornstein_uhlenbeck(rng, T, 67, 2)
    if settings.motion == "jerks":
        return np.clip(0.22 * largest * walk + largest * _jerks(rng, T), -largest, largest).astype(np.float32)
    return _scale_to_maximum(walk, largest).astype(np.float32)


def draw_shear(rng: np.random.Generator, settings: SimulationSettings, frame_rate_hz: float) -> Float:
    """Draws the shear between the rows of a frame, as motion during the scan of a frame causes it.

    Args:
        rng: Random generator.
        settings: Number of frames, kind and amplitude of the motion.
        frame_rate_hz: Frames per second.

    Returns:
        (T, 2) float32, displacement (dy, dx) in px of the last row against the first, within ±`rigid_amplitude_px`
        along each axis; 0 unless `motion` is `shear`.
    """
    if settings.motion != "shear":
        return np.zeros((settings.n_frames, 2), np.float32)
    shear = ornstein_uhlenbeck(rng, settings.n_frames, 0.4 * frame_rate_hz + 1, 2)
    return _scale_to_maximum(shear, settings.rigid_amplitude_px).astype(np.float32)


def n_control_points(n_pixels: int, scale_px: float) -> int:
    """Number of control points of the warp along one axis, so that its spatial scale does not depend on the frame size.

    Args:
        n_pixels: Length of the axis in px.
        scale_px: Approximate distance between control points in px.

    Returns:
        2 or more.
    """
    return max(2, round((n_pixels - 1) / scale_px) + 1)


@lru_cache(maxsize=16)
def frame_basis(n_pixels: int, n: int) -> Float:
    """Basis splines at every pixel of an axis; see :func:`spline_basis`.

    Args:
        n_pixels: Length of the axis in px.
        n: Number of control points.

    Returns:
        (n_pixels, n) float32.
    """
    return spline_basis(n_pixels, n, np.arange(n_pixels)).astype(np.float32)


def spline_basis(n_pixels: int, n: int, positions: NDArray) -> NDArray[np.float64]:
    """Natural cubic basis splines through control points that are evenly spaced over an axis.

    Args:
        n_pixels: Length of the axis in px; the control points lie on 0 to n_pixels - 1.
        n: Number of control points.
        positions: (M,), coordinates in px at which the splines are evaluated.

    Returns:
        (M, n) float64; its product with values (n,) at the control points is their interpolation.
    """
    return CubicSpline(np.linspace(0, n_pixels - 1, n), np.eye(n), bc_type="natural")(positions)


def draw_warp(rng: np.random.Generator, settings: SimulationSettings, frame_rate_hz: float) -> Float:
    """Draws the local deviation from the rigid motion.

    Args:
        rng: Random generator.
        settings: Size of the frame, kind of motion, amplitude and spatial scale of the deviation.
        frame_rate_hz: Frames per second.

    Returns:
        (T, n, m, 2) float32, displacement (dy, dx) in px at n x m control points; between them it follows
        :func:`spline_basis`, with zero mean over the frame and within ±`warp_amplitude_px` along each axis.
    """
    T, shape = settings.n_frames, (settings.height_px, settings.width_px)
    n, m = (n_control_points(length, settings.warp_scale_px) for length in shape)
    if settings.motion == "none" or settings.warp_amplitude_px == 0:
        return np.zeros((T, n, m, 2), np.float32)
    size = n * m * 2
    controls = 0.7 * ornstein_uhlenbeck(rng, T, 3 * frame_rate_hz, size) + 0.3 * ornstein_uhlenbeck(
        rng, T, 0.4 * frame_rate_hz, size
    )
    controls = controls.reshape(T, n, m, 2)
    rows, columns = frame_basis(shape[0], n), frame_basis(shape[1], m)
    controls -= np.einsum("i,tijc,j->tc", rows.mean(axis=0), controls, columns.mean(axis=0))[:, None, None, :]
    field = np.einsum("yi,tijc,xj->tyxc", rows[::8], controls, columns[::8], optimize=True)
    return (controls * (settings.warp_amplitude_px / np.abs(field).max())).astype(np.float32)
