"""A small movie of four known components."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.sparse as sp

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.core.results import Components

SHAPE, T = (40, 44), 500


@dataclass
class Scene:
    """A movie (T, H, W) float32, its true components, and the first frames of each component's transients."""

    movie: np.ndarray
    components: Components
    onsets: list[np.ndarray]


def blob(y: float, x: float) -> np.ndarray:
    """A footprint (H*W,) of unit norm: a Gaussian of 2 px, cut off below 5 %."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
    image[image < 0.05] = 0
    return (image / np.linalg.norm(image)).ravel().astype(np.float32)


def disc(y: float, x: float) -> np.ndarray:
    """A footprint (H*W,) of unit norm: a disc of 4 px radius with an edge of 1 px."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.clip(4.5 - np.hypot(rows - y, columns - x), 0, 1)
    return (image / np.linalg.norm(image)).ravel().astype(np.float32)


def decays(onsets: np.ndarray, height: float) -> np.ndarray:
    """Transients (T,) of a height that decay within 6 frames."""
    trace = np.zeros(T, np.float32)
    for onset in onsets:
        trace[onset:] += height * np.exp(-np.arange(T - onset) / 6)
    return trace


@pytest.fixture(scope="session")
def acquisition() -> Acquisition:
    return Acquisition(frame_rate_hz=14.7, decay_time_s=0.4)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A scene of cells without an edge."""
    return make_scene(blob)


@pytest.fixture(scope="session")
def sharp_scene() -> Scene:
    """A scene of cells that have an edge, as somata in focus do."""
    return make_scene(disc)


def make_scene(shape: Callable[[float, float], np.ndarray]) -> Scene:
    """Two overlapping cells, active in turn and once together, an isolated one, and one that is never active."""
    rng = np.random.default_rng(3)
    onsets = [np.array([50, 250, 400]), np.array([120, 253, 330]), np.array([80, 200, 450]), np.array([], int)]
    A = np.stack([shape(20, 12), shape(20, 17), shape(12, 32), shape(30, 32)], axis=1)
    C = np.stack([decays(o, 90) for o in onsets])
    background = 50 + ndi.gaussian_filter(rng.normal(0, 30, SHAPE), 3).ravel().astype(np.float32)
    flicker = 1 + 0.1 * np.sin(np.arange(T) / 9).astype(np.float32)
    noise = rng.normal(0, 3, (T, SHAPE[0] * SHAPE[1])).astype(np.float32)
    movie = (np.outer(flicker, background) + C.T @ A.T + noise).reshape(T, *SHAPE)
    residual = np.linalg.lstsq(A, noise.T, rcond=None)[0].astype(np.float32)
    zeros = np.zeros(4, np.float32)
    components = Components(
        shape=SHAPE, ids=np.arange(4), footprints=sp.csc_array(A), traces=C, spikes=0 * C, residual_traces=residual,
        background_footprints=sp.csc_array(background[:, None]), background_traces=flicker[None], baseline=zeros,
        noise=zeros + 3, ar_coefficients=zeros[:, None] + np.float32(0.85), lam=zeros,
        pixel_noise=np.full(SHAPE, 3, np.float32),
    )  # fmt: skip
    return Scene(movie, components, onsets)
