"""How the brain moves under the microscope.

The content of frame t is displaced by d(t, y, x) = rigid(t) + shear(t) (y - y0) / H + warp(t, y, x), in px as (dy, dx):
frame(y, x) = scene((y, x) - d(t, y, x)). Shear and warp have no mean over the frame, so that `rigid` is the mean
displacement. The right correction applies the shift -d.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from rsc2p_kedro.simulation.activity import fluctuation
from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]


def _to_largest(motion: NDArray, largest: float) -> NDArray:
    """Motion (T, ...) scaled so that its largest absolute value is `largest`."""
    return motion * (largest / max(float(np.abs(motion).max()), 1e-12))


def _drift(rng: np.random.Generator, n_frames: int) -> NDArray:
    """One slow wave a recording on each axis (T, 2)."""
    return np.sin(2 * np.pi * (np.linspace(0, 1, n_frames)[:, None] * rng.uniform(0.5, 1, 2) + rng.uniform(0, 1, 2)))


def _jerks(rng: np.random.Generator, n_frames: int) -> NDArray:
    """Sudden jumps (T, 2) of up to 1, one in a hundred frames or so, that decay over 1 to 6 frames."""
    motion = np.zeros((n_frames, 2))
    for start in np.flatnonzero(rng.random(n_frames) < 0.01):
        decay = rng.integers(1, 7)
        after = np.arange(min(3 * decay, n_frames - start))
        motion[start : start + len(after)] += rng.uniform(-1, 1, 2) * np.exp(-after / decay)[:, None]
    return motion


def draw_rigid(rng: np.random.Generator, settings: SimulationSettings) -> Float:
    """Displacement (T, 2) of the whole frame, within ±`rigid_amplitude_px` on each axis."""
    T, largest = settings.n_frames, settings.rigid_amplitude_px
    if settings.motion == "none":
        return np.zeros((T, 2), np.float32)
    if settings.motion == "drift":
        return _to_largest(_drift(rng, T), largest).astype(np.float32)
    walk = fluctuation(rng, T, 67, 2)
    if settings.motion == "jerks":
        return np.clip(0.22 * largest * walk + largest * _jerks(rng, T), -largest, largest).astype(np.float32)
    return _to_largest(walk, largest).astype(np.float32)


def draw_shear(rng: np.random.Generator, settings: SimulationSettings, frame_rate_hz: float) -> Float:
    """Displacement (T, 2) of the last row against the first, up to `rigid_amplitude_px`; 0 but for `motion: shear`."""
    if settings.motion != "shear":
        return np.zeros((settings.n_frames, 2), np.float32)
    sliding = fluctuation(rng, settings.n_frames, 0.4 * frame_rate_hz + 1, 2)
    return _to_largest(sliding, settings.rigid_amplitude_px).astype(np.float32)


def n_controls(n_pixels: int, scale_px: float) -> int:
    """Control points along an axis: tissue bends over some distance, however large the frame is."""
    return max(2, round((n_pixels - 1) / scale_px) + 1)


@lru_cache(maxsize=16)
def frame_basis(n_pixels: int, n: int) -> Float:
    """The splines of :func:`spline_basis` at every pixel (n_pixels, n)."""
    return spline_basis(n_pixels, n, np.arange(n_pixels)).astype(np.float32)


def spline_basis(n_pixels: int, n: int, positions: NDArray) -> NDArray[np.float64]:
    """Natural cubic splines (len(positions), n) through n control points spread evenly over 0..n_pixels - 1."""
    return CubicSpline(np.linspace(0, n_pixels - 1, n), np.eye(n), bc_type="natural")(positions)


def draw_warp(rng: np.random.Generator, settings: SimulationSettings, frame_rate_hz: float) -> Float:
    """Control points (T, n, m, 2) of the local displacement, up to `warp_amplitude_px`, of no mean over the frame."""
    T, shape = settings.n_frames, (settings.height_px, settings.width_px)
    n, m = (n_controls(length, settings.warp_scale_px) for length in shape)
    if settings.motion == "none" or settings.warp_amplitude_px == 0:
        return np.zeros((T, n, m, 2), np.float32)
    size = n * m * 2
    controls = 0.7 * fluctuation(rng, T, 3 * frame_rate_hz, size) + 0.3 * fluctuation(rng, T, 0.4 * frame_rate_hz, size)
    controls = controls.reshape(T, n, m, 2)
    rows, columns = frame_basis(shape[0], n), frame_basis(shape[1], m)
    controls -= np.einsum("i,tijc,j->tc", rows.mean(axis=0), controls, columns.mean(axis=0))[:, None, None, :]
    field = np.einsum("yi,tijc,xj->tyxc", rows[::8], controls, columns[::8], optimize=True)
    return (controls * (settings.warp_amplitude_px / np.abs(field).max())).astype(np.float32)
