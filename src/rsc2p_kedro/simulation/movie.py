"""A two-photon movie with a known truth.

The scene of frame t is bleach(t) (background + A (rest + C(t)) + neuropil B f(t)), seen displaced (by cubic splines,
see :mod:`rsc2p_kedro.simulation.motion`) through a vignette that does not move. Each pixel catches a Poisson number of
photons, which the detector turns into counts: gain * photons + offset + Gaussian read noise, rounded and cut.

Frames are made when they are asked for. Each has its own random generator, so that the same settings give the same
bits, whatever is computed first or together.
"""

from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import frame_blocks
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation import activity, anatomy
from rsc2p_kedro.simulation import motion as motions
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import SimulatedTruth

Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """All that a frame is rendered from, on the canvas.

    Attributes:
        settings: of the recording.
        canvas: the frame and its margin.
        footprints: CSR (pixels of the canvas, N).
        traces: (N, T), fluorescence of each neuron over rest.
        rest: (N,), fluorescence of each neuron at rest.
        background: (pixels of the canvas,), resting background.
        neuropil: (K, pixels of the canvas).
        neuropil_traces: (K, T).
        brightness: (T,), bleaching.
        vignette: (H, W).
    """

    settings: SimulationSettings
    canvas: anatomy.Canvas
    footprints: sp.csr_array
    traces: Float
    rest: Float
    background: Float
    neuropil: Float
    neuropil_traces: Float
    brightness: Float
    vignette: Float

    def at(self, frame: int) -> Float:
        """Fluorescence (rows, columns) of the whole canvas in one frame, in units of the mean background."""
        image = self.background + self.footprints @ (self.rest + self.traces[:, frame])
        for field, strength in zip(self.neuropil, self.neuropil_traces[:, frame], strict=True):
            image += strength * field
        return (self.brightness[frame] * image).reshape(self.canvas.shape)


@dataclass(frozen=True, eq=False)
class SimulatedRecording:
    """A lazy movie (T, H, W) uint16 and the truth about it."""

    movie: da.Array
    truth: SimulatedTruth


def _rng(settings: SimulationSettings, *topic: int) -> np.random.Generator:
    """A generator for one topic, so that a change of one setting leaves what it does not concern as it was."""
    return np.random.default_rng([settings.seed, *topic])


def _margin(settings: SimulationSettings) -> int:
    return int(np.ceil(1.5 * settings.rigid_amplitude_px + settings.warp_amplitude_px)) + 4


def draw_scene(settings: SimulationSettings, acquisition: Acquisition) -> tuple[Scene, NDArray[np.int64]]:
    """The scene, and the spikes (N, T) of its neurons."""
    canvas = anatomy.Canvas(settings.height_px, settings.width_px, _margin(settings))
    cells, fields = _rng(settings, 1), _rng(settings, 2)
    centres = anatomy.place_neurons(cells, settings)
    hollow = cells.random(settings.n_neurons) < settings.hollow_share
    footprints = anatomy.draw_neurons(cells, centres, hollow, settings.neuron_radius_px, canvas)
    traces, spikes = activity.draw_activity(_rng(settings, 3), settings, acquisition)
    background = anatomy.draw_background(fields, settings, canvas)
    neuropil = anatomy.draw_neuropil(fields, background)
    scene = Scene(
        settings=settings,
        canvas=canvas,
        footprints=sp.csr_array(footprints),
        traces=traces,
        rest=cells.uniform(0.1, 0.6, settings.n_neurons).astype(np.float32),
        background=background.ravel(),
        neuropil=neuropil.reshape(len(neuropil), -1),
        neuropil_traces=activity.draw_neuropil_traces(_rng(settings, 4), len(neuropil), settings, acquisition),
        brightness=activity.bleach(settings),
        vignette=anatomy.vignette(settings),
    )
    return scene, spikes


def draw_truth(scene: Scene, spikes: NDArray, acquisition: Acquisition) -> SimulatedTruth:
    """What is true of the recording of a scene."""
    settings, rng, rate = scene.settings, _rng(scene.settings, 5), acquisition.frame_rate_hz
    background = scene.background + scene.neuropil_traces.mean(axis=1) @ scene.neuropil
    return SimulatedTruth(
        footprints=scene.canvas.crop_rows(sp.csc_array(scene.footprints)),
        traces=scene.traces,
        spikes=spikes.astype(np.float32),
        rigid_motion=motions.draw_rigid(rng, settings),
        shear=motions.draw_shear(rng, settings, rate),
        warp=motions.draw_warp(rng, settings, rate),
        background=scene.canvas.crop(background.reshape(scene.canvas.shape)).astype(np.float32),
    )


def displace(image: Float, displacement: Float, canvas: anatomy.Canvas) -> Float:
    """The frame (H, W) of an image of the canvas whose content moved by `displacement` (H, W, 2) px."""
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    places = [y + canvas.margin - displacement[..., 0], x + canvas.margin - displacement[..., 1]]
    return ndi.map_coordinates(image, places, order=3, mode="nearest")


def expose(fluorescence: Float, settings: SimulationSettings, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Counts (H, W) that the detector gives for a fluorescence (H, W) in units of the mean background."""
    caught = rng.poisson(np.clip(fluorescence, 0, None) * settings.photons)
    counts = settings.gain * caught + settings.offset
    counts += settings.read_noise * rng.standard_normal(fluorescence.shape, dtype=np.float32)
    return np.clip(np.rint(counts), 0, settings.saturation).astype(np.uint16)


def render(scene: Scene, truth: SimulatedTruth, frames: slice) -> NDArray[np.uint16]:
    """Some frames (n, H, W) of the movie."""
    settings = scene.settings
    movie = np.empty((frames.stop - frames.start, settings.height_px, settings.width_px), np.uint16)
    for frame in range(frames.start, frames.stop):
        image = scene.at(frame)
        if settings.motion == "none":
            seen = scene.canvas.crop(image)
        else:
            seen = displace(image, truth.displacement_field(frame), scene.canvas)
        movie[frame - frames.start] = expose(seen * scene.vignette, settings, _rng(settings, 6, frame))
    return movie


def simulate(settings: SimulationSettings, acquisition: Acquisition, *, block_frames: int = 64) -> SimulatedRecording:
    """A simulated recording.

    Args:
        settings: what it looks like.
        acquisition: frame rate and, unless the settings name one, the decay time of the indicator.
        block_frames: frames in one chunk of the lazy movie. It does not change the movie by a bit.

    Returns:
        The lazy movie (T, H, W) uint16, and the truth about it.
    """
    scene, spikes = draw_scene(settings, acquisition)
    truth = draw_truth(scene, spikes, acquisition)
    made_of = [dask.delayed(part, traverse=False) for part in (scene, truth)]
    shape = (settings.height_px, settings.width_px)
    blocks = [
        da.from_delayed(dask.delayed(render)(*made_of, s), (s.stop - s.start, *shape), dtype=np.uint16)
        for s in frame_blocks(settings.n_frames, block_frames)
    ]
    return SimulatedRecording(movie=da.concatenate(blocks), truth=truth)
