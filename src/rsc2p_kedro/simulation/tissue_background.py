"""Resting background of simulated tissue: texture, fine fibres, unlabelled cells and vessels with glowing walls.

Shapes and strengths were chosen by eye beside two-photon images of mouse cortex; they were not fitted to data.
"""

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from rsc2p_kedro.simulation.anatomy import smooth_noise
from rsc2p_kedro.simulation.outlines import draw_outlines, masks_in_frame
from rsc2p_kedro.simulation.processes import draw_process
from rsc2p_kedro.simulation.somata import signed_distance

Float = NDArray[np.float32]

_FIBRES_PER_PX = 0.01
"""Number of fine fibres per pixel, each 15 to 40 px long: neighbours are some 3 px apart."""
_UNLABELLED_DARKNESS = (0.2, 0.55)
"""Range of the brightness that unlabelled cells lack."""


def draw_fibres(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draws the texture of many fine fibres that never change.

    Args:
        rng: Random generator.
        shape: (rows, columns) of the canvas.

    Returns:
        (rows, columns) float64 with zero mean and unit variance.
    """
    image = np.zeros(shape[0] * shape[1])
    for _ in range(int(_FIBRES_PER_PX * image.size)):
        fibre = draw_process(rng, shape, rng.uniform(15, 40), 0.65)
        image[fibre.indices] += rng.lognormal(0, 0.4) * fibre.data
    image = image.reshape(shape)
    return (image - image.mean()) / image.std()


def draw_vessel(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws a curved vessel that crosses the canvas.

    Args:
        rng: Random generator.
        shape: (rows, columns) of the canvas.

    Returns:
        Transmission (rows, columns), 0.25 in its middle and 1 outside, and the glow (rows, columns) of its walls, 0 to
        0.6.
    """
    n_steps, radius = 3 * max(shape), rng.uniform(2.0, 5.5)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.04, n_steps))
    steps = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    path = rng.uniform(0, shape) + np.cumsum(steps, axis=0) - 1.5 * max(shape) * steps[:1]
    inside = ((path >= 0) & (path <= np.array(shape) - 1)).all(axis=1)
    off_path = np.ones(shape, bool)
    off_path[tuple(np.rint(path[inside]).astype(int).T)] = False
    if off_path.all():
        return np.ones(shape), np.zeros(shape)
    distance = ndi.distance_transform_edt(off_path)
    transmission = 1 - 0.75 / (1 + np.exp((distance - radius) / 0.7))
    patches = np.clip(0.5 + 0.5 * smooth_noise(rng, shape, 8.0), 0, 1)
    return transmission, 0.6 * patches * np.exp(-(((distance - radius - 1.2) / 1.0) ** 2))


def draw_tissue_background(
    rng: np.random.Generator, shape: tuple[int, int], n_unlabelled: int, radius_px: float, n_vessels: int
) -> tuple[Float, Float]:
    """Draws the resting background without processes that change.

    Args:
        rng: Random generator.
        shape: (rows, columns) of the canvas.
        n_unlabelled: Number of unlabelled cells, which are dark.
        radius_px: Their median radius in px.
        n_vessels: Number of vessels.

    Returns:
        Background (rows, columns) float32 with a mean of 1, and transmission of the vessels (rows, columns) float32.
    """
    image = np.ones(shape) + 0.14 * draw_fibres(rng, shape)
    for sigma, strength in ((20.0, 0.12), (6.0, 0.06), (1.0, 0.06)):
        image += strength * smooth_noise(rng, shape, sigma)
    outlines = draw_outlines(rng, n_unlabelled, 0.85 * radius_px)
    for cell in masks_in_frame(outlines, rng.integers(0, shape, (n_unlabelled, 2)), shape):
        image *= 1 - rng.uniform(*_UNLABELLED_DARKNESS) / (1 + np.exp(-signed_distance(cell) / 0.9))
    transmission, walls = np.ones(shape), np.zeros(shape)
    for _ in range(n_vessels):
        through, glow = draw_vessel(rng, shape)
        transmission, walls = transmission * through, np.maximum(walls, glow)
    image = np.clip(image, 0.15, None) * transmission + walls
    return (image / image.mean()).astype(np.float32), transmission.astype(np.float32)
