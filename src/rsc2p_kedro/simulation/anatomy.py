"""Anatomy of a simulated recording: somata, textured background, neuropil, blood vessels and vignetting.

Everything is drawn on a canvas that is larger than the frame by a margin, so that motion never brings the edge of the
canvas into view. Shapes and strengths were chosen by eye to resemble two-photon images of cortex; they were not fitted
to data.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]
_N_LOCAL_NEUROPIL_FIELDS = 8
"""Number of neuropil fields that extend over parts of the frame, besides the one of the whole frame."""
_ATTEMPTS_PER_DISTANCE = 2000
"""Number of rejected positions of a neuron after which the required distance to others is reduced by a tenth."""


@dataclass(frozen=True, eq=False)
class Canvas:
    """A frame with a margin on all sides. Pixels of the canvas are numbered in C order.

    Attributes:
        height: Height of the frame in px.
        width: Width of the frame in px.
        margin: Width of the margin in px.
    """

    height: int
    width: int
    margin: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the canvas, including the margin."""
        return self.height + 2 * self.margin, self.width + 2 * self.margin

    def crop(self, image: NDArray) -> NDArray:
        """Cuts the frame out of images of the canvas.

        Args:
            image: (..., rows, columns).

        Returns:
            View (..., H, W) of the image.
        """
        m = self.margin
        return image[..., m : m + self.height, m : m + self.width]

    def crop_rows(self, matrix: sp.csc_array) -> sp.csc_array:
        """Cuts the pixels of the frame out of footprints on the canvas.

        Args:
            matrix: Sparse (rows * columns, N).

        Returns:
            CSC (H*W, N).
        """
        inside = self.crop(np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)).ravel()
        return sp.csc_array(sp.csr_array(matrix)[inside])


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> NDArray[np.float64]:
    """Draws white noise, blurred by a Gaussian and scaled to zero mean and unit variance.

    Args:
        rng: Random generator.
        shape: (rows, columns) of the image.
        sigma_px: Standard deviation of the Gaussian in px.

    Returns:
        (rows, columns) float64.
    """
    noise = ndi.gaussian_filter(rng.standard_normal(shape), sigma_px, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def draw_position(propose: Callable[[], NDArray], points: list[NDArray], distance: float) -> NDArray:
    """Draws positions until one is farther from all points than a distance, which shrinks with the attempts.

    Args:
        propose: Draws a position (y, x) in px.
        points: Positions to keep away from.
        distance: Least distance in px.

    Returns:
        The position.

    Raises:
        RuntimeError: There is no room.
    """
    for attempt in range(1, 1_000_000):
        point = propose()
        if not points or np.hypot(*(np.array(points) - point).T).min() > distance:
            return point
        if attempt % _ATTEMPTS_PER_DISTANCE == 0:
            distance *= 0.9
    raise RuntimeError("No room for another neuron: simulate fewer of them, or a larger frame.")


def place_neurons(rng: np.random.Generator, settings: SimulationSettings) -> NDArray[np.float64]:
    """Draws the positions of the neurons.

    Args:
        rng: Random generator.
        settings: Size of the frame, number and radius of the neurons, and the fraction that overlaps another.

    Returns:
        Centres (N, 2) float64 as (y, x) in px of the frame. First come neurons whose centres are at least 2.4 radii
        apart, then the overlapping ones, 1.2 to 1.75 radii from one of the former.

    Raises:
        RuntimeError: The frame has no room for that many neurons.
    """
    radius, edge = settings.neuron_radius_px, 1.75 * settings.neuron_radius_px
    high = np.array([settings.height_px, settings.width_px]) - edge
    n_partners = round(settings.overlap_share * settings.n_neurons)
    points: list[NDArray] = []
    for _ in range(settings.n_neurons - n_partners):
        points.append(draw_position(lambda: rng.uniform(edge, high), points, 2.4 * radius))
    separate = points.copy()

    def beside_another() -> NDArray:
        angle = rng.uniform(0, 2 * np.pi)
        step = radius * rng.uniform(1.2, 1.75) * np.array([np.sin(angle), np.cos(angle)])
        return np.clip(separate[rng.integers(len(separate))] + step, edge, high)

    for _ in range(n_partners):
        points.append(draw_position(beside_another, points, 1.15 * radius))
    return np.array(points).reshape(-1, 2)


def draw_soma(rng: np.random.Generator, dy: NDArray, dx: NDArray, radius: float, hollow: bool) -> NDArray[np.float64]:
    """Draws the brightness of a soma: a disc with an irregular edge and mottled texture.

    Args:
        rng: Random generator.
        dy: (n, n), distance of each pixel from the centre along y in px.
        dx: (n, n), the same along x.
        radius: Mean radius in px.
        hollow: Whether the nucleus is dark.

    Returns:
        (n, n) float64, 0 outside, with a maximum of 1.
    """
    distance, angle = np.hypot(dy, dx), np.arctan2(dy, dx)
    edge = np.full_like(distance, radius)
    for order, spread in ((2, 0.10), (3, 0.06), (4, 0.03)):
        edge += radius * rng.normal(0, spread) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    disc = 1 / (1 + np.exp((distance - edge) / (0.1 * radius)))
    if hollow:
        disc *= 1 - rng.uniform(0.55, 0.85) * np.exp(-((distance / (0.45 * radius)) ** 2))
    else:
        disc *= np.clip(1 - 0.25 * (distance / radius) ** 2, 0.2, None)
    disc *= 1 + 0.12 * smooth_noise(rng, distance.shape, 0.26 * radius)
    disc /= disc.max()
    return np.where(disc > 0.03, disc, 0.0)


def draw_neurons(
    rng: np.random.Generator, centres: NDArray, hollow: NDArray[np.bool_], radius: float, canvas: Canvas
) -> sp.csc_array:
    """Draws the footprints of all neurons.

    Args:
        rng: Random generator.
        centres: (N, 2), (y, x) in px of the frame.
        hollow: (N,) bool, neurons with a dark nucleus.
        radius: Mean radius of a soma in px; single neurons differ by up to 12 %.
        canvas: Canvas to draw on.

    Returns:
        CSC (pixels of the canvas, N) float32; each column has a maximum of 1.
    """
    reach = int(np.ceil(2.4 * radius))
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    shape, columns = np.array(canvas.shape)[:, None, None], []
    for centre, is_hollow in zip(centres, hollow, strict=True):
        pixels = offsets + np.rint(centre).astype(int)[:, None, None]
        dy, dx = pixels - centre[:, None, None]
        image = draw_soma(rng, dy, dx, radius * rng.uniform(0.88, 1.12), bool(is_hollow))
        pixels += canvas.margin
        inside = (image > 0) & (pixels >= 0).all(axis=0) & (pixels < shape).all(axis=0)
        rows = pixels[0][inside] * canvas.shape[1] + pixels[1][inside]
        columns.append(
            sp.csc_array((image[inside], rows, [0, len(rows)]), shape=(canvas.shape[0] * canvas.shape[1], 1))
        )
    if not columns:
        return sp.csc_array((canvas.shape[0] * canvas.shape[1], 0), dtype=np.float32)
    return sp.csc_array(sp.hstack(columns, format="csc").astype(np.float32))


def _draw_vessel(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Transmission (rows, columns) of a curved blood vessel across an image, 0.5 in its middle and 1 outside."""
    n_steps = 3 * max(shape)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.06, n_steps))
    path = rng.uniform(0, shape) + np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
    off_path = np.ones(shape, bool)
    off_path[tuple(np.floor(np.mod(path, shape)).astype(int).T)] = False
    distance = ndi.distance_transform_edt(off_path)
    return 1 - 0.5 / (1 + np.exp((distance - rng.uniform(1.5, 3.2)) / 0.7))


def draw_background(rng: np.random.Generator, settings: SimulationSettings, canvas: Canvas) -> Float:
    """Draws the resting background: coarse and fine texture, crossed by blood vessels.

    Args:
        rng: Random generator.
        settings: Number of vessels.
        canvas: Canvas to draw on.

    Returns:
        (rows, columns) float32 with a mean of about 1, the unit of fluorescence.
    """
    image = np.ones(canvas.shape)
    for sigma, strength in ((18.0, 0.12), (5.0, 0.08), (1.2, 0.08)):
        image += strength * smooth_noise(rng, canvas.shape, sigma)
    image = np.clip(image, 0.25, None)
    for _ in range(settings.n_vessels):
        image *= _draw_vessel(rng, canvas.shape)
    return image.astype(np.float32)


def draw_neuropil(rng: np.random.Generator, background: Float) -> Float:
    """Draws the spatial fields of the neuropil, in each of which the background fluctuates together.

    Args:
        rng: Random generator.
        background: (rows, columns), resting background.

    Returns:
        (K, rows, columns) float32, K = 9: the first is the whole background, the others smooth parts of it.
    """
    fields = [np.ones(background.shape)]
    for _ in range(_N_LOCAL_NEUROPIL_FIELDS):
        field = np.clip(smooth_noise(rng, background.shape, rng.uniform(12, 25)) + 0.3, 0, None)
        fields.append(field / field.max())
    return (np.stack(fields) * background).astype(np.float32)


def vignette(settings: SimulationSettings) -> Float:
    """Transmission of the optics over the frame.

    Args:
        settings: Size of the frame and the fraction of the light that is lost in the corners.

    Returns:
        (H, W) float32: 1 in the centre, 1 - `vignetting` in the corners.
    """
    y, x = np.linspace(-1, 1, settings.height_px)[:, None], np.linspace(-1, 1, settings.width_px)
    return (1 - settings.vignetting * (y**2 + x**2) / 2).astype(np.float32)
