"""Simulated recordings of several planes and channels, in the order in which a microscope saves their images."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.movie import SimulatedRecording, simulate
from rsc2p_kedro.simulation.settings import SimulationSettings

_BLOCK_IMAGES = 64
"""Images of all planes and channels in one chunk of the movie at most, unless a single volume has more."""


def simulate_planes(
    settings: SimulationSettings,
    acquisition: Acquisition,
    n_planes: int,
    *,
    structural: bool = False,
    block_frames: int = _BLOCK_IMAGES,
) -> list[SimulatedRecording]:
    """Simulates the planes of a volume, each with neurons and motion of its own.

    Args:
        settings: Settings of the recording; each plane has this number of frames and neurons.
        acquisition: Frame rate of a plane, and the decay time where the settings have none.
        n_planes: Number of planes.
        structural: Simulate a structural channel as well.
        block_frames: Number of frames in one chunk of each lazy movie, which does not change the movie.

    Returns:
        One recording for each plane; that of a single plane is the one that
        :func:`~rsc2p_kedro.simulation.movie.simulate` makes.
    """
    seeds = [settings.seed] if n_planes == 1 else [_seed_of(settings.seed, plane) for plane in range(n_planes)]
    options: dict[str, Any] = {"structural": structural, "block_frames": block_frames}
    return [simulate(settings.model_copy(update={"seed": seed}), acquisition, **options) for seed in seeds]


def _seed_of(seed: int, plane: int) -> int:
    return int(np.random.SeedSequence([seed, plane]).generate_state(1)[0])


def interleave(movies: Sequence[Sequence[da.Array]], flyback: da.Array | None = None) -> da.Array:
    """Arranges the images of a volume as they are acquired: channel by channel, plane by plane, then the flyback.

    Args:
        movies: For each plane, the movie (T, H, W) of each channel; all of one shape and dtype.
        flyback: (T, F, H, W), images of all channels that are taken while the focus returns; None for none.

    Returns:
        (T * images of a volume, H, W), lazy.
    """
    images = [movie for channels in movies for movie in channels]
    volume = da.stack(images, axis=1)
    if flyback is not None:
        volume = da.concatenate([volume, flyback], axis=1)
    return volume.rechunk({1: -1}).reshape((-1, *volume.shape[2:]))


def volumes_in_a_block(n_images: int) -> int:
    """Number of volumes of so many images that are simulated together.

    Args:
        n_images: Images of all planes and channels in a volume, with the flyback.

    Returns:
        At least 1.
    """
    return max(_BLOCK_IMAGES // n_images, 1)


def draw_flyback(settings: SimulationSettings, n_images: int, *, block_frames: int = _BLOCK_IMAGES) -> da.Array:
    """Draws images of the detector without light, for the flyback.

    Args:
        settings: Number and size of the frames, offset and read noise.
        n_images: Number of images in each volume.
        block_frames: Number of volumes in one chunk, which does not change the images.

    Returns:
        (T, n_images, H, W) uint16, lazy.
    """
    shape = (settings.n_frames, n_images, settings.height_px, settings.width_px)

    def draw(block_info: dict) -> np.ndarray:
        frames = block_info[None]["array-location"][0]
        dark = [
            settings.offset
            + settings.read_noise * np.random.default_rng([settings.seed, 8, t]).standard_normal(shape[1:])
            for t in range(*frames)
        ]
        return np.clip(np.rint(dark), 0, settings.saturation).astype(np.uint16)

    chunks = da.core.normalize_chunks((block_frames, -1, -1, -1), shape)
    return da.map_blocks(draw, chunks=chunks, dtype=np.uint16, meta=np.empty((0, 0, 0, 0), np.uint16))
