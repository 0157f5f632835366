"""The loop: constrained non-negative matrix factorization of a movie, Y = A C + b f + noise.

Pnevmatikakis et al. 2016, doi 10.1016/j.neuron.2015.11.037, in this order:

1. One pass over the movie: noise of each pixel, and a short, noise-weighted copy (:mod:`.noise`).
2. On the short copy, rounds of: neuropil and traces jointly (:mod:`.temporal`, :mod:`.background`), footprints
   (:mod:`.spatial`), merging (:mod:`.merging`), and a look for more neurons in what is left (:mod:`.initialization`),
   until there are none.
3. A second pass, at the full frame rate: projections on footprints and neuropil, from which all traces follow.

:func:`refit` does 1 and 3 and, in between, updates an earlier result without looking for more neurons.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro import __version__
from rsc2p_kedro.algorithms import blocks
from rsc2p_kedro.algorithms.deconvolution import Deconvolution, estimate_noise
from rsc2p_kedro.algorithms.extraction import background, initialization, merging, noise, patches, spatial, temporal
from rsc2p_kedro.algorithms.extraction.background import Tiles
from rsc2p_kedro.algorithms.extraction.noise import ShortMovie
from rsc2p_kedro.algorithms.extraction.temporal import Traces
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters
from rsc2p_kedro.core.results import Components, LineageEntry

MOST_ROUNDS = 3
THINNEST, LONGEST = 0.58, 2.0
"""Half-axes of a neuron's footprint in neuron half-widths: what is thinner or longer is a process, or neuropil."""
BEYOND_DOUBT = 7.0
"""Transients that rise this many times as high as they must are no neuropil's: then a footprint may have any size."""
ROUND_ENOUGH = 0.4
"""Ratio of half-axes from which a footprint of any size may be a neuron or a bouton; what is longer is a dendrite."""
_SWEEPS = 2
TILE_PX = 64
"""Size of the tiles that neurons are looked for in; each holds several patches."""
Float = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Model:
    """State of the loop on the short movie. Footprints and gain are in units of its noise.

    Attributes:
        A: (H*W, N) CSC.
        C: (N, n) denoised traces.
        F: (K, n) neuropil of the tiles.
        gain: (H, W) brightness of the neuropil.
        parents: for each component, the rows of the first list of components that it came from.
    """

    A: sp.csc_array
    C: NDArray
    F: NDArray
    gain: Float
    parents: tuple[tuple[int, ...], ...] = ()

    @property
    def n(self) -> int:
        return self.A.shape[1]

    def select(self, keep: NDArray) -> "Model":
        """The components of an index array."""
        parents = tuple(self.parents[j] for j in keep)
        return replace(self, A=sp.csc_array(self.A[:, keep]), C=self.C[keep], parents=parents)


@dataclass(frozen=True, eq=False)
class Work:
    """What the steps of the loop share."""

    short: ShortMovie
    tiles: Tiles
    acquisition: Acquisition
    parameters: ExtractionParameters
    compute: Compute

    @property
    def n_bins(self) -> int:
        return len(self.short.movie)

    @property
    def grow_px(self) -> int:
        """By how much a footprint may grow in one update."""
        return max(1, round(self.parameters.neuron_half_width_px / 2))

    @property
    def decay(self) -> float:
        """Of calcium from one bin to the next."""
        return float(np.exp(-self.short.bin_frames / self.acquisition.decay_time_frames))

    @property
    def search(self) -> initialization.Search:
        """What to look for; patches are the cells that their overlap leaves to each."""
        p = self.parameters
        cell = max(2 * p.patch_half_width_px + 1 - p.patch_overlap_px, 4)
        return initialization.Search(
            half_width=p.neuron_half_width_px,
            most=p.components_per_patch,
            least_energy=initialization.energy_threshold(self.n_bins, p.min_peak_to_noise),
            least_rise=p.min_peak_to_noise,
            decay=self.decay,
            cell=(cell, cell),
            adaptive=p.initialization == "adaptive",
        )


def _prepare(
    movie: blocks.Movie,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None,
    known_noise: NDArray | None = None,
) -> Work:
    _check(movie, valid_mask)
    n_frames, height, width = movie.shape
    bin_frames = noise.bin_length(n_frames, acquisition.decay_time_frames, parameters.temporal_downsampling)
    short = noise.shorten(movie, bin_frames, compute=compute, valid_mask=valid_mask, known_noise=known_noise)
    spacing = parameters.background_spacing * parameters.neuron_half_width_px
    return Work(
        short, background.tiles((height, width), spacing, parameters.n_background), acquisition, parameters, compute
    )


def _check(movie: blocks.Movie, valid_mask: NDArray | None) -> None:
    problems = []
    if movie.ndim != 3:
        problems.append(f"movie should be (T, H, W), has shape {movie.shape}")
    elif valid_mask is not None and valid_mask.shape != movie.shape[1:]:
        problems.append(f"valid_mask should have shape {movie.shape[1:]}, has {valid_mask.shape}")
    if movie.dtype.kind not in "uif":
        problems.append(f"movie should hold real numbers, has dtype {movie.dtype}")
    if problems:
        raise ValueError("Cannot extract sources: " + "; ".join(problems) + ".")


def _empty(work: Work) -> Model:
    """No components, and neuropil under the mean image."""
    H, W = work.short.shape
    gain = np.where(work.short.mask, 1 / work.short.scale, 0).astype(np.float32)
    gain *= np.float32(np.median(np.abs(work.short.mean[work.short.mask])) if work.short.mask.any() else 1)
    model = Model(
        sp.csc_array((H * W, 0), dtype=np.float32),
        np.zeros((0, work.n_bins)),
        np.zeros((work.tiles.n, work.n_bins)),
        gain,
    )
    if work.tiles.n:
        model = _update_footprints(work, replace(model, F=temporal.solve_neuropil(_project(work, model), model.C)))
    return replace(model, F=temporal.solve_neuropil(_project(work, model), model.C))


def _project(work: Work, model: Model) -> temporal.Projections:
    def read(span: slice) -> NDArray:
        return np.asarray(work.short.movie[span])

    return temporal.project(read, work.n_bins, model.A, work.tiles, model.gain, work.compute)


def _expected_gain(work: Work, model: Model) -> Float:
    """Gain (H, W) that the mean image lets expect: a straight line through gain against mean, neurons left out.

    The line finds the detector's offset by itself. Under footprints the mean holds the neuron's own resting light, so
    there the mean of the surroundings is taken.
    """
    short = work.short
    free = short.mask.copy().ravel()
    free[model.A.indices] = False
    free = free.reshape(short.shape)
    if free.sum() < 0.05 * short.mask.sum():
        free = short.mask
    mean = _fill(short.mean, free, work.parameters.neuron_half_width_px)
    brightness = model.gain * short.scale
    if free.sum() < 10 or np.ptp(mean[free]) == 0:
        return model.gain
    slope, offset = np.polyfit(mean[free], brightness[free], 1)
    line = slope * mean + offset if slope > 0 else np.full_like(mean, brightness[free].mean())
    line = np.maximum(line, 0.1 * max(np.median(line[free]), 1e-30))
    return np.where(short.mask, line / short.scale, 0).astype(np.float32)


def _fill(image: NDArray, known: NDArray[np.bool_], sigma: float) -> Float:
    """Image whose unknown pixels are Gaussian means of known ones around them."""
    weight = ndi.gaussian_filter(known.astype(np.float64), 1.5 * sigma)
    smooth = ndi.gaussian_filter(np.where(known, image, 0).astype(np.float64), 1.5 * sigma)
    overall = image[known].mean() if known.any() else 0
    return np.where(known, image, np.where(weight > 1e-3, smooth / np.maximum(weight, 1e-3), overall))


def _update_traces(work: Work, model: Model, *, denoise: bool = True) -> tuple[Model, NDArray]:
    """Traces and neuropil given footprints and gain; also the noisy traces of the components alone (N, n)."""
    projections = _project(work, model)
    traces = temporal.solve_jointly(projections)
    raw = traces.C
    if denoise and model.n:
        bins = work.acquisition.decay_time_frames / work.short.bin_frames
        traces, _ = temporal.update(projections, traces, order=1, decay_frames=bins, sweeps=1, compute=work.compute)
        raw = temporal.alone(projections, traces)
    centred = traces.C - traces.C.mean(axis=1, keepdims=True)
    return replace(model, C=centred, F=traces.F), raw


def _heard(model: Model) -> sp.csc_array:
    """Footprints, empty for components that explain less than the noise of one pixel in one frame.

    What is regressed on a trace of nearly nothing is noise, nearly infinitely large.
    """
    explained = np.asarray(model.A.astype(np.float64).power(2).sum(axis=0)).ravel() * (model.C**2).sum(axis=1)
    A = sp.csc_array(model.A @ sp.diags_array((explained >= 1).astype(np.float32)), dtype=np.float32)
    A.eliminate_zeros()
    return A


def _update_footprints(work: Work, model: Model) -> Model:
    """Footprints and gain given traces and neuropil. Footprints may come back empty."""
    A, gain = spatial.regress(
        work.short.movie, work.short.mask, _heard(model), model.C, work.tiles, model.F, model.gain, _expected_gain(work,
        model), grow_px=work.grow_px, compute=work.compute,
    )  # fmt: skip
    A = spatial.tidy(A, model.C, work.short.scale, work.short.shape)
    return replace(model, A=A, gain=gain)


def _merge(work: Work, model: Model) -> Model:
    groups = merging.clusters(model.A, model.C, work.parameters.merge_threshold)
    A, C = merging.join(model.A, model.C, groups)
    parents = tuple(tuple(sorted(p for j in group for p in model.parents[j])) for group in groups)
    return replace(model, A=A, C=C, parents=parents)


def _verdicts(work: Work, model: Model, raw: NDArray) -> list[str]:
    """Why each component should go, judged by its footprint and its noisy trace; empty where it stays."""
    search, width = work.search, work.search.half_width
    bright = sp.csc_array(model.A.multiply(work.short.scale.reshape(-1, 1)))
    thin, long = spatial.half_axes(bright, work.short.shape)
    noise_sd = np.maximum(estimate_noise(raw), 1e-12) if model.n else np.ones(0)
    rise = initialization.rises(raw, work.decay, noise_sd) / noise_sd
    thinnest = np.where(_is_cut(work, model.A), 0.5, 1.0) * THINNEST * width
    reasons = []
    for pixels, minor, least, major, height in zip(np.diff(model.A.indptr), thin, thinnest, long, rise, strict=True):
        if search.adaptive and height >= BEYOND_DOUBT * search.least_rise and minor >= ROUND_ENOUGH * major:
            reasons.append("")
        elif pixels < search.least_area:
            reasons.append(f"footprint of {pixels} px is smaller than {search.least_area} px")
        elif minor < least:
            reasons.append(f"footprint with a half-width of {minor:.1f} px is thinner than {least:.1f} px")
        elif major > LONGEST * width:
            reasons.append(f"footprint with a half-length of {major:.1f} px is longer than {LONGEST * width:.1f} px")
        elif search.adaptive and height < search.least_rise:
            reasons.append(f"transients rise {height:.1f} sd above what noise does, less than {search.least_rise:g}")
        else:
            reasons.append("")
    return reasons


def _is_cut(work: Work, A: sp.csc_array) -> NDArray[np.bool_]:
    """Whether each footprint reaches the rim of the valid pixels: only part of the neuron may be seen."""
    rim = work.short.mask & ~ndi.binary_erosion(work.short.mask)
    return np.asarray((A > 0).T @ rim.ravel().astype(np.int64)) > 0


def _residual(work: Work, model: Model, rows: slice, columns: slice) -> Float:
    """What the model leaves of the short movie (n, h, w) within part of the frame."""
    W = work.short.shape[1]
    part = work.short.movie[:, rows, columns]
    pixels = (np.arange(rows.start, rows.stop)[:, None] * W + np.arange(columns.start, columns.stop)).ravel()
    neuropil = work.tiles.evaluate(model.F, rows, columns) if work.tiles.n else np.zeros_like(part)
    neuropil *= model.gain[rows, columns]
    part = np.subtract(part, neuropil, out=neuropil)
    own = sp.csc_array(sp.csr_array(model.A)[pixels])
    near = np.flatnonzero(np.diff(own.indptr))
    if len(near):
        part -= (np.ascontiguousarray(model.C[near].T, np.float32) @ own[:, near].toarray().T).reshape(part.shape)
    return part


def _look(work: Work, model: Model) -> Model:
    """The model with the components that a look at its residual finds."""
    p, shape, search = work.parameters, work.short.shape, work.search
    margin = max(p.patch_overlap_px // 2, 2 * p.neuron_half_width_px + 2)
    grid = patches.grid(shape, _cells(TILE_PX, search.cell[0]), margin)
    rolling = p.rolling_length if p.rolling_sum else 1

    def search_one(tile: patches.Patch) -> tuple[Float, Float]:
        residual, mask = _residual(work, model, tile.rows, tile.columns), work.short.mask[tile.rows, tile.columns]
        return initialization.search_downsampled(
            residual, mask, search, tile.core_within, spatial=p.spatial_downsampling, rolling=rolling
        )

    results = blocks.run(search_one, grid, compute=work.compute, description="looking for neurons", unit="tile")
    A, C = initialization.stitch(results, grid, shape)
    C = C - C.mean(axis=1, keepdims=True)
    parents = (*model.parents, *((model.n + k,) for k in range(A.shape[1])))
    A = sp.csc_array(sp.hstack([model.A, A], format="csc"))
    return replace(model, A=A, C=np.concatenate([model.C, C]), parents=parents)


def _cells(length: int, cell: int) -> int:
    """The whole number of cells nearest to a length, in px."""
    return max(1, round(length / cell)) * cell


def _settle(work: Work, model: Model, *, updates: int = 1) -> Model:
    """Traces, footprints, merging, and removal of what does not hold, in turn."""
    for _ in range(updates):
        model, _ = _update_traces(work, model)
        model = _update_footprints(work, model)
        model = model.select(np.flatnonzero(np.diff(model.A.indptr) > 0))
        model = _merge(work, model)
    model, raw = _update_traces(work, model)
    if work.parameters.initialization == "seeded":
        return model
    reasons = _verdicts(work, model, raw)
    keep = np.array([j for j, reason in enumerate(reasons) if not reason], int)
    return model if len(keep) == model.n else model.select(keep)


def _discover(work: Work, model: Model) -> Model:
    """Rounds of looking and settling until a look finds nothing that stays."""
    for _ in range(MOST_ROUNDS if work.parameters.initialization == "adaptive" else 1):
        more = _look(work, model)
        if more.n == model.n:
            break
        settled = _settle(work, _merge(work, more))
        if settled.n <= model.n:
            break
        model = settled
    return _settle(work, model) if model.n else model


@blocks.one_blas_thread()
def fit(
    movie: blocks.Movie,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
    seeds: NDArray | None = None,
) -> Components:
    """Finds the sources of a motion-corrected movie.

    Args:
        movie: (T, H, W), lazy or not, uint or float, finite inside the mask.
        acquisition: frame rate and decay time of the indicator.
        parameters: how to look.
        compute: what the machine may use; changes no bit of the result.
        valid_mask: (H, W), pixels to use; none: all. No footprint has pixels outside.
        seeds: centres (n, 2) as (y, x) in px or masks (n, H, W), for `initialization: seeded`.

    Returns:
        Components with ids 0 ... N - 1; none where nothing stands out of the noise.

    Raises:
        ValueError: arrays do not fit together, or seeds are missing or not asked for.
    """
    if (seeds is not None) != (parameters.initialization == "seeded"):
        raise ValueError(
            f"`initialization: seeded` needs seeds and only it takes them; initialization is "
            f"`{parameters.initialization}` and seeds are {'given' if seeds is not None else 'missing'}."
        )
    work = _prepare(movie, acquisition, parameters, compute, valid_mask)
    model = _empty(work)
    model = _discover(work, model) if seeds is None else _settle(work, _plant(work, model, seeds))
    return _finish(work, movie, model, np.arange(model.n))


def _plant(work: Work, model: Model, seeds: NDArray) -> Model:
    """The model with the user's seeds as footprints."""
    p, short = work.parameters, work.short
    masks = initialization.seed_footprints(seeds, short.shape, p.neuron_half_width_px)
    A = sp.csc_array(masks.multiply((short.mask / short.scale).reshape(-1, 1)), dtype=np.float32)
    A.eliminate_zeros()
    n = A.shape[1]
    return replace(model, A=A, C=np.zeros((n, work.n_bins)), parents=tuple((j,) for j in range(n)))


@blocks.one_blas_thread()
def refit(
    movie: blocks.Movie,
    components: Components,
    acquisition: Acquisition,
    parameters: ExtractionParameters,
    *,
    compute: Compute,
    valid_mask: NDArray[np.bool_] | None = None,
) -> Components:
    """Updates the components of an earlier result on the whole movie: merge, spatial, temporal, twice.

    Args:
        movie: as in :func:`fit`.
        components: the earlier result, all of it or a selection.
        acquisition: as in :func:`fit`.
        parameters: as in :func:`fit`.
        compute: as in :func:`fit`.
        valid_mask: as in :func:`fit`.

    Returns:
        Components whose lineage says of each earlier component, and of each of the result, what became of it. A
        component that survives keeps its id, a merged one has that of its first parent.
    """
    if components.shape != tuple(movie.shape[1:]):
        raise ValueError(f"The components are of a {components.shape} frame, the movie has {tuple(movie.shape[1:])}.")
    work = _prepare(movie, acquisition, parameters, compute, valid_mask, components.pixel_noise)
    A = sp.csc_array(
        components.footprints.multiply((work.short.mask / work.short.scale).reshape(-1, 1)), dtype=np.float32
    )
    A.eliminate_zeros()
    C, F = np.zeros((A.shape[1], work.n_bins)), np.zeros((work.tiles.n, work.n_bins))
    start = Model(A, C, F, _earlier_gain(work, components), tuple((j,) for j in range(A.shape[1])))
    reasons: dict[int, str] = {}
    start = _drop(start, ["" if n else "no pixel inside the valid mask" for n in np.diff(A.indptr)], reasons)
    model, _ = _update_traces(work, start)
    model = _update_footprints(work, _merge(work, model))  # two in one place would compete for its pixels
    model = _drop(model, _vanished(model), reasons)
    model, raw = _update_traces(work, model)
    model = _drop(model, _verdicts(work, model, raw), reasons)
    model = _merge(work, model)
    model, _ = _update_traces(work, model)
    model = _update_footprints(work, model)
    model = _drop(model, _vanished(model), reasons)
    ids = np.array([components.ids[parents[0]] for parents in model.parents], np.int64)
    lineage = _lineage(components.ids, model, reasons)
    return replace(_finish(work, movie, model, ids), lineage=lineage)


def _earlier_gain(work: Work, components: Components) -> Float:
    """Brightness (H, W) of the neuropil in an earlier result: the sum of its tiles, for the splines sum to 1."""
    tiles, short = components.background_footprints[:, 1:], work.short
    if work.tiles.n == 0 or tiles.shape[1] != work.tiles.n:  # found with other parameters
        return _empty(work).gain
    brightness = np.asarray(tiles.sum(axis=1), np.float32).reshape(short.shape)
    return np.where(short.mask, brightness / short.scale, 0).astype(np.float32)


def _vanished(model: Model) -> list[str]:
    return ["" if n else "footprint vanished" for n in np.diff(model.A.indptr)]


def _drop(model: Model, verdicts: Sequence[str], reasons: dict[int, str]) -> Model:
    """The model without the components that have a reason to go; notes the reason under each of their parents."""
    for parents, reason in zip(model.parents, verdicts, strict=True):
        if reason:
            reasons.update(dict.fromkeys(parents, reason))
    return model.select(np.array([j for j, reason in enumerate(verdicts) if not reason], int))


def _lineage(ids: NDArray, model: Model, reasons: dict[int, str]) -> tuple[LineageEntry, ...]:
    """One entry for each component of the result, and one for each earlier one that is not in it under its own id."""
    entries = []
    for parents in model.parents:
        own, whole = int(ids[parents[0]]), tuple(int(ids[j]) for j in parents)
        if len(parents) == 1:
            entries.append(LineageEntry(own, "kept", whole, "still supported by the movie"))
            continue
        entries.append(LineageEntry(own, "merged", whole, "overlapping footprints, correlated traces"))
        entries += [LineageEntry(k, "removed", (k,), f"merged into {own}") for k in whole[1:]]
    entries += [LineageEntry(int(ids[j]), "removed", (int(ids[j]),), why) for j, why in sorted(reasons.items())]
    return tuple(entries)


def _finish(work: Work, movie: blocks.Movie, model: Model, ids: NDArray) -> Components:
    """Traces at the full frame rate, and the record."""
    short, p = work.short, work.parameters
    root = np.float32(np.sqrt(short.bin_frames))
    A, gain = sp.csc_array(model.A / root), model.gain / root
    weight = np.where(short.mask, 1 / short.noise, 0).astype(np.float32)

    def read(span: slice) -> NDArray:
        frames = np.array(blocks.read(movie, span), np.float32)
        frames[:, ~short.mask] = 0
        frames -= short.mean
        frames *= weight
        return frames

    projections = temporal.project(read, len(movie), A, work.tiles, gain, work.compute)
    traces = temporal.solve_jointly(projections)
    traces, fitted = temporal.update(
        projections, traces, order=p.ar_order, decay_frames=work.acquisition.decay_time_frames, sweeps=_SWEEPS,
        compute=work.compute,
    )  # fmt: skip
    residual = temporal.alone(projections, traces) - traces.C
    return _record(work, A, gain, traces, fitted, residual, ids)


def _record(
    work: Work, A: sp.csc_array, gain: Float, traces: Traces, fitted: Deconvolution, residual: NDArray, ids: NDArray
) -> Components:
    """Everything in the units of the movie, footprints of unit norm."""
    short = work.short
    footprints = sp.csc_array(A.multiply(short.noise.reshape(-1, 1)), dtype=np.float32)
    norms = np.sqrt(np.asarray(footprints.power(2).sum(axis=0), np.float64)).ravel()
    footprints = sp.csc_array(footprints @ sp.diags_array(1 / norms), dtype=np.float32)
    footprints.sort_indices()
    calcium, spikes, residual = (
        np.ascontiguousarray(x * norms[:, None], np.float32) for x in (fitted.calcium, fitted.spikes, residual)
    )
    local = work.tiles.footprints(gain * short.noise)
    resting = _resting_light(work, footprints)
    baseline = resting + fitted.baseline * norms
    if work.parameters.nonnegative_baseline:
        baseline = np.maximum(baseline, 0)
    static = short.mean.ravel() - footprints @ calcium.mean(axis=1) - local @ traces.F.mean(axis=1)
    static = np.maximum(static, 0)
    b, f = _assemble(static, local, traces.F, work.parameters.n_background, calcium.shape[1])
    return Components(
        shape=short.shape,
        ids=np.asarray(ids, np.int64),
        footprints=footprints,
        traces=calcium,
        spikes=spikes,
        residual_traces=residual,
        background_footprints=b,
        background_traces=f,
        baseline=baseline.astype(np.float32),
        noise=(fitted.noise * norms).astype(np.float32),
        ar_coefficients=fitted.g.astype(np.float32),
        lam=(fitted.lam * norms).astype(np.float32),
        pixel_noise=short.noise,
        neuron_half_width_px=work.parameters.neuron_half_width_px,
        provenance={"engine": "embedded", "version": __version__},
    )


def _assemble(
    static: NDArray, local: sp.csc_array, F: NDArray, n_background: int, n_frames: int
) -> tuple[sp.csc_array, Float]:
    """b (H*W, nb) and f (nb, T): the static image first, then the tiles of neuropil."""
    if n_background == 0:
        return sp.csc_array((len(static), 0), dtype=np.float32), np.zeros((0, n_frames), np.float32)
    b = sp.csc_array(
        sp.hstack([sp.csc_array(static[:, None].astype(np.float32)), local], format="csc"), dtype=np.float32
    )
    return b, np.concatenate([np.ones((1, n_frames)), F]).astype(np.float32)


def _resting_light(work: Work, footprints: sp.csc_array) -> NDArray[np.float64]:
    """How much of the mean image each footprint holds above its surroundings, in units of its trace (N,)."""
    short = work.short
    free = short.mask.copy().ravel()
    free[footprints.indices] = False
    excess = short.mean - _fill(short.mean, free.reshape(short.shape), work.parameters.neuron_half_width_px)
    return np.asarray(footprints.T @ excess.ravel(), np.float64)
