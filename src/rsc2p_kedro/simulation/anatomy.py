"""What lies under the microscope: somata, textured background, neuropil, vessels.

All of it lies on a canvas that is larger than the frame by a margin, so that motion never brings the edge of the world
into view.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.simulation.settings import SimulationSettings

Float = NDArray[np.float32]
_NEUROPIL_FIELDS = 8
_TRIES = 2000


@dataclass(frozen=True, eq=False)
class Canvas:
    """A frame of (height, width) px with a margin of `margin` px all around."""

    height: int
    width: int
    margin: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) with the margin."""
        return self.height + 2 * self.margin, self.width + 2 * self.margin

    def crop(self, image: NDArray) -> NDArray:
        """The frame inside an image (..., rows, columns) of the canvas."""
        m = self.margin
        return image[..., m : m + self.height, m : m + self.width]

    def crop_rows(self, matrix: sp.csc_array) -> sp.csc_array:
        """The pixels of the frame out of a sparse matrix (rows * columns, N)."""
        inside = self.crop(np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)).ravel()
        return sp.csc_array(sp.csr_array(matrix)[inside])


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma_px: float) -> NDArray[np.float64]:
    """White noise blurred by a Gaussian, of zero mean and unit variance."""
    noise = ndi.gaussian_filter(rng.standard_normal(shape), sigma_px, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _throw(rng: np.random.Generator, propose: Callable[[], NDArray], points: list[NDArray], distance: float) -> NDArray:
    """A proposed point at least `distance` from all others; where none fits, the distance gives way by tenths."""
    for tries in range(1, 1_000_000):
        point = propose()
        if not points or np.hypot(*(np.array(points) - point).T).min() > distance:
            return point
        if tries % _TRIES == 0:
            distance *= 0.9
    raise RuntimeError("No room for another neuron: simulate fewer of them, or a larger frame.")


def place_neurons(rng: np.random.Generator, settings: SimulationSettings) -> NDArray[np.float64]:
    """Centres (N, 2) as (y, x) in px of the frame: most apart from each other, the rest beside an earlier one."""
    radius, edge = settings.neuron_radius_px, 1.75 * settings.neuron_radius_px
    high = np.array([settings.height_px, settings.width_px]) - edge
    n_partners = round(settings.overlap_share * settings.n_neurons)
    points: list[NDArray] = []
    for _ in range(settings.n_neurons - n_partners):
        points.append(_throw(rng, lambda: rng.uniform(edge, high), points, 2.4 * radius))
    loners = points.copy()

    def beside() -> NDArray:
        angle = rng.uniform(0, 2 * np.pi)
        step = radius * rng.uniform(1.2, 1.75) * np.array([np.sin(angle), np.cos(angle)])
        return np.clip(loners[rng.integers(len(loners))] + step, edge, high)

    for _ in range(n_partners):
        points.append(_throw(rng, beside, points, 1.15 * radius))
    return np.array(points).reshape(-1, 2)


def soma(rng: np.random.Generator, dy: NDArray, dx: NDArray, radius: float, hollow: bool) -> NDArray[np.float64]:
    """Brightness of a soma at the offsets (dy, dx) in px from its centre: a wobbly, mottled disc of maximum 1."""
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
    """Footprints CSC (rows * columns of the canvas, N) float32, each of maximum 1."""
    reach = int(np.ceil(2.4 * radius))
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    shape, columns = np.array(canvas.shape)[:, None, None], []
    for centre, is_hollow in zip(centres, hollow, strict=True):
        pixels = offsets + np.rint(centre).astype(int)[:, None, None]
        dy, dx = pixels - centre[:, None, None]
        image = soma(rng, dy, dx, radius * rng.uniform(0.88, 1.12), bool(is_hollow))
        pixels += canvas.margin
        seen = (image > 0) & (pixels >= 0).all(axis=0) & (pixels < shape).all(axis=0)
        rows = pixels[0][seen] * canvas.shape[1] + pixels[1][seen]
        columns.append(sp.csc_array((image[seen], rows, [0, len(rows)]), shape=(canvas.shape[0] * canvas.shape[1], 1)))
    if not columns:
        return sp.csc_array((canvas.shape[0] * canvas.shape[1], 0), dtype=np.float32)
    return sp.csc_array(sp.hstack(columns, format="csc").astype(np.float32))


def _vessel(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Transmission (0.5..1) of a bent vessel that crosses an image."""
    n_steps = 3 * max(shape)
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.06, n_steps))
    way = rng.uniform(0, shape) + np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
    clear = np.ones(shape, bool)
    clear[tuple(np.floor(np.mod(way, shape)).astype(int).T)] = False
    distance = ndi.distance_transform_edt(clear)
    return 1 - 0.5 / (1 + np.exp((distance - rng.uniform(1.5, 3.2)) / 0.7))


def draw_background(rng: np.random.Generator, settings: SimulationSettings, canvas: Canvas) -> Float:
    """Resting background (rows, columns) of mean about 1: coarse and fine texture, crossed by vessels."""
    image = np.ones(canvas.shape)
    for sigma, strength in ((18.0, 0.12), (5.0, 0.08), (1.2, 0.08)):
        image += strength * smooth_noise(rng, canvas.shape, sigma)
    image = np.clip(image, 0.25, None)
    for _ in range(settings.n_vessels):
        image *= _vessel(rng, canvas.shape)
    return image.astype(np.float32)


def draw_neuropil(rng: np.random.Generator, background: Float) -> Float:
    """Fields (K, rows, columns) in which the background brightens together; the first is the whole of it."""
    fields = [np.ones(background.shape)]
    for _ in range(_NEUROPIL_FIELDS):
        field = np.clip(smooth_noise(rng, background.shape, rng.uniform(12, 25)) + 0.3, 0, None)
        fields.append(field / field.max())
    return (np.stack(fields) * background).astype(np.float32)


def vignette(settings: SimulationSettings) -> Float:
    """Share of the light (H, W) that the optics let through: 1 in the centre, 1 - `vignetting` in the corners."""
    y, x = np.linspace(-1, 1, settings.height_px)[:, None], np.linspace(-1, 1, settings.width_px)
    return (1 - settings.vignetting * (y**2 + x**2) / 2).astype(np.float32)
