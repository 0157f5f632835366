"""Simulation of a structural channel: some neurons, and other cells, labelled in another colour that does not change.

The red fluorescence of frame t is R(t) = background + A s + U u + crosstalk G(t), with the footprints A of the neurons
and the strength s of their labels (0 for most), other labelled cells U that have no indicator, and the fluorescence G
of the functional channel, part of whose emission reaches the detector of the structural one. It moves as the functional
channel does, since both are recorded at once, and is detected with noise of its own.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.simulation import anatomy
from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]

# All strengths below were chosen by eye; they were not fitted to data.
_BACKGROUND = 0.4
"""Mean red background, in units of the mean green one."""
_TEXTURE = 0.3
"""Part of the red background that has the texture of the green one, such as the shadows of vessels; the rest is its
own."""
_SPREAD = 0.5
"""Standard deviation of the logarithm of the brightness of labelled cells."""
_OTHERS_PER_LABELLED = 0.5
"""Number of labelled cells without indicator per labelled neuron."""


@dataclass(frozen=True, eq=False)
class StructuralScene:
    """What the frames of the structural channel are rendered from, in units of the mean green background.

    Attributes:
        image: (rows, columns) float32, red fluorescence of the canvas, which does not change.
        labelled: (N,) bool, neurons that have the red label.
        crosstalk: part of the green fluorescence that is detected as red.
    """

    image: Float
    labelled: NDArray[np.bool_]
    crosstalk: float


def draw_structural_scene(
    rng: np.random.Generator,
    footprints: sp.csr_array,
    background: Float,
    settings: SimulationSettings,
    canvas: anatomy.Canvas,
) -> StructuralScene:
    """Draws which neurons are labelled, and everything else that is red.

    Args:
        rng: Random generator.
        footprints: CSR (pixels of the canvas, N), footprints of the neurons.
        background: (rows, columns), green background.
        settings: Fraction and brightness of the labelled neurons, and the crosstalk.
        canvas: Canvas to draw on.

    Returns:
        The scene.
    """
    N = footprints.shape[1]
    labelled = np.zeros(N, bool)
    labelled[rng.permutation(N)[: round(settings.red_share * N)]] = True
    strengths = settings.red_strength * np.exp(rng.normal(0, _SPREAD, N)) * labelled
    own = anatomy.draw_background(rng, settings.model_copy(update={"n_vessels": 0}), canvas)
    image = _BACKGROUND * (_TEXTURE * background / background.mean() + (1 - _TEXTURE) * own)
    image += (footprints @ strengths).reshape(canvas.shape)
    others = _draw_others(rng, round(_OTHERS_PER_LABELLED * labelled.sum()), footprints, settings, canvas)
    image += (others @ (settings.red_strength * np.exp(rng.normal(0, _SPREAD, others.shape[1])))).reshape(canvas.shape)
    return StructuralScene(image.astype(np.float32), labelled, settings.crosstalk)


def _draw_others(
    rng: np.random.Generator, n: int, footprints: sp.csr_array, settings: SimulationSettings, canvas: anatomy.Canvas
) -> sp.csc_array:
    """Footprints of labelled cells without indicator, where there is no neuron; fewer than n where there is no room."""
    taken = np.asarray(footprints.sum(axis=1)).reshape(canvas.shape)
    reach, edge = int(np.ceil(2 * settings.neuron_radius_px)), 1.75 * settings.neuron_radius_px
    centres: list[NDArray] = []
    for _ in range(200 * n):
        if len(centres) == n:
            break
        y, x = rng.uniform(edge, [canvas.height - edge, canvas.width - edge])
        row, column = round(y) + canvas.margin, round(x) + canvas.margin
        window = taken[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        far = all(np.hypot(*(np.array([y, x]) - other)) > 2 * reach for other in centres)
        if far and not window.any():
            centres.append(np.array([y, x]))
    hollow = np.zeros(len(centres), bool)
    return anatomy.draw_neurons(rng, np.array(centres).reshape(-1, 2), hollow, settings.neuron_radius_px, canvas)
