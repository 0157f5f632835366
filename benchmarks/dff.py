"""dF/F against the truth whatever the dark level of the detector, and the detector's measured response.

    python -m benchmarks.dff slopes [--scenes NAME ...] [--made FOLDER ...] [--figure dff_offsets.png]
    python -m benchmarks.dff detector [--made FOLDER ...] [--real FILE ...]
    python -m benchmarks.dff neuropil

`slopes`: the slope of dF/F over the true dF/F (transients over all light under the footprint), median and 10th to 90th
percentile over the cells of each movie, with its dark level moved to different counts, also negative ones (stored as
int16). `uint16, cut at 0` stores negative values as 0, as some programs do. The components are extracted anew from each
version of a movie.

`detector`: error of the dark level in units of the light of the typical pixel, beside the standard error that is told,
of simulated movies of both kinds of tissue with motion, and of the same movies with the faults of real ones. FOLDER
holds `movie.tif` and `truth.npz` of another simulator (gain 20, read noise 12, dark level 100). FILE is a real movie:
its dark level is told, and how it moves when a constant is added to all pixels.

`neuropil`: contamination ratio, known by construction, and the slope of dF/F over that of the cell alone, without
correction, with 0.7 for all cells, and estimated.

Settings are drawn by seeds that were not used to choose any constant (those had seeds below 4000).
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
import tifffile
from numpy.typing import NDArray

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.algorithms.detector import measure_detector
from rsc2p_kedro.algorithms.dff import choose_dark_level, component_dff
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import Components, DetectorResponse
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation.movie import draw_canvas, draw_scene, draw_truth, render, simulate
from rsc2p_kedro.simulation.settings import MotionKind, SimulationSettings
from rsc2p_kedro.simulation.tissue import draw_tissue_scene
from rsc2p_kedro.simulation.truth import intersection_over_union, match_footprints
from rsc2p_kedro.simulation.varied import draw_tissue_settings

COMPUTE, ACQUISITION = Compute(threads=2, show_progress=False), Acquisition(frame_rate_hz=14.7)
EXTRACTION = ExtractionParameters(neuron_half_width_px=5)
"""The size is given, so that a wrong one that is found does not stand for an error of dF/F."""
OFFSETS = (-1000, -200, -50, -20, 0, 40, 1000, 32768, 40000)
"""Dark levels in counts that movies are moved to."""
MADE_OFFSET, MADE_GAIN = 100.0, 20.0
"""Dark level and gain of the other simulator's movies."""
STILL = {"n_frames": 800, "height_px": 128, "width_px": 128, "motion": "none", "warp_amplitude_px": 0.0}
SCENES: dict[str, dict] = {
    "smooth, 2 photons": {"seed": 4001, "photons": 2.5, "gain": 40.0, "read_noise": 12.0},
    "smooth, 12 photons": {"seed": 4002, "photons": 12.0, "gain": 20.0, "read_noise": 12.0},
    "smooth, 12 photons, bleaching 55 %": {"seed": 4003, "photons": 12.0, "gain": 20.0, "bleaching": 0.55},
    "smooth, 50 photons": {"seed": 4004, "photons": 50.0, "gain": 8.0, "read_noise": 6.0},
    "tissue, 6 photons": {"seed": 4005, "photons": 6.0, "gain": 30.0, "read_noise": 10.0, "tissue": "processes"},
    "tissue, 25 photons": {"seed": 4006, "photons": 25.0, "gain": 12.0, "read_noise": 8.0, "tissue": "processes"},
}
Truth = tuple[NDArray, NDArray]
"""Footprints (pixels, N) and true dF/F (N, T)."""
MOTIONS: tuple[MotionKind, ...] = ("walk", "jerks", "shear", "drift")


def true_dff(settings: SimulationSettings) -> Truth:
    """Footprints and transients over all light under the footprint, of a simulated movie without motion."""
    if settings.tissue == "smooth":
        scene, spikes = draw_scene(settings, ACQUISITION)
    else:
        scene, spikes = draw_tissue_scene(settings, ACQUISITION, draw_canvas(settings))
    truth = draw_truth(scene, spikes, ACQUISITION)
    A = truth.footprints.toarray().astype(np.float64)
    rest = scene.rest[: A.shape[1]]
    f0 = (A * (truth.background.ravel()[:, None] + A * rest)).sum(axis=0) / (A * A).sum(axis=0)
    return A, truth.traces / f0[:, None]


def slopes(components: Components, dff: NDArray, truth: Truth) -> NDArray:
    """Slope of dF/F over the true one, of each true cell that was found and is active."""
    true, own = match_footprints(intersection_over_union(sp.csc_array(truth[0]), components.footprints))
    measured = dff[own].astype(float) - dff[own].mean(axis=1, keepdims=True)
    expected = truth[1][true] - truth[1][true].mean(axis=1, keepdims=True)
    power = (expected**2).sum(axis=1)
    active = power > 0.1 * np.median(power)
    return (measured * expected).sum(axis=1)[active] / power[active]


def moved(movie: NDArray, by: int, *, cut: bool = False) -> NDArray:
    """A movie with a constant added, in the smallest dtype that holds it; with negative values cut off if asked."""
    counts = movie.astype(np.int64) + by
    if cut:
        return np.clip(counts, 0, None).astype(np.uint16)
    return counts.astype(np.uint16 if counts.min() >= 0 else np.int16 if counts.max() < 2**15 else np.int32)


def extract(movie: NDArray, *, moves: bool = False) -> Components:
    """Components of the right size, after motion correction if the movie moves."""
    if not moves:
        return extraction.fit(movie, ACQUISITION, EXTRACTION, compute=COMPUTE)
    engine, lazy = EmbeddedEngine(), da.from_array(movie, chunks=(64, -1, -1))
    parameters = MotionCorrectionParameters()
    motion = engine.correct_motion(lazy, parameters, compute=COMPUTE)
    corrected = engine.apply_motion(lazy, motion, parameters).compute(scheduler="synchronous")
    options = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    return engine.extract_sources(corrected, ACQUISITION, EXTRACTION, **options)


def dff_of(movie: NDArray, components: Components) -> tuple[NDArray, float | None]:
    """dF/F as the pipeline computes it, and the error of its scale (two standard errors); None if it is unknown."""
    response = measure_detector(movie, compute=COMPUTE).response
    level, error, _ = choose_dark_level(None, response)
    result = component_dff(components, ACQUISITION, EvaluationParameters(dff_dark_level=level))
    return result.dff, None if error is None else 2 * error / (response.typical_level - level)


def made_truth(folder: Path) -> Truth:
    """Footprints and true dF/F of a movie of the other simulator."""
    with np.load(folder / "truth.npz") as t:
        A = t["A"].reshape(-1, t["A"].shape[-1]).astype(np.float64)
        light, amplitude, calcium, rest = t["bg_mean"].ravel(), t["amp"], t["C"], t["F0"]
    calcium = calcium.T if calcium.shape[0] != A.shape[1] else calcium
    f0 = (A * (light[:, None] + A * rest)).sum(axis=0) / np.maximum((A * A).sum(axis=0), 1e-9)
    return A, amplitude[:, None] * calcium / f0[:, None]


def scenes(names: list[str], folders: list[Path]) -> Iterator[tuple[str, NDArray, float, Truth]]:
    """Name, movie, dark level and truth of each movie."""
    for name in names:
        scene = SCENES[name]
        settings = SimulationSettings.model_validate({**STILL, "n_neurons": 22, "offset": 200.0} | scene)
        movie = simulate(settings, ACQUISITION).movie.compute(scheduler="threads")
        yield name, movie, settings.offset, true_dff(settings)
    for folder in folders:
        yield f"other simulator, {folder.name}", tifffile.imread(folder / "movie.tif"), MADE_OFFSET, made_truth(folder)


def print_slopes(names: list[str], folders: list[Path], figure: Path) -> None:
    """The table of slopes, and a figure of them over the dark levels."""
    cut = {f"{level}, cut at 0": level for level in (-50, 0)}
    labels = [*map(str, OFFSETS), *cut]
    medians: dict[str, list[float]] = {}
    rows: dict[str, list[str]] = {}
    for name, movie, offset, truth in scenes(names, folders):
        versions = [moved(movie, target - round(offset)) for target in OFFSETS]
        versions += [moved(movie, level - round(offset), cut=True) for level in cut.values()]
        for label, version in zip(labels, versions, strict=True):
            components = extract(version, moves=name.startswith("other"))
            dff, off = dff_of(version, components)
            found = slopes(components, dff, truth)
            low, middle, high = np.percentile(found, [10, 50, 90]) if len(found) else (np.nan,) * 3
            told = "unknown" if off is None else f"±{off:.0%}"
            print(f"{name}, {label}: {middle:.2f} ({low:.2f}-{high:.2f}), told {told}", flush=True)
            medians.setdefault(name, []).append(float(middle))
            rows.setdefault(name, []).append(f"{middle:.2f} {told}")
    print(f"\n| movie | {' | '.join(labels)} |\n|{'---|' * (len(labels) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(row)} |")
    draw(medians, figure)


def draw(medians: dict[str, list[float]], path: Path) -> None:
    """Slope over the dark level, one line a movie."""
    plot, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, values in medians.items():
        ax.plot(range(len(OFFSETS)), values[: len(OFFSETS)], "o-", ms=4, lw=1, label=name)
    ax.axhspan(0.9, 1.1, color="0.9", zorder=0)
    ax.set_xticks(range(len(OFFSETS)), [f"{o}" for o in OFFSETS])
    ax.set(xlabel="dark level (counts)", ylabel="slope of dF/F over the true one", ylim=(0, 2))
    ax.legend(fontsize=7, ncols=2, frameon=False)
    plot.savefig(path, dpi=130)


def moving_movies() -> Iterator[tuple[str, NDArray, SimulationSettings]]:
    """Movies with motion: tissue and smooth, 2 to 50 photons, gains of 5 to 150 and read noise of 2 to 30 counts."""
    for seed in range(4101, 4113):
        settings, acquisition = draw_tissue_settings(seed, n_frames=500, side_px=160)
        if seed % 2:
            kept = ("photons", "gain", "read_noise", "bleaching", "neuropil_strength", "vignetting")
            values = {name: getattr(settings, name) for name in kept} | {"motion": MOTIONS[seed % 4]}
            size = {"seed": seed, "n_frames": 500, "height_px": 160, "width_px": 160, "n_neurons": 40}
            settings, acquisition = SimulationSettings.model_validate(size | values), ACQUISITION
        settings = settings.model_copy(update={"offset": 300.0})
        yield settings.tissue, simulate(settings, acquisition).movie.compute(scheduler="threads"), settings


Fault = Callable[[NDArray, float, float, np.random.Generator], NDArray]
"""Movie, its dark level, its read noise and a random generator -> the movie with a fault."""


def _border(movie: NDArray, dark: float, read: float, rng: np.random.Generator) -> NDArray:
    faulty = movie.copy()
    for frame in faulty:
        top, bottom, left, right = rng.integers(0, 12, 4)
        frame[:top], frame[len(frame) - bottom :], frame[:, :left], frame[:, frame.shape[1] - right :] = 0, 0, 0, 0
    return faulty


def _shutter(movie: NDArray, dark: float, read: float, rng: np.random.Generator) -> NDArray:
    faulty = movie.copy()
    faulty[60:90] = np.rint(rng.normal(dark, max(read, 1), faulty[60:90].shape))
    return faulty


def _trials(movie: NDArray, dark: float, read: float, rng: np.random.Generator) -> NDArray:
    gain = np.repeat([1.0, 1.5, 0.7, 1.0], -(-len(movie) // 4))[: len(movie), None, None]
    return np.rint((movie - dark) * gain + dark).astype(np.int32)


def _registered(movie: NDArray, dark: float, read: float, rng: np.random.Generator) -> NDArray:
    shifts = ndi.gaussian_filter1d(rng.normal(0, 6, (len(movie), 2)), 10, axis=0)
    return np.stack(
        [ndi.shift(f.astype(np.float32), s, order=1, mode="constant") for f, s in zip(movie, shifts, strict=True)]
    )


def _summed(movie: NDArray, dark: float, read: float, rng: np.random.Generator) -> NDArray:
    return (movie[0::2].astype(np.int32) + movie[1::2]) / 2


FAULTS: dict[str, Fault] = {
    "none": lambda movie, *_: movie,
    "black border that changes": _border,
    "30 shuttered frames": _shutter,
    "trials of gain 1, 1.5, 0.7": _trials,
    "interpolated (bilinear)": _registered,
    "mean of 2 frames": _summed,
    "saturated at the 95th percentile": lambda movie, *_: np.minimum(movie, int(np.percentile(movie[::9], 95))),
    "dark level -50, cut at 0": lambda movie, dark, *_: moved(movie, -50 - round(dark), cut=True),
}


def print_detector(folders: list[Path], files: list[Path]) -> None:
    """The tables of dark levels and gains."""
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in FAULTS}
    unknown = dict.fromkeys(FAULTS, 0)
    movies = [*moving_movies(), *((f.name, tifffile.imread(f / "movie.tif"), None) for f in folders)]
    for name, movie, settings in movies:
        dark, gain = (MADE_OFFSET, MADE_GAIN) if settings is None else (settings.offset, settings.gain)
        light = float(np.median(movie[::10].mean(axis=0))) - dark
        read = 12.0 if settings is None else settings.read_noise
        for fault, spoil in FAULTS.items():
            true_dark = -50 + dark - round(dark) if "cut" in fault else dark
            true_gain = gain / 2 if "mean" in fault else gain
            response = measure_detector(spoil(movie, dark, read, np.random.default_rng(1)), compute=COMPUTE).response
            line = f"{name} {fault}: light {light:.0f} counts, {light / gain:.1f} photons, read noise {read:.0f}"
            if response.dark_level is None:
                unknown[fault] += 1
                print(f"{line}: unknown", flush=True)
                continue
            error, told = (response.dark_level - true_dark) / light, response.dark_level_error / light
            ratio = np.nan if response.gain is None else response.gain / true_gain
            rows[fault].append((error, told, ratio))
            print(f"{line}: error {error:+.3f}, told {told:.3f}, gain {ratio:.3f} of the true one", flush=True)
    print("\n| fault | movies | unknown | median error | largest, told | within 2 errors | gain |")
    print("|---|---|---|---|---|---|---|")
    for fault, values in rows.items():
        if values:
            error, told, ratio = np.array(values).T
            worst = int(np.abs(error).argmax())
            gains = "-" if np.isnan(ratio).all() else f"{np.nanmin(ratio):.2f} to {np.nanmax(ratio):.2f}"
            print(
                f"| {fault} | {len(values) + unknown[fault]} | {unknown[fault]} | {np.median(np.abs(error)):.1%} "
                f"| {error[worst]:+.1%}, ±{told[worst]:.1%} | {(np.abs(error) < 2 * told).mean():.0%} | {gains} |"
            )
    for file in files:
        print_real(file)


def print_real(file: Path) -> None:
    """Response of a real movie, and whether it moves with a constant."""
    movie = tifffile.imread(file)
    plain = measure_detector(movie, compute=COMPUTE).response
    print(f"{file.name}: {words(plain)}")
    for by in (-1000, 1000, 32768):
        response = measure_detector(moved(movie, by), compute=COMPUTE).response
        same = response.dark_level is not None and plain.dark_level is not None
        print(
            f"  {by:+d}: {words(response)}; moved by {response.dark_level - plain.dark_level if same else np.nan:.6g}"
        )


def words(response: DetectorResponse) -> str:
    """Dark level, gain and photons with their errors."""
    if response.dark_level is None:
        return f"dark level unknown, typical level {response.typical_level:.0f}"
    light = response.typical_level - response.dark_level
    told = f"dark level {response.dark_level:.1f} ± {response.dark_level_error:.1f}, light {light:.0f}"
    if response.gain is None:
        return told
    return f"{told}, gain {response.gain:.2f} ± {response.gain_error:.2f}, {light / response.gain:.1f} photons"


def print_neuropil() -> None:
    """Contamination ratios, and slopes of dF/F over that of the cells alone.

    The true ratio is the mean over a footprint, at whose rim the cell displaces less neuropil than in its middle.
    """
    print("| true ratio | estimated, median (10-90 %) | slope without | slope with 0.7 | slope with estimate |")
    print("|---|---|---|---|---|")
    for seed, ratio in ((4201, 0.3), (4202, 0.5), (4203, 0.7), (4204, 0.9)):
        settings = SimulationSettings.model_validate(
            {**STILL, "n_neurons": 22, "seed": seed, "photons": 20.0, "neuropil_strength": 2.0, "overlap_share": 0.0}
        )
        scene, spikes = draw_scene(settings, ACQUISITION)
        covered = np.asarray(scene.footprints.sum(axis=1)).ravel().clip(0, 1)
        left = (1 - (1 - ratio) * covered).astype(np.float32)
        # Enough light of its own for a cell that is as bright as its surroundings when it displaces the neuropil.
        scene = replace(
            scene,
            background=scene.background * left,
            neuropil=scene.neuropil * left,
            rest=(scene.rest + 1 - ratio).astype(np.float32),
        )
        truth = draw_truth(scene, spikes, ACQUISITION)
        movie = render(scene, truth, slice(0, settings.n_frames))
        components, A = extract(movie), truth.footprints.toarray()
        alone = truth.traces / scene.rest[:, None]
        level = measure_detector(movie, compute=COMPUTE).response.dark_level
        cells, found = [], np.zeros(0)
        for wanted in (None, 0.7, "estimate"):
            parameters = EvaluationParameters(dff_dark_level=level, dff_neuropil=wanted)
            result = component_dff(components, ACQUISITION, parameters)
            cells.append(f"{np.median(slopes(components, result.dff, (A, alone))):.2f}")
            if wanted == "estimate" and result.neuropil_fraction is not None:
                own = match_footprints(intersection_over_union(truth.footprints, components.footprints))[1]
                found = result.neuropil_fraction[own]
        low, middle, high = np.percentile(found, [10, 50, 90])
        squares = A.astype(np.float64) ** 2
        true = np.median(
            (squares * scene.canvas.crop_rows(sp.csc_array(left[:, None])).toarray()).sum(axis=0) / squares.sum(axis=0)
        )
        print(f"| {true:.2f} | {middle:.2f} ({low:.2f}-{high:.2f}) | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Reads the command line and runs one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=("slopes", "detector", "neuropil"))
    parser.add_argument(
        "--scenes", nargs="*", default=list(SCENES), choices=SCENES, help="simulated movies of `slopes`"
    )
    parser.add_argument("--made", type=Path, nargs="*", default=[], help="folders of the other simulator's movies")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="real movies")
    parser.add_argument("--figure", type=Path, default=Path("dff_offsets.png"))
    options = parser.parse_args()
    if options.measurement == "slopes":
        print_slopes(options.scenes, options.made, options.figure)
    elif options.measurement == "detector":
        print_detector(options.made, options.real)
    else:
        print_neuropil()


if __name__ == "__main__":
    main()
