"""Sessions of one field of view on several days, with known neurons.

A session sees the field displaced: the pixel p of its frame shows the place

    q(p) = c + R (p - c) / scale - shift + warp(p)

of the first session, where c is the centre of the frame, R a rotation, and warp a smooth field. Neurons come from one
pool that all sessions share. A session with a turnover has lost that share of the neurons of the first session, because
the focus has moved, and sees as many others of the pool instead; so a neuron may be away on one day and be back on the
next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.tracking.sampling import sampling_matrix
from rsc2p_kedro.core.tracking import FieldOfView
from rsc2p_kedro.simulation import anatomy
from rsc2p_kedro.simulation.settings import SessionChange, SimulationSettings

Float = NDArray[np.float32]
_FADING = 0.3
"""Standard deviation of the logarithm of a neuron's brightness from session to session. Chosen, not fitted."""


def seen_places(change: SessionChange, canvas: anatomy.Canvas) -> NDArray[np.float64]:
    """Place of the first session that each pixel of another session shows.

    Args:
        change: what differs from the first session.
        canvas: the frame and its margin.

    Returns:
        (2, rows, columns), (y, x) in px of the canvas of the first session.
    """
    centre = (np.array(canvas.shape, float)[:, None, None] - 1) / 2
    dy, dx = np.mgrid[: canvas.shape[0], : canvas.shape[1]] - centre
    angle = np.deg2rad(change.rotation_deg)
    turned = np.stack([np.cos(angle) * dy - np.sin(angle) * dx, np.sin(angle) * dy + np.cos(angle) * dx])
    places = centre + turned / change.scale - np.array(change.shift_px)[:, None, None]
    if change.warp_px == 0:
        return places
    rng = np.random.default_rng([change.seed, 21])
    warp = np.stack([anatomy.smooth_noise(rng, canvas.shape, change.warp_scale_px / 2) for _ in range(2)])
    return places + change.warp_px * warp / np.abs(warp).max()


def move_footprints(footprints: sp.csr_array, places: NDArray, canvas: anatomy.Canvas) -> sp.csr_array:
    """Footprints as another session sees them.

    Args:
        footprints: (pixels of the canvas, N), as the first session sees them.
        places: (2, rows, columns) of :func:`seen_places`.
        canvas: the canvas.

    Returns:
        CSR (pixels of the canvas, N) float32.
    """
    return sp.csr_array(sampling_matrix(places, canvas.shape) @ footprints).astype(np.float32)


def move_images(images: NDArray, places: NDArray) -> Float:
    """Images as another session sees them; what lies beyond the canvas is mirrored.

    Args:
        images: (..., rows, columns), as the first session sees them.
        places: (2, rows, columns) of :func:`seen_places`.

    Returns:
        Images of the same shape, float32.
    """
    flat = images.reshape(-1, *images.shape[-2:])
    moved = [ndi.map_coordinates(image, places, order=1, mode="mirror") for image in flat]
    return np.stack(moved).reshape(images.shape).astype(np.float32)


def draw_others(
    settings: SimulationSettings, centres: NDArray, canvas: anatomy.Canvas
) -> tuple[sp.csc_array, NDArray[np.float32]]:
    """Draws the neurons of the pool that the first session does not see, as many as it sees.

    Args:
        settings: of the first session.
        centres: (N, 2), centres of the neurons that it sees, in px of the frame.
        canvas: the canvas.

    Returns:
        Footprints (pixels of the canvas, N), and fluorescence at rest (N,).

    Raises:
        RuntimeError: The frame has no room for that many neurons.
    """
    rng, n = np.random.default_rng([settings.seed, 20]), settings.n_neurons
    edge = 1.75 * settings.neuron_radius_px
    high = np.array([settings.height_px, settings.width_px]) - edge
    points = list(centres)
    for _ in range(n):
        points.append(anatomy.draw_position(lambda: rng.uniform(edge, high), points, 1.8 * settings.neuron_radius_px))
    others = np.array(points[len(centres) :]).reshape(-1, 2)
    hollow = rng.random(n) < settings.hollow_share
    footprints = anatomy.draw_neurons(rng, others, hollow, settings.neuron_radius_px, canvas)
    return footprints, rng.uniform(0.1, 0.6, n).astype(np.float32)


def draw_presence(change: SessionChange, n_neurons: int) -> NDArray[np.int64]:
    """Draws which neurons of the pool a session sees.

    Args:
        change: its turnover.
        n_neurons: number N of neurons of the first session; the pool has 2 N.

    Returns:
        (N,) ascending numbers in the pool; the first session sees 0 to N - 1.
    """
    rng, n_new = np.random.default_rng([change.seed, 22]), round(change.turnover * n_neurons)
    stay = rng.permutation(n_neurons)[n_new:]
    return np.sort(np.concatenate([stay, n_neurons + rng.permutation(n_neurons)[:n_new]]))


def draw_fading(change: SessionChange, n_neurons: int) -> Float:
    """Draws the brightness of each neuron relative to the first session.

    Args:
        change: the session.
        n_neurons: number of neurons N.

    Returns:
        (N,) float32.
    """
    return np.exp(np.random.default_rng([change.seed, 23]).normal(0, _FADING, n_neurons)).astype(np.float32)


@dataclass(frozen=True)
class OutlineNoise:
    """How footprints of an extraction differ from the neurons. Chosen by eye beside those of this project's engine.

    Attributes:
        found_share: fraction of the visible neurons that are found.
        false_share: number of false components per neuron.
        jitter_px: standard deviation of the displacement of a footprint along each axis, in px.
        texture: relative standard deviation of the weights of pixels.
        pixel_noise: standard deviation of additive noise, relative to the maximum.
        threshold: weights below this share of the maximum are lost, at most; drawn evenly from a third of it on.
    """

    found_share: float = 0.93
    false_share: float = 0.05
    jitter_px: float = 0.25
    texture: float = 0.25
    pixel_noise: float = 0.08
    threshold: float = 0.35


_USUAL_NOISE = OutlineNoise()


def observe(
    name: str,
    footprints: sp.csc_array,
    background: Float,
    rest: Float,
    *,
    seed: Sequence[int],
    noise: OutlineNoise = _USUAL_NOISE,
) -> tuple[FieldOfView, NDArray[np.int64]]:
    """Draws what an extraction would find in a session, without the movie.

    Args:
        name: of the session.
        footprints: CSC (H*W, N), neurons as the session sees them; each has a maximum of 1 before it is cut off.
        background: (H, W), mean background.
        rest: (N,), mean fluorescence of each neuron.
        seed: of what is drawn.
        noise: how footprints are changed.

    Returns:
        Footprints and images, in a random order of the components; and for each component the number of its neuron,
        -1 for a false one.
    """
    rng, shape = np.random.default_rng([*seed, 24]), background.shape
    visible = np.flatnonzero(np.asarray(footprints.sum(axis=0)).ravel() > 10)
    found = visible[rng.random(len(visible)) < noise.found_share]
    n_false = rng.poisson(noise.false_share * len(visible)) if len(visible) else 0
    columns = [_noisy(rng, footprints[:, [k]].toarray().reshape(shape), noise) for k in found]
    models = rng.choice(visible, n_false) if n_false else ()
    columns += [_false_component(rng, footprints[:, [k]].toarray().reshape(shape)) for k in models]
    order = rng.permutation(len(columns))
    stacked = np.stack(columns)[order].reshape(len(columns), -1).T if columns else np.zeros((background.size, 0))
    activity = np.asarray(footprints @ rng.gamma(2.0, 0.15, footprints.shape[1])).reshape(shape)
    mean = background + np.asarray(footprints @ rest).reshape(shape)
    field = FieldOfView(
        session=name,
        shape=(shape[0], shape[1]),
        ids=np.arange(len(columns), dtype=np.int64),
        footprints=sp.csc_array(stacked.astype(np.float32)),
        mean=(mean + 0.02 * rng.standard_normal(shape)).astype(np.float32),
        correlation=np.clip(activity + 0.1 + 0.03 * rng.standard_normal(shape), 0, 1).astype(np.float32),
    )
    return field, np.concatenate([found, np.full(n_false, -1)])[order].astype(np.int64)


def _noisy(rng: np.random.Generator, image: NDArray, noise: OutlineNoise) -> NDArray:
    """A footprint with another outline, texture and place."""
    y, x = np.nonzero(image)
    window = tuple(slice(max(axis.min() - 3, 0), axis.max() + 4) for axis in (y, x))
    part = ndi.shift(image[window], rng.normal(0, noise.jitter_px, 2), order=1)
    part = part * (1 + noise.texture * ndi.gaussian_filter(rng.standard_normal(part.shape), 1) * 3)
    part = part + noise.pixel_noise * rng.standard_normal(part.shape) * (part > 0.05)
    part[part < part.max() * rng.uniform(noise.threshold / 3, noise.threshold)] = 0
    result = np.zeros_like(image)
    result[window] = np.clip(part, 0, None)
    return result


def _false_component(rng: np.random.Generator, image: NDArray) -> NDArray:
    """A component where there is no neuron: another's footprint, stretched and at a random place."""
    shift = rng.uniform(0, image.shape)
    rolled = np.roll(image, shift.astype(int), axis=(0, 1))
    return ndi.gaussian_filter(rolled, rng.uniform(0, 1.5, 2)) * (rng.random(image.shape) < 0.9)
