"""Accuracy of the embedded engine on simulated tissue, and how much that tissue resembles real recordings.

    python -m benchmarks.tissue [--movies NAME ...] [--seed 11] [--varied SEED ...] [--masks FOLDER]
                                [--hybrid FOLDER] [--suite2p-python PATH]
    python -m benchmarks.tissue --movies --outlines FOLDER --images FOLDER

The first prints a table. Each movie is made by the project's simulator with `tissue: processes`
(:mod:`rsc2p_kedro.simulation.tissue`); `--list` shows their settings. They differ in kind: large neurons as in the
Allen Brain Observatory with a fast indicator, small ones with a slow indicator and few photons, and dim ones of middle
size among strong processes with a very fast indicator. The engine runs once with its defaults and once with the
half-width of the neurons. `--masks` names the folder of marked neurons (`field_K.npz`): two further movies have the
neurons of a window of fields 1 and 15 instead of drawn ones. `--varied` adds movies in which size and density of the
neurons, indicator, noise, motion and neuropil are drawn from a seed. `--hybrid` names the folder of a real recording
(`movie.tif` and `regions.json`, as for `benchmarks.accuracy`): simulated neurons are planted at places free of marked
cells.

Columns: F1, precision and recall of findable somata (matched-filter SNR of the largest transient of 8 or more; IoU >=
0.5; ROIs on somata out of focus are not counted), and the shares of the accepted ROIs that lie on processes, spots,
pieces of somata, nothing, and somata out of focus, and that match no soma though they lie on one.

`--outlines` compares drawn outlines with those of the marked neurons, for the fields that the constants of
:mod:`rsc2p_kedro.simulation.outlines` were fitted to (0, 2, 4, 10, 12, 14) and for those held out (1, 3, 5, 11, 13,
15). `--images` compares movies of the crop's density with the crop: slopes of the spatial power spectrum, and
percentiles of the correlation of each pixel with its eight neighbours, over single frames and means of eight.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi
import tifffile
from benchmarks.accuracy import Scenario, run_programs
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.simulation import hybrid
from rsc2p_kedro.simulation.movie import SimulatedRecording, simulate
from rsc2p_kedro.simulation.object_scores import score_objects
from rsc2p_kedro.simulation.outlines import (
    OutlineStatistics,
    draw_outlines,
    masks_in_frame,
    outline_statistics,
    overlap_fractions,
    place_outlines,
)
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import correlations, intersection_over_union, match_footprints
from rsc2p_kedro.simulation.varied import draw_tissue_settings

SIZE = {"n_frames": 1500, "height_px": 256, "width_px": 256, "tissue": "processes"}
LARGE = {"n_neurons": 80, "neuron_radius_px": 7.5, "overlap_share": 0.45, "photons": 12.0}
SMALL = {"n_neurons": 90, "neuron_radius_px": 4.8, "overlap_share": 0.09, "photons": 4.0, "rise_time_s": 0.15}
DIM = {"n_neurons": 80, "neuron_radius_px": 6.0, "overlap_share": 0.25, "photons": 5.0, "amplitude": 0.15}
DIM |= {"process_strength": 1.5, "axial_amplitude": 1.5, "bleaching": 0.25, "rise_time_s": 0.03, "burst_rate_hz": 0.12}
SCENARIOS = {
    "large neurons, GCaMP6f": Scenario(SIZE | LARGE, frame_rate_hz=15.0, decay_time_s=0.4, half_width_px=7),
    "small neurons, GCaMP6s": Scenario(
        SIZE | SMALL, frame_rate_hz=7.0, decay_time_s=1.2, half_width_px=5, tau_s=1.25, diameter_px=10.0
    ),
    "dim neurons, fast indicator": Scenario(SIZE | DIM, frame_rate_hz=30.0, decay_time_s=0.25, half_width_px=6),
}
MARKED = {1: "large neurons, GCaMP6f", 15: "small neurons, GCaMP6s"}
"""Fields whose neurons are planted, and the scenario of the rest of each movie."""
COLUMNS = {
    "n_findable": "findable",
    "n_rois": "accepted",
    "f1_findable": "F1",
    "precision": "precision",
    "recall_findable": "recall",
    "on_process": "process",
    "on_spot": "spot",
    "on_piece": "piece",
    "on_nothing": "nothing",
    "on_out_of_focus": "out of focus",
    "duplicates": "unmatched on somata",
    "seconds": "s",
}
FITTED, HELD_OUT = (0, 2, 4, 10, 12, 14), (1, 3, 5, 11, 13, 15)
PERCENTILES = (1, 5, 25, 50, 75, 95)
N_PLANTED = 12


def acquisition_of(scenario: Scenario) -> Acquisition:
    """The facts of a scenario that the simulator needs."""
    return Acquisition(frame_rate_hz=scenario.frame_rate_hz, decay_time_s=scenario.decay_time_s)


def whole_masks(folder: Path, field: int) -> NDArray[np.bool_]:
    """The marked neurons (N, H, W) of a field that do not touch its border and have more than 15 px."""
    with np.load(folder / f"field_{field}.npz") as arrays:
        masks = arrays["masks"].astype(bool)
    border = masks[:, [0, -1]].any(axis=(1, 2)) | masks[:, :, [0, -1]].any(axis=(1, 2))
    return masks[~border & (masks.sum(axis=(1, 2)) > 15)]


def windowed_masks(folder: Path, field: int, side: int) -> NDArray[np.bool_]:
    """The marked neurons (N, side, side) that lie whole in a window in the middle of a field."""
    masks = whole_masks(folder, field)
    low = (np.array(masks.shape[1:]) - side) // 2
    window = masks[:, low[0] : low[0] + side, low[1] : low[1] + side]
    return window[window.sum(axis=(1, 2)) == masks.sum(axis=(1, 2))]


def recordings(options: argparse.Namespace) -> Iterator[tuple[str, Scenario, SimulatedRecording]]:
    """Name, scenario and recording of each simulated movie."""
    for name in options.movies:
        settings = SimulationSettings.model_validate(SCENARIOS[name].settings | {"seed": options.seed})
        yield name, SCENARIOS[name], simulate(settings, acquisition_of(SCENARIOS[name]))
    for field, name in MARKED.items() if options.masks else ():
        masks, scenario = windowed_masks(options.masks, field, SIZE["height_px"]), SCENARIOS[name]
        half_width = round(float(np.median(outline_statistics(masks).radius)))
        settings = SimulationSettings.model_validate(
            scenario.settings | {"seed": options.seed + 1, "neuron_radius_px": half_width}
        )
        scenario = dataclasses.replace(scenario, half_width_px=half_width)
        title = f"marked outlines of field {field}"
        yield title, scenario, simulate(settings, acquisition_of(scenario), masks=masks)


def varied_recordings(seeds: list[int]) -> Iterator[tuple[str, Scenario, SimulatedRecording]]:
    """Name, scenario and recording of movies whose settings are all drawn."""
    for seed in seeds:
        settings, acquisition = draw_tissue_settings(seed)
        radius = settings.neuron_radius_px
        scenario = Scenario(
            frame_rate_hz=acquisition.frame_rate_hz,
            decay_time_s=acquisition.decay_time_s,
            half_width_px=round(radius),
            diameter_px=2 * radius,
        )
        yield f"varied, seed {seed}", scenario, simulate(settings, acquisition)


def simulated_rows(options: argparse.Namespace, compute: Compute) -> Iterator[str]:
    """Rows of the table, one for each movie, program and size that the program is given."""
    for name, scenario, recording in chain(recordings(options), varied_recordings(options.varied)):
        for size in (None, scenario.half_width_px):
            given = dataclasses.replace(scenario, half_width_px=size)
            python, start = options.suite2p_python if size is None else None, time.perf_counter()
            for program, result in run_programs(recording.movie, given, python, compute):
                accepted = result.components.select(result.accepted).footprints
                scores = score_objects(recording.truth, recording.objects, accepted)
                values = {row.measure: f"{row.value:.3f}" for row in scores}
                values |= {row.measure: f"{row.value:.0f}" for row in scores[:2]}
                values["seconds"] = f"{time.perf_counter() - start:.0f}"
                size_given = "default" if size is None else size
                yield f"| {name} | {program} | {size_given} | " + " | ".join(values[c] for c in COLUMNS) + " |"


def plant_in(movie: NDArray, marked: NDArray[np.bool_], seed: int, acquisition: Acquisition) -> hybrid.HybridRecording:
    """A real movie (T, H, W) with simulated neurons of different SNR at places free of the marked cells (H, W)."""
    rng = np.random.default_rng([seed, 300])
    free = ndi.distance_transform_edt(~np.pad(marked, 1, constant_values=True))[1:-1, 1:-1] > 7
    outlines = draw_outlines(rng, N_PLANTED, 5.2)
    masks = masks_in_frame(outlines, place_outlines(rng, outlines, free, 0.0), marked.shape)
    settings = SimulationSettings.model_validate(
        {"seed": seed, "n_frames": len(movie), "quiet_share": 0.0, "amplitude": 0.08, "rise_time_s": 0.1}
    )
    return hybrid.plant(movie, hybrid.draw_planted(masks, settings, acquisition), seed=seed)


def hybrid_lines(folder: Path, seeds: range, compute: Compute) -> Iterator[str]:
    """What the embedded engine finds of simulated neurons in a real recording, over several hybrid movies."""
    movie = tifffile.imread(folder / "movie.tif")
    marked = np.zeros(movie.shape[1:], bool)
    for region in json.loads((folder / "regions.json").read_text(encoding="utf-8")):
        marked[tuple(np.transpose(region["coordinates"]))] = True
    scenario = Scenario(frame_rate_hz=7.0, decay_time_s=1.0)
    recordings = [plant_in(movie, marked, seed, acquisition_of(scenario)) for seed in seeds]
    n_findable = sum(len(recording.objects.findable) for recording in recordings)
    for size in (None, 5):
        matches: list[tuple[float, float]] = []
        for recording in recordings:
            given = dataclasses.replace(scenario, half_width_px=size)
            ((_, result),) = run_programs(recording.movie, given, None, compute)
            accepted, truth = result.components.select(result.accepted), recording.truth
            iou = intersection_over_union(truth.footprints, accepted.footprints)
            rows, columns = match_footprints(iou)
            findable = np.isin(rows, recording.objects.findable)
            rows, columns = rows[findable], columns[findable]
            matches += zip(iou[rows, columns], correlations(truth.traces[rows], accepted.traces[columns]), strict=True)
        iou_median, trace_median = np.median(matches, axis=0)
        yield (
            f"hybrid on {folder.name}, half-width {size or 'default'}: {len(matches)} of {n_findable} findable neurons "
            f"found, {N_PLANTED * len(seeds)} planted; median IoU {iou_median:.2f}, trace correlation "
            f"{trace_median:.3f}"
        )


def describe(statistics: OutlineStatistics, relative_radius: NDArray) -> str:
    """Percentiles of solidity and axis ratio, and the spread of radii, in one line."""
    solidity, ratio = (
        " ".join(f"{x:.3f}" for x in np.percentile(values, PERCENTILES))
        for values in (statistics.solidity, statistics.axis_ratio)
    )
    return f"solidity {solidity} | axis ratio {ratio} | log radius sd {np.log(relative_radius).std():.3f}"


def outline_lines(folder: Path) -> Iterator[str]:
    """Statistics of marked and of drawn outlines, fitted and held-out fields."""
    yield f"percentiles {PERCENTILES}"
    for title, fields in (("fitted", FITTED), ("held out", HELD_OUT)):
        marked: list[OutlineStatistics] = []
        drawn: list[OutlineStatistics] = []
        for field in fields:
            masks, rng = whole_masks(folder, field), np.random.default_rng(field)
            marked.append(outline_statistics(masks))
            outlines = draw_outlines(rng, len(masks), float(np.median(marked[-1].radius)))
            drawn.append(outline_statistics(outlines))
            real = overlap_fractions(masks)
            places = place_outlines(rng, outlines, np.ones(masks.shape[1:], bool), float((real > 0).mean()))
            made = overlap_fractions(masks_in_frame(outlines, places, masks.shape[1:]))
            yield (
                f"field {field} ({title}): median radius {np.median(marked[-1].radius):.2f} marked, "
                f"{np.median(drawn[-1].radius):.2f} drawn; solidity {np.median(marked[-1].solidity):.3f}, "
                f"{np.median(drawn[-1].solidity):.3f}; overlapping {(real > 0).mean():.2f}, {(made > 0).mean():.2f}; "
                f"by more than a fifth {(real > 0.2).mean():.3f}, {(made > 0.2).mean():.3f}"
            )
        for name, parts in (("marked", marked), ("drawn", drawn)):
            relative = np.concatenate([part.radius / np.median(part.radius) for part in parts])
            pooled = OutlineStatistics(*(np.concatenate(values) for values in zip(*parts, strict=True)))
            yield f"{title}, {name}: {describe(pooled, relative)}"


class ImageStatistics(NamedTuple):
    """Statistics of a movie's images.

    Attributes:
        mean_slope: slope of the power spectrum of the mean image, log power over log frequency, 0.02 to 0.4 per px.
        max_slope: the same of the maximum image.
        correlation: percentiles of each pixel's correlation with its eight neighbours.
        correlation_of_8: the same over means of eight frames.
    """

    mean_slope: float
    max_slope: float
    correlation: NDArray
    correlation_of_8: NDArray


def spectrum_slope(image: NDArray) -> float:
    """Slope of the log of radially averaged power over the log of frequency, between 0.02 and 0.4 per px."""
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1]))
    edges = np.geomspace(0.02, 0.4, 13)
    inside = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    means = [power[ring].mean() for ring in inside]
    return float(np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(means), 1)[0])


def local_correlation(movie: NDArray) -> NDArray[np.float64]:
    """Mean correlation of each inner pixel of a movie (T, H, W) with its eight neighbours."""
    scaled = (movie - movie.mean(axis=0)) / np.maximum(movie.std(axis=0), 1e-9)
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return np.mean([(scaled * np.roll(scaled, step, axis=(1, 2))).mean(axis=0) for step in steps], axis=0)[1:-1, 1:-1]


def image_statistics(movie: NDArray) -> ImageStatistics:
    """Statistics of a movie (T, H, W) in counts."""
    movie = movie.astype(np.float32)
    of_8 = movie[: len(movie) // 8 * 8].reshape(-1, 8, *movie.shape[1:]).mean(axis=1)
    percentiles = [np.percentile(local_correlation(m), (5, 25, 50, 75, 95, 99)) for m in (movie, of_8)]
    return ImageStatistics(spectrum_slope(movie.mean(axis=0)), spectrum_slope(movie.max(axis=0)), *percentiles)


def image_lines(folder: Path, seeds: range) -> Iterator[str]:
    """Statistics of the images of a real recording and of movies of its density, noise and indicator."""
    like = {"tissue": "processes", "n_neurons": 41, "neuron_radius_px": 4.8, "overlap_share": 0.15, "photons": 3.2}
    like |= {"gain": 139.0, "offset": 0.0, "read_noise": 20.0, "rise_time_s": 0.15, "vignetting": 0.3, "n_vessels": 1}
    like |= {"motion": "walk", "rigid_amplitude_px": 0.6, "warp_amplitude_px": 0.3}
    movies = {folder.name: tifffile.imread(folder / "movie.tif")}
    for seed in seeds:
        settings = SimulationSettings.model_validate(like | {"seed": seed})
        movies[f"seed {seed}"] = simulate(settings, Acquisition(frame_rate_hz=7, decay_time_s=1)).movie.compute()
    for name, movie in movies.items():
        found = image_statistics(movie)
        texts = [" ".join(f"{x:.3f}" for x in part) for part in (found.correlation, found.correlation_of_8)]
        slopes = f"slopes {found.mean_slope:.2f} (mean) {found.max_slope:.2f} (maximum)"
        yield f"{name}: {slopes}; neighbours' correlation, percentiles 5 25 50 75 95 99: {texts[0]}; of 8: {texts[1]}"


def main() -> None:
    """Reads the command line and prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", nargs="*", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the movies and stop")
    parser.add_argument("--seed", type=int, default=11, help="of the simulation")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--masks", type=Path, metavar="FOLDER", help="marked neurons to plant in simulated tissue")
    parser.add_argument("--varied", type=int, nargs="*", default=[], metavar="SEED", help="movies of drawn settings")
    parser.add_argument("--hybrid", type=Path, metavar="FOLDER", help="a real recording to plant neurons in")
    parser.add_argument("--outlines", type=Path, metavar="FOLDER", help="marked neurons to compare outlines with")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="a real recording to compare images with")
    parser.add_argument("--suite2p-python", metavar="PATH", help="interpreter of an environment with Suite2p")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name}: {scenario}" for name, scenario in SCENARIOS.items()))
        return
    compute = Compute(threads=options.threads, show_progress=False)
    for line in outline_lines(options.outlines) if options.outlines else ():
        print(line, flush=True)
    for line in image_lines(options.images, range(1, 6)) if options.images else ():
        print(line, flush=True)
    if options.movies or options.masks or options.varied:
        print("| movie | program | half-width | " + " | ".join(COLUMNS.values()) + " |")
        print("|---" * (len(COLUMNS) + 3) + "|", flush=True)
    for line in simulated_rows(options, compute):
        print(line, flush=True)
    for line in hybrid_lines(options.hybrid, range(options.seed, options.seed + 3), compute) if options.hybrid else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
