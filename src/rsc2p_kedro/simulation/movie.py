"""Simulation of a two-photon movie with known ground truth.

The fluorescence of frame t is bleaching(t) [background + A (rest + C(t)) + B f(t)], with footprints A, traces C, and
neuropil fields B with time courses f; :mod:`rsc2p_kedro.simulation.tissue` has that of `tissue: processes`. It is
displaced (:mod:`rsc2p_kedro.simulation.motion`) by cubic interpolation and multiplied by a vignette that does not move.
Each pixel detects a Poisson number of photons, which the detector turns into counts: gain * photons + offset + Gaussian
read noise, rounded and clipped.

Frames are rendered lazily. Each has its own random generator, so that the same settings give the same movie, bit for
bit, in whatever order and in whatever blocks frames are computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import dask
import dask.array as da
import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.blocks import frame_blocks
from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation import activity, anatomy, sessions
from rsc2p_kedro.simulation import motion as motions
from rsc2p_kedro.simulation.objects import ObjectTruth
from rsc2p_kedro.simulation.outlines import Mask
from rsc2p_kedro.simulation.settings import SessionChange, SimulationSettings
from rsc2p_kedro.simulation.structural import StructuralScene, draw_structural_scene
from rsc2p_kedro.simulation.tissue import TissueScene, describe_objects, draw_tissue_scene
from rsc2p_kedro.simulation.truth import SimulatedTruth

Float = NDArray[np.float32]
_FUNCTIONAL, _STRUCTURAL = 6, 7
"""Topics of the random generator of the detector of each channel."""
_SOFT_RANGE = 0.1
"""Distance from the level at which soft saturation begins to its limit, relative to the level. Chosen, not fitted."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that frames are rendered from. Fluorescence is in units of the mean background.

    Attributes:
        settings: Settings of the recording.
        canvas: The frame and its margin.
        footprints: CSR (pixels of the canvas, N) float32; each column has a maximum of 1.
        traces: (N, T) float32, fluorescence of each neuron above rest.
        rest: (N,) float32, fluorescence of each neuron at rest.
        background: (pixels of the canvas,) float32, resting background.
        neuropil: (K, pixels of the canvas) float32, spatial fields of the neuropil.
        neuropil_traces: (K, T) float32, time courses of the neuropil.
        bleaching: (T,) float32, factor of all fluorescence.
        vignette: (H, W) float32, transmission of the optics.
    """

    settings: SimulationSettings
    canvas: anatomy.Canvas
    footprints: sp.csr_array
    traces: Float
    rest: Float
    background: Float
    neuropil: Float
    neuropil_traces: Float
    bleaching: Float
    vignette: Float

    def fluorescence(self, frame: int) -> Float:
        """Fluorescence of the whole canvas in one frame, before motion and vignetting.

        Args:
            frame: Index of the frame.

        Returns:
            (rows, columns) float32.
        """
        image = self.background + self.footprints @ (self.rest + self.traces[:, frame])
        for field, strength in zip(self.neuropil, self.neuropil_traces[:, frame], strict=True):
            image += strength * field
        return (self.bleaching[frame] * image).reshape(self.canvas.shape)

    def mean_background(self) -> Float:
        """Mean over time of background and neuropil.

        Returns:
            (rows, columns) float32.
        """
        background = self.background + self.neuropil_traces.mean(axis=1) @ self.neuropil
        return background.reshape(self.canvas.shape).astype(np.float32)


@dataclass(frozen=True, eq=False)
class SimulatedRecording:
    """A simulated movie and its ground truth.

    Attributes:
        movie: (T, H, W) uint16, lazy, in counts.
        truth: Motion, footprints, traces and spikes.
        objects: Every object and its kind, the somata of `truth` first; None for smooth tissue, which has only somata.
        structural_movie: (T, H, W) uint16, lazy, the structural channel; None where none was simulated.
    """

    movie: da.Array
    truth: SimulatedTruth
    objects: ObjectTruth | None = None
    structural_movie: da.Array | None = None


def _rng(settings: SimulationSettings, *topic: int) -> np.random.Generator:
    """Random generator of one topic, so that changing the settings of one topic leaves the others as they are."""
    return np.random.default_rng([settings.seed, *topic])


def draw_canvas(settings: SimulationSettings) -> anatomy.Canvas:
    """Canvas with a margin for the largest motion.

    Args:
        settings: Size of the frame and amplitudes of the motion.

    Returns:
        The frame and its margin.
    """
    # Rigid motion and half of it again as shear, the warp, and 4 px for the interpolation.
    margin = int(np.ceil(1.5 * settings.rigid_amplitude_px + settings.warp_amplitude_px)) + 4
    return anatomy.Canvas(settings.height_px, settings.width_px, margin)


def draw_scene(settings: SimulationSettings, acquisition: Acquisition) -> tuple[Scene, NDArray[np.int64]]:
    """Draws everything that frames of smooth tissue are rendered from.

    Args:
        settings: Settings of the recording.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        The scene, and the number of spikes (N, T) int64 of its neurons in each frame.
    """
    canvas = draw_canvas(settings)
    neuron_rng, background_rng = _rng(settings, 1), _rng(settings, 2)
    centres = anatomy.place_neurons(neuron_rng, settings)
    hollow = neuron_rng.random(settings.n_neurons) < settings.hollow_share
    footprints = anatomy.draw_neurons(neuron_rng, centres, hollow, settings.neuron_radius_px, canvas)
    traces, spikes = activity.draw_activity(_rng(settings, 3), settings, acquisition)
    background = anatomy.draw_background(background_rng, settings, canvas)
    neuropil = anatomy.draw_neuropil(background_rng, background)
    scene = Scene(
        settings=settings,
        canvas=canvas,
        footprints=sp.csr_array(footprints),
        traces=traces,
        rest=neuron_rng.uniform(0.1, 0.6, settings.n_neurons).astype(np.float32),
        background=background.ravel(),
        neuropil=neuropil.reshape(len(neuropil), -1),
        neuropil_traces=activity.draw_neuropil_traces(_rng(settings, 4), len(neuropil), settings, acquisition),
        bleaching=activity.bleaching_curve(settings),
        vignette=anatomy.vignette(settings),
    )
    return (scene, spikes) if settings.session is None else _see_again(scene, settings.session, centres, acquisition)


def _see_again(
    first: Scene, change: SessionChange, centres: NDArray, acquisition: Acquisition
) -> tuple[Scene, NDArray[np.int64]]:
    """The scene of a later session from that of the first one, whose neurons have the given centres, and its spikes."""
    shared, canvas = first.settings, first.canvas
    seed = int(np.random.SeedSequence([shared.seed, 20, change.seed]).generate_state(1)[0])
    own = shared.model_copy(update={"seed": seed, "photons": shared.photons * change.brightness})
    seen, places = sessions.draw_presence(change, shared.n_neurons), sessions.seen_places(change, canvas)
    others, rest_of_others = sessions.draw_others(shared, centres, canvas)
    pool = sp.hstack([first.footprints, others], format="csc")[:, seen]
    fading = sessions.draw_fading(change, len(seen))
    traces, spikes = activity.draw_activity(_rng(own, 3), own, acquisition)
    scene = replace(
        first,
        settings=own,
        footprints=sessions.move_footprints(sp.csr_array(pool), places, canvas),
        traces=fading[:, None] * traces,
        rest=fading * np.concatenate([first.rest, rest_of_others])[seen],
        background=sessions.move_images(first.background.reshape(canvas.shape), places).ravel(),
        neuropil=sessions.move_images(first.neuropil.reshape(-1, *canvas.shape), places).reshape(first.neuropil.shape),
        neuropil_traces=activity.draw_neuropil_traces(_rng(own, 4), len(first.neuropil), own, acquisition),
    )
    return scene, spikes


def draw_truth(scene: Scene | TissueScene, spikes: NDArray, acquisition: Acquisition) -> SimulatedTruth:
    """Draws the motion of a scene and collects the ground truth of its recording.

    Args:
        scene: The scene.
        spikes: (N, T), number of spikes of its neurons in each frame.
        acquisition: Frame rate.

    Returns:
        The ground truth, on the frame without its margin.
    """
    settings, rng, rate = scene.settings, _rng(scene.settings, 5), acquisition.frame_rate_hz
    return SimulatedTruth(
        footprints=scene.canvas.crop_rows(sp.csc_array(scene.footprints)),
        traces=scene.traces,
        spikes=spikes.astype(np.float32),
        rigid_motion=motions.draw_rigid(rng, settings),
        shear=motions.draw_shear(rng, settings, rate),
        warp=motions.draw_warp(rng, settings, rate),
        background=scene.canvas.crop(scene.mean_background()),
        neurons=None if settings.session is None else sessions.draw_presence(settings.session, settings.n_neurons),
    )


def displace(image: Float, displacement: Float, canvas: anatomy.Canvas) -> Float:
    """Displaces the content of an image of the canvas by cubic interpolation and cuts out the frame.

    Args:
        image: (rows, columns) of the canvas.
        displacement: (H, W, 2), displacement (dy, dx) in px of the content at each pixel of the frame.
        canvas: The canvas of the image.

    Returns:
        (H, W) float32.
    """
    y, x = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    coordinates = [y + canvas.margin - displacement[..., 0], x + canvas.margin - displacement[..., 1]]
    return ndi.map_coordinates(image, coordinates, order=3, mode="nearest")


def compress(counts: NDArray, level: float) -> NDArray:
    """Simulates soft saturation: counts above a level approach a limit exponentially.

    Args:
        counts: Array of any shape.
        level: Count L at which compression begins; the limit is 1.1 L.

    Returns:
        L + r (1 - exp(-(counts - L) / r)) with r = 0.1 L where counts are above L, counts elsewhere.
    """
    reach = _SOFT_RANGE * level
    above = np.clip(counts - level, 0, None)
    return np.minimum(counts, level) + reach * -np.expm1(-above / reach)


def detect(fluorescence: Float, settings: SimulationSettings, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Simulates the detector: shot noise, gain, offset, soft saturation, read noise and clipping.

    Args:
        fluorescence: (H, W), in units of the mean background.
        settings: Photons per pixel, and the properties of the detector.
        rng: Random generator.

    Returns:
        (H, W) uint16, counts.
    """
    photons = rng.poisson(np.clip(fluorescence, 0, None) * settings.photons)
    counts = settings.gain * photons + settings.offset
    if settings.soft_saturation is not None:
        counts = compress(counts, settings.soft_saturation)
    counts += settings.read_noise * rng.standard_normal(fluorescence.shape, dtype=np.float32)
    return np.clip(np.rint(counts), 0, settings.saturation).astype(np.uint16)


def render(scene: Scene | TissueScene, truth: SimulatedTruth, frames: slice) -> NDArray[np.uint16]:
    """Renders consecutive frames of the movie.

    Args:
        scene: The scene.
        truth: Its ground truth, for the motion.
        frames: First frame and the one after the last.

    Returns:
        (n, H, W) uint16, counts.
    """
    return _render(scene, truth, frames, scene.fluorescence, _FUNCTIONAL)


def render_structural(
    scene: Scene | TissueScene, structural: StructuralScene, truth: SimulatedTruth, frames: slice
) -> NDArray[np.uint16]:
    """Renders consecutive frames of the structural channel.

    Args:
        scene: The scene.
        structural: What is red in it.
        truth: Its ground truth, for the motion.
        frames: First frame and the one after the last.

    Returns:
        (n, H, W) uint16, counts.
    """

    def fluorescence(frame: int) -> Float:
        return structural.image + np.float32(structural.crosstalk) * scene.fluorescence(frame)

    return _render(scene, truth, frames, fluorescence, _STRUCTURAL)


def _render(
    scene: Scene | TissueScene,
    truth: SimulatedTruth,
    frames: slice,
    fluorescence: Callable[[int], Float],
    noise_topic: int,
) -> NDArray[np.uint16]:
    """Displaces and detects the fluorescence of one channel in consecutive frames."""
    settings = scene.settings
    movie = np.empty((frames.stop - frames.start, settings.height_px, settings.width_px), np.uint16)
    for frame in range(frames.start, frames.stop):
        image = fluorescence(frame)
        if settings.motion == "none":
            image = scene.canvas.crop(image)
        else:
            image = displace(image, truth.displacement_field(frame), scene.canvas)
        movie[frame - frames.start] = detect(image * scene.vignette, settings, _rng(settings, noise_topic, frame))
    return movie


def simulate(
    settings: SimulationSettings,
    acquisition: Acquisition,
    *,
    block_frames: int = 64,
    masks: Mask | None = None,
    structural: bool = False,
) -> SimulatedRecording:
    """Simulates a recording.

    Args:
        settings: Settings of the recording.
        acquisition: Frame rate, and the decay time of the indicator where the settings have none.
        block_frames: Number of frames in one chunk of the lazy movie, which does not change the movie.
        masks: (N, H, W), somata to plant in a tissue of processes instead of drawn ones; None draws all neurons.
        structural: Simulate a structural channel as well, which changes nothing in the functional one.

    Returns:
        The lazy movie (T, H, W) uint16 in counts, its ground truth, the objects of a tissue of processes, and the lazy
        movie of the structural channel.

    Raises:
        ValueError: Masks are given for smooth tissue, have another shape than the frame, or are empty; or a later
            session is asked for of another tissue.
        RuntimeError: The frame has no room for that many neurons.
    """
    shape, objects = (settings.height_px, settings.width_px), None
    if settings.session is not None and settings.tissue != "smooth":
        raise ValueError(f"A later `session` needs `tissue: smooth`, `tissue` is `{settings.tissue}`.")
    if masks is not None:
        if settings.tissue == "smooth":
            raise ValueError("Masks can be planted in `tissue: processes` only, `tissue` is `smooth`.")
        if masks.shape[1:] != shape or not np.any(masks, axis=(1, 2)).all():
            raise ValueError(f"Masks should be non-empty and have the shape (N, {shape[0]}, {shape[1]}).")
    scene: Scene | TissueScene
    if settings.tissue == "smooth":
        scene, spikes = draw_scene(settings, acquisition)
    else:
        scene, spikes = draw_tissue_scene(settings, acquisition, draw_canvas(settings), masks)
        objects = describe_objects(scene, acquisition)
    truth = draw_truth(scene, spikes, acquisition)
    movie = _lazy(render, settings, block_frames, scene, truth)
    if not structural:
        return SimulatedRecording(movie=movie, truth=truth, objects=objects)
    background = scene.mean_background()
    red = draw_structural_scene(_rng(settings, 9), scene.footprints, background, settings, scene.canvas)
    return SimulatedRecording(
        movie=movie,
        truth=replace(truth, labelled=red.labelled, crosstalk=red.crosstalk),
        objects=objects,
        structural_movie=_lazy(render_structural, settings, block_frames, scene, red, truth),
    )


def _lazy(
    render_frames: Callable[..., NDArray[np.uint16]], settings: SimulationSettings, block_frames: int, *parts: object
) -> da.Array:
    """A movie (T, H, W) whose blocks are rendered from some parts as they are needed."""
    inputs = [dask.delayed(part, traverse=False) for part in parts]
    shape = (settings.height_px, settings.width_px)
    blocks = [
        da.from_delayed(dask.delayed(render_frames)(*inputs, s), (s.stop - s.start, *shape), dtype=np.uint16)
        for s in frame_blocks(settings.n_frames, block_frames)
    ]
    return da.concatenate(blocks)
