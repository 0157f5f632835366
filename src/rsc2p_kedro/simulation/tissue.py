"""A scene like tissue: somata with the outlines of marked neurons among everything else that fluoresces.

The fluorescence of frame t is bleaching(t) blur(z(t)) {background [1 + diffuse(t)] + sum_i a_i g_i(z(t)) [rest_i +
c_i(t)]} over all objects i: somata, processes, spots and somata out of focus, with footprints a, traces c, and the
hidden depth z of the plane. An object at the depth d has the gain g(z) = exp([z d - z^2 / 2] / s^2): of two objects at
different depths, one grows brighter where the other grows darker.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation import activity, anatomy, tissue_activity
from rsc2p_kedro.simulation.motion import frame_basis, n_control_points
from rsc2p_kedro.simulation.objects import ObjectKind, ObjectTruth, matched_filter_snr
from rsc2p_kedro.simulation.outlines import Mask, draw_outlines, masks_in_frame, place_outlines
from rsc2p_kedro.simulation.processes import column, draw_process, draw_spot
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.somata import blur_soma, draw_nucleus_darkness, draw_soma_brightness
from rsc2p_kedro.simulation.tissue_background import draw_tissue_background

Float = NDArray[np.float32]

# All strengths below were chosen by eye beside two-photon images of mouse cortex; they were not fitted to data.
_DEPTH_OF_FIELD = 3.0
"""Depth s in the gain of an object: at a depth of 1 and a depth of the plane of 1, its brightness changes by 6 %."""
_BLUR_SIGMA_PX = 1.1
"""Standard deviation in px of the blur that is mixed in as the plane moves."""
_DIFFUSE_SCALE_PX = 40.0
"""Distance in px over which the diffuse neuropil changes."""
_EXPRESSION_SPREAD = 0.6
"""Standard deviation of the logarithm of the expression of the indicator, a factor of rest and transients of a soma."""
_UNLABELLED_PER_NEURON = 0.6
"""Number of unlabelled cells per neuron."""
_SPOTS_PER_PROCESS = 1.2
"""Number of bright spots per process."""
_SHARED_AXON = 0.35
"""Probability that the next spot lies on the same axon and has the same trace."""
_DISPLACED_BY_SOMA = 0.7
"""Part of the fluorescence of everything else that a soma displaces."""


@dataclass(frozen=True, eq=False)
class TissueScene:
    """Everything that frames of a tissue are rendered from. Fluorescence is in units of the mean background.

    Attributes:
        settings: Settings of the recording.
        canvas: The frame and its margin.
        objects: CSR (pixels of the canvas, M) float32, footprints of all objects; somata come first.
        object_traces: (M, T) float32, fluorescence of each object above rest.
        rest: (M,) float32, fluorescence of each object at rest.
        depths: (M,) float32, depth of each object in units of half the depth of field.
        kinds: (M,) str.
        owners: (M,) int64; see :class:`~rsc2p_kedro.simulation.objects.ObjectTruth`.
        background: (rows, columns) float32, resting background of the canvas.
        diffuse: (T, n, m) float32, relative change of the background at control points.
        depth: (T,) float32, hidden depth of the plane.
        bleaching: (T,) float32, factor of all fluorescence.
        vignette: (H, W) float32, transmission of the optics.
    """

    settings: SimulationSettings
    canvas: anatomy.Canvas
    objects: sp.csr_array
    object_traces: Float
    rest: Float
    depths: Float
    kinds: NDArray[np.str_]
    owners: NDArray[np.int64]
    background: Float
    diffuse: Float
    depth: Float
    bleaching: Float
    vignette: Float

    @property
    def n_somata(self) -> int:
        """Number of somata in the plane."""
        return int((self.kinds == "soma").sum())

    @property
    def footprints(self) -> sp.csr_array:
        """Footprints of the somata, CSR (pixels of the canvas, N) float32."""
        return sp.csr_array(sp.csc_array(self.objects)[:, : self.n_somata])

    @property
    def traces(self) -> Float:
        """Traces of the somata, (N, T) float32."""
        return self.object_traces[: self.n_somata]

    def fluorescence(self, frame: int) -> Float:
        """Fluorescence of the whole canvas in one frame, before motion and vignetting.

        Args:
            frame: Index of the frame.

        Returns:
            (rows, columns) float32.
        """
        z = self.depth[frame]
        gains = np.exp((z * self.depths - z**2 / 2) / np.float32(_DEPTH_OF_FIELD**2))
        image = (self.objects @ (gains * (self.rest + self.object_traces[:, frame]))).reshape(self.canvas.shape)
        image += self.background * (1 + _spread(self.diffuse[frame], self.canvas.shape))
        blurred_part = np.float32(min(0.15 * z**2, 0.7))
        if blurred_part > 0:
            image += blurred_part * (ndi.gaussian_filter(image, _BLUR_SIGMA_PX, truncate=3) - image)
        return (self.bleaching[frame] * image).astype(np.float32, copy=False)

    def mean_background(self) -> Float:
        """Mean over time of everything but the somata, without motion out of the plane.

        Returns:
            (rows, columns) float32.
        """
        levels = self.rest + self.object_traces.mean(axis=1)
        levels[: self.n_somata] = 0
        image = (self.objects @ levels).reshape(self.canvas.shape)
        image += self.background * (1 + _spread(self.diffuse.mean(axis=0), self.canvas.shape))
        return image.astype(np.float32)


def _spread(controls: Float, shape: tuple[int, int]) -> Float:
    """Image of values at control points by splines."""
    rows, columns = frame_basis(shape[0], controls.shape[0]), frame_basis(shape[1], controls.shape[1])
    return (rows @ controls @ columns.T).astype(np.float32, copy=False)


def _rng(settings: SimulationSettings, topic: int) -> np.random.Generator:
    """Random generator of one topic of the tissue; topics of other modules have smaller numbers."""
    return np.random.default_rng([settings.seed, 100 + topic])


def _as_columns(columns: list[sp.csc_array], n_pixels: int) -> sp.csc_array:
    """Footprints side by side, CSC (pixels, M) float32."""
    empty = sp.csc_array((n_pixels, 0), dtype=np.float32)
    return sp.csc_array(sp.hstack([empty, *columns], format="csc").astype(np.float32))


def draw_masks(settings: SimulationSettings, canvas: anatomy.Canvas, transmission: Float) -> Mask:
    """Draws the masks of somata like those that people mark, none of them in a vessel.

    Args:
        settings: Number, radius and overlap of the neurons.
        canvas: Canvas to draw on.
        transmission: (rows, columns), transmission of the vessels.

    Returns:
        (N, H, W) bool.

    Raises:
        RuntimeError: The frame has no room for that many neurons.
    """
    rng, edge = _rng(settings, 1), int(np.ceil(settings.neuron_radius_px)) + 1
    free = canvas.crop(transmission > 0.85).copy()
    free[:edge], free[-edge:], free[:, :edge], free[:, -edge:] = False, False, False, False
    outlines = draw_outlines(rng, settings.n_neurons, settings.neuron_radius_px)
    places = place_outlines(rng, outlines, free, settings.overlap_share)
    return masks_in_frame(outlines, places, free.shape)


def draw_somata(rng: np.random.Generator, masks: Mask, canvas: anatomy.Canvas) -> sp.csc_array:
    """Draws the footprints of somata of given masks.

    Args:
        rng: Random generator.
        masks: (N, H, W), each with at least one pixel.
        canvas: Canvas to draw on.

    Returns:
        CSC (pixels of the canvas, N) float32; the pixels above a fifth of each maximum are the mask.
    """
    columns = []
    for mask, darkness in zip(masks, draw_nucleus_darkness(rng, len(masks)), strict=True):
        pixels = np.argwhere(mask)
        low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
        outline = np.pad(mask[low[0] : high[0], low[1] : high[1]], 4)
        columns.append(column(draw_soma_brightness(rng, outline, darkness), low - 4 + canvas.margin, canvas.shape))
    return _as_columns(columns, int(np.prod(canvas.shape)))


def draw_out_of_focus(rng: np.random.Generator, n: int, radius_px: float, canvas: anatomy.Canvas) -> sp.csc_array:
    """Draws the footprints of somata above and below the plane: wide blobs anywhere on the canvas.

    Args:
        rng: Random generator.
        n: Number of somata.
        radius_px: Median radius of somata in px.
        canvas: Canvas to draw on.

    Returns:
        CSC (pixels of the canvas, n) float32, each with a maximum of 1.
    """
    columns = []
    for outline in draw_outlines(rng, n, radius_px):
        image = blur_soma(draw_soma_brightness(rng, outline, 0.0), radius_px * rng.uniform(0.45, 1.0))
        columns.append(column(image, rng.integers(0, canvas.shape) - len(image) // 2, canvas.shape))
    return _as_columns(columns, int(np.prod(canvas.shape)))


def draw_dendrites(
    rng: np.random.Generator, masks: Mask, canvas: anatomy.Canvas
) -> tuple[sp.csc_array, NDArray[np.int64]]:
    """Draws the dendrites of somata, of which half have one to three in the plane.

    Args:
        rng: Random generator.
        masks: (N, H, W), the somata.
        canvas: Canvas to draw on.

    Returns:
        Footprints CSC (pixels of the canvas, D) float32 outside all masks, and the index of each one's soma (D,) int64.
    """
    columns, owners = [], []
    outside = ~np.pad(masks.any(axis=0), canvas.margin).ravel()
    for owner, mask in enumerate(masks):
        for _ in range(rng.integers(1, 4) if rng.random() < 0.5 else 0):
            start, length = np.argwhere(mask).mean(axis=0) + canvas.margin, rng.lognormal(np.log(30), 0.4)
            dendrite = draw_process(rng, canvas.shape, length, rng.uniform(0.7, 1.1), start=start)
            columns.append(dendrite.multiply(outside[:, None]).tocsc())
            owners.append(owner)
    return _as_columns(columns, len(outside)), np.array(owners, np.int64)


def draw_spots(rng: np.random.Generator, n: int, shape: tuple[int, int]) -> tuple[sp.csc_array, NDArray[np.int64]]:
    """Draws bright spots, some of which lie on the same axon.

    Args:
        rng: Random generator.
        n: Number of spots.
        shape: (rows, columns) of the canvas.

    Returns:
        Footprints CSC (rows * columns, n) float32, and the index of each one's axon (n,) int64, 0 upwards.
    """
    columns: list[sp.csc_array] = []
    axons: list[int] = []
    place, direction = np.zeros(2), 0.0
    for _ in range(n):
        if axons and rng.random() < _SHARED_AXON:
            direction += rng.normal(0, 0.3)
            place = place + rng.uniform(5, 14) * np.array([np.sin(direction), np.cos(direction)])
            axons.append(axons[-1])
        else:
            place, direction = rng.uniform(0, shape), rng.uniform(0, 2 * np.pi)
            axons.append(axons[-1] + 1 if axons else 0)
        columns.append(draw_spot(rng, shape, place))
    return _as_columns(columns, shape[0] * shape[1]), np.array(axons, np.int64)


class _Group(NamedTuple):
    """Objects of one kind.

    Attributes:
        kind: Their kind.
        footprints: CSC (pixels of the canvas, m).
        traces: (m, T), fluorescence above rest.
        rest: (m,), fluorescence at rest.
        owners: (m,), index of the soma that each belongs to; None if they belong to none.
    """

    kind: ObjectKind
    footprints: sp.csc_array
    traces: NDArray
    rest: NDArray
    owners: NDArray[np.int64] | None = None


def _draw_thin_groups(settings: SimulationSettings, acquisition: Acquisition, shape: tuple[int, int]) -> list[_Group]:
    """Processes and spots with events of their own."""
    n = round(settings.process_density * shape[0] * shape[1] / 1e4)
    rng, strength = _rng(settings, 4), settings.process_strength
    processes = [draw_process(rng, shape, rng.lognormal(np.log(16), 0.7), rng.uniform(0.6, 1.0)) for _ in range(n)]
    traces, _ = tissue_activity.draw_group(rng, n, 0.6, settings, acquisition)
    traces *= (strength * rng.lognormal(np.log(0.75), 0.6, n))[:, None].astype(np.float32)
    rest = strength * rng.lognormal(np.log(0.05), 0.8, n)
    spots, axons = draw_spots(rng, round(_SPOTS_PER_PROCESS * n), shape)
    n_axons = int(axons.max(initial=-1)) + 1
    spot_traces, _ = tissue_activity.draw_group(rng, n_axons, 0.7, settings, acquisition)
    spot_strength = strength * rng.lognormal(np.log(0.85), 0.6, len(axons))
    spot_rest = strength * rng.lognormal(np.log(0.12), 0.8, len(axons))
    return [
        _Group("process", _as_columns(processes, shape[0] * shape[1]), traces, rest),
        _Group("spot", spots, spot_traces[axons] * spot_strength[:, None], spot_rest),
    ]


def _draw_soma_groups(
    settings: SimulationSettings, acquisition: Acquisition, canvas: anatomy.Canvas, masks: Mask
) -> tuple[list[_Group], NDArray[np.int64]]:
    """Somata, their dendrites and somata out of focus, and the spikes (N, T) of the somata in the plane."""
    rng, n = _rng(settings, 2), len(masks)
    traces, spikes = tissue_activity.draw_soma_activity(_rng(settings, 3), n, settings, acquisition)
    expression = rng.lognormal(np.log(1.3), _EXPRESSION_SPREAD, n)
    traces *= expression[:, None].astype(np.float32)
    rest = np.clip(expression * rng.lognormal(np.log(0.35), 1.0, n), 0.05, 6)
    somata = _Group("soma", draw_somata(rng, masks, canvas), traces, rest)
    dendrites, owners = draw_dendrites(rng, masks, canvas)
    parts = rng.uniform(0.08, 0.35, len(owners))
    own = _Group("process", dendrites, traces[owners] * parts[:, None], rest[owners] * parts, owners)
    n_wide = round(settings.out_of_focus_ratio * n)
    radius = float(np.median(np.sqrt(masks.sum(axis=(1, 2)) / np.pi))) if n else settings.neuron_radius_px
    wide_traces, _ = tissue_activity.draw_soma_activity(rng, n_wide, settings, acquisition)
    wide_traces *= rng.uniform(0.15, 0.45, n_wide)[:, None].astype(np.float32)
    footprints = draw_out_of_focus(rng, n_wide, radius, canvas)
    return [somata, own, _Group("out_of_focus", footprints, wide_traces, rng.uniform(0.05, 0.3, n_wide))], spikes


def _centres(footprints: sp.csc_array, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Centres of mass (M, 2) as (y, x) in px of footprints (pixels, M)."""
    y, x = np.divmod(np.arange(footprints.shape[0]), shape[1])
    moments = footprints.T @ np.stack([y, x, np.ones(len(y))], axis=1)
    return moments[:, :2] / np.maximum(moments[:, 2:], 1e-9)


def draw_tissue_scene(
    settings: SimulationSettings, acquisition: Acquisition, canvas: anatomy.Canvas, masks: Mask | None = None
) -> tuple[TissueScene, NDArray[np.int64]]:
    """Draws everything that frames of a tissue are rendered from.

    Args:
        settings: Settings of the recording.
        acquisition: Frame rate, and the decay time where the settings have none.
        canvas: The frame and its margin.
        masks: (N, H, W), somata to plant, which take the place of `n_neurons`, `neuron_radius_px` and `overlap_share`;
            None draws them.

    Returns:
        The scene, and the number of spikes (N, T) int64 of its somata in each frame.

    Raises:
        RuntimeError: The frame has no room for that many neurons.
    """
    radius, shape = settings.neuron_radius_px, canvas.shape
    n_unlabelled = round(_UNLABELLED_PER_NEURON * (settings.n_neurons if masks is None else len(masks)))
    background, transmission = draw_tissue_background(
        _rng(settings, 0), shape, n_unlabelled, radius, settings.n_vessels
    )
    masks = draw_masks(settings, canvas, transmission) if masks is None else np.asarray(masks, bool)
    groups, spikes = _draw_soma_groups(settings, acquisition, canvas, masks)
    groups += _draw_thin_groups(settings, acquisition, shape)
    left = 1 - _DISPLACED_BY_SOMA * groups[0].footprints.sum(axis=1).clip(0, 1)
    for i, group in enumerate(groups[1:], start=1):
        weights = sp.diags_array((left * transmission.ravel()).astype(np.float32))
        groups[i] = group._replace(footprints=sp.csc_array(weights @ group.footprints))
    footprints = sp.csc_array(sp.hstack([g.footprints for g in groups], format="csc").astype(np.float32))
    traces = np.concatenate([g.traces for g in groups]).astype(np.float32)
    rest = np.concatenate([g.rest for g in groups]).astype(np.float32)
    n = len(masks)
    by_objects = float((footprints[:, n:] @ (rest + traces.mean(axis=1))[n:]).mean())
    background *= max(1 - by_objects, 0.3) * left.reshape(shape).astype(np.float32)
    n_nodes = [n_control_points(length, _DIFFUSE_SCALE_PX) for length in shape]
    nodes = np.stack(np.meshgrid(*map(np.linspace, (0, 0), np.array(shape) - 1, n_nodes), indexing="ij"), axis=-1)
    diffuse = tissue_activity.draw_diffuse(
        _rng(settings, 5), nodes.reshape(-1, 2), _centres(footprints, shape), traces, settings, acquisition
    )
    scene = TissueScene(
        settings=settings,
        canvas=canvas,
        objects=sp.csr_array(footprints),
        object_traces=traces,
        rest=rest,
        depths=_rng(settings, 6).standard_normal(len(rest)).astype(np.float32),
        kinds=np.concatenate([np.full(len(g.rest), g.kind) for g in groups]),
        owners=np.concatenate([np.full(len(g.rest), -1) if g.owners is None else g.owners for g in groups]),
        background=background.astype(np.float32),
        diffuse=np.ascontiguousarray(diffuse.T.reshape(-1, *n_nodes)),
        depth=tissue_activity.draw_depth(_rng(settings, 7), settings, acquisition.frame_rate_hz),
        bleaching=activity.bleaching_curve(settings),
        vignette=anatomy.vignette(settings),
    )
    return scene, spikes


def describe_objects(scene: TissueScene, acquisition: Acquisition) -> ObjectTruth:
    """Collects the objects of a scene as far as they lie in the frame.

    Args:
        scene: The scene.
        acquisition: Frame rate, and the decay time where the settings have none.

    Returns:
        The objects, somata first, with the SNR that photons and read noise leave them.
    """
    settings, canvas = scene.settings, scene.canvas
    footprints = canvas.crop_rows(sp.csc_array(scene.objects))
    somata = scene.footprints @ (scene.rest[: scene.n_somata] + scene.traces.mean(axis=1))
    mean = canvas.crop(scene.mean_background() + somata.reshape(canvas.shape))
    photons_per_unit = settings.photons * scene.bleaching.mean() * scene.vignette
    variance = photons_per_unit * mean.clip(0) + (settings.read_noise / settings.gain) ** 2
    transient = tissue_activity.transient(settings, acquisition)
    snr = matched_filter_snr(
        footprints, scene.object_traces, transient, photons_per_unit.ravel(), variance.ravel().clip(1e-9)
    )
    return ObjectTruth((canvas.height, canvas.width), footprints, scene.object_traces, scene.kinds, scene.owners, snr)
