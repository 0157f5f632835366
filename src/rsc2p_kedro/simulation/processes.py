"""Thin parts of neurons in the plane: branching processes with varicosities, and cross-sections of others.

A process is a random walk of persistent direction that branches, and whose brightness falls where it leaves the plane.
A spot is what is seen of a bouton, a spine or a dendrite that crosses the plane. Lengths and strengths were chosen by
eye beside two-photon images of mouse cortex; they were not fitted to data.
"""

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

Float = NDArray[np.float32]

_STEP_PX = 0.5
"""Distance between the points of a path in px."""
_TURN = 0.09
"""Standard deviation of the change of direction per step in rad: the direction persists over some 60 px."""
_DEPTH_STEP = 0.16
"""Standard deviation of the change of depth per step, in units of the depth of field: a process of one depth of field
stays in focus for some 20 px."""
_BRANCH_PROBABILITY = 0.012
"""Probability of a branch per step: one branch in 40 px."""
_VARICOSITY_PROBABILITY = 0.06
"""Probability of a varicosity per step: one in 8 px."""
_LOWEST = 0.05
"""Brightness relative to the maximum below which a pixel is left out of a footprint."""


def _walk(rng: np.random.Generator, start: NDArray, direction: float, depth: float, n_steps: int) -> NDArray:
    """Points (n_steps, 4) of a path: y, x, direction and depth."""
    directions = direction + np.cumsum(rng.normal(0, _TURN, n_steps))
    steps = _STEP_PX * np.stack([np.sin(directions), np.cos(directions)], axis=1)
    depths = depth + np.cumsum(rng.normal(0, _DEPTH_STEP, n_steps))
    return np.column_stack([start + np.cumsum(steps, axis=0), directions, depths])


def _brightness_along(rng: np.random.Generator, path: NDArray) -> NDArray[np.float64]:
    """Brightness (n,) of the points of a path: the depth of field, uneven filling and varicosities."""
    n = len(path)
    beads = np.zeros(n)
    beads[rng.random(n) < _VARICOSITY_PROBABILITY] = rng.lognormal(1.2, 0.6)
    beads = ndi.gaussian_filter1d(beads, 1.2 / _STEP_PX, mode="constant") * 2.0
    filling = np.exp(0.35 * ndi.gaussian_filter1d(rng.standard_normal(n), 4) * 3)
    return np.exp(-(path[:, 3] ** 2) / 2) * (filling + beads)


def draw_process(
    rng: np.random.Generator,
    shape: tuple[int, int],
    length_px: float,
    width_px: float,
    start: NDArray | None = None,
    direction: float | None = None,
) -> sp.csc_array:
    """Draws one branching process.

    Args:
        rng: Random generator.
        shape: (rows, columns) of the canvas.
        length_px: Length of the trunk in px; branches have a part of it.
        width_px: Standard deviation of the profile across the process in px.
        start: (2,), (y, x) where it starts; None draws a place.
        direction: Direction in which it starts in rad, 0 along x; None draws one.

    Returns:
        CSC (rows * columns, 1) float32 with a maximum of 1; empty if it lies outside the canvas.
    """
    n_steps = max(4, int(length_px / _STEP_PX))
    start = rng.uniform(0, shape) if start is None else start
    direction = rng.uniform(0, 2 * np.pi) if direction is None else direction
    trunk = _walk(rng, np.asarray(start, float), direction, rng.normal(0, 0.5), n_steps)
    paths = [trunk]
    for at in np.flatnonzero(rng.random(n_steps) < _BRANCH_PROBABILITY):
        turn = rng.choice((-1, 1)) * rng.uniform(0.4, 1.1)
        n_branch = max(4, int(rng.uniform(0.2, 0.7) * n_steps))
        paths.append(_walk(rng, trunk[at, :2], trunk[at, 2] + turn, trunk[at, 3], n_branch))
    brightness = np.concatenate([_brightness_along(rng, path) for path in paths])
    return rasterize(np.concatenate(paths)[:, :2], brightness, width_px, shape)


def draw_spot(rng: np.random.Generator, shape: tuple[int, int], place: NDArray | None = None) -> sp.csc_array:
    """Draws one bright spot, round or a little elongated, with a standard deviation of 0.6 to 1.5 px.

    Args:
        rng: Random generator.
        shape: (rows, columns) of the canvas.
        place: (2,), (y, x) of its centre; None draws a place.

    Returns:
        CSC (rows * columns, 1) float32 with a maximum of 1.
    """
    place, angle = rng.uniform(0, shape) if place is None else place, rng.uniform(0, np.pi)
    offsets = np.linspace(-1, 1, 5)[:, None] * rng.uniform(0, 1.2) * np.array([np.sin(angle), np.cos(angle)])
    return rasterize(place + offsets, np.ones(5), rng.uniform(0.6, 1.2), shape)


def rasterize(points: NDArray, brightness: NDArray, sigma_px: float, shape: tuple[int, int]) -> sp.csc_array:
    """Draws points on a canvas, each a Gaussian.

    Args:
        points: (n, 2), (y, x) in px; those outside the canvas are left out.
        brightness: (n,).
        sigma_px: Standard deviation of the Gaussian in px.
        shape: (rows, columns) of the canvas.

    Returns:
        CSC (rows * columns, 1) float32 with a maximum of 1, 0 where below 0.05; empty if no point lies on the canvas.
    """
    inside = ((points >= 0) & (points <= np.array(shape) - 1)).all(axis=1)
    points, brightness, pad = points[inside], brightness[inside], int(np.ceil(3 * sigma_px)) + 1
    if not len(points):
        return sp.csc_array((shape[0] * shape[1], 1), dtype=np.float32)
    low = np.floor(points.min(axis=0)).astype(int) - pad
    window = np.zeros(np.ceil(points.max(axis=0)).astype(int) + pad + 1 - low)
    whole = np.floor(points).astype(int)
    part = points - whole
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
        np.add.at(window, tuple((whole - low + (dy, dx)).T), weight * brightness)
    return column(ndi.gaussian_filter(window, sigma_px, mode="constant"), low, shape, _LOWEST)


def column(image: NDArray, corner: NDArray, shape: tuple[int, int], lowest: float = 0.0) -> sp.csc_array:
    """Puts a small image on an empty canvas.

    Args:
        image: (h, w).
        corner: (2,), (y, x) of its first pixel on the canvas; what lies outside the canvas is lost.
        shape: (rows, columns) of the canvas.
        lowest: Part of the maximum below which pixels are left out.

    Returns:
        CSC (rows * columns, 1) float32 with a maximum of 1, unless nothing is left.
    """
    pixels = np.argwhere(image > lowest * image.max())
    values = image[tuple(pixels.T)]
    pixels = pixels + corner
    inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
    values = values[inside].astype(np.float32)
    rows = pixels[inside, 0] * shape[1] + pixels[inside, 1]
    return sp.csc_array(
        (values / max(values.max(initial=0), 1e-12), rows, [0, len(rows)]), shape=(shape[0] * shape[1], 1)
    )
