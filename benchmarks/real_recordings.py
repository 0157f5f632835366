"""Measures of the embedded engine on real recordings, without ground truth, and contact sheets of what it accepts.

    python -m benchmarks.real_recordings --recording PATH [PATH ...] --frame-rate HZ --decay S [--half-width PX]
                                         [--sheet FOLDER] [--no-halves]

A recording is a TIFF file or a folder of them; frame rate, decay time and half-width hold for all that are given.
Parameters are the defaults otherwise. Prints a Markdown table, one row for each recording:

- accepted components, and how many of them are ragged, thin, nested or duplicates
  (:mod:`rsc2p_kedro.algorithms.evaluation.shape_measures`); of 5900 neurons marked by hand 0.4 % are ragged and 0.1 %
  nested;
- `unexplained`: share of the pixels of high local correlation in no accepted component
  (:mod:`rsc2p_kedro.algorithms.evaluation.unexplained`);
- `1st in 2nd`, `2nd in 1st`: share of the components accepted in one half of the frames that match one accepted in the
  other half (IoU of the masks >= 0.5, one to one; two more extractions, which `--no-halves` leaves out), and `both`,
  twice the number of matches over all accepted in either half;
- `saturates at`: count from which the detector saturates (:mod:`rsc2p_kedro.algorithms.saturation`), and the number of
  accepted components that reach it;
- where `regions.json` lies beside the TIFF file: F1 by centre (5 px) against the annotated cells, and how many of the
  active ones are matched, both as in `benchmarks.accuracy`.

`--sheet` writes contact sheets of all accepted components, the least certain first (by the probability of being a soma
where the engine gives one, else by r_value): mean image, correlation image, mean of the brightest frames of the trace
less that of its darker half with the outline of the component, and the noisy trace.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
from benchmarks.accuracy import compare_with_annotation
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.detector import measure_detector
from rsc2p_kedro.algorithms.evaluation.description import centres
from rsc2p_kedro.algorithms.evaluation.measures import measure_components
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.results import ComponentQuality, Components, DetectorSaturation, MotionCorrection, SummaryImages
from rsc2p_kedro.datasets.raw import read_frames
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.engines.reproducibility import HALVES, half_of, reproducibility_table
from rsc2p_kedro.plots.contact_sheet import contact_sheet, transient_images, windows

COLUMNS = ("recording", "half-width", "components", "accepted", "ragged", "thin", "nested", "duplicate", "unexplained")
COLUMNS += ("1st in 2nd", "2nd in 1st", "both", "saturates at", "F1 (5 px)", "active found", "s")
PER_SHEET, WINDOW_HALF_WIDTHS = 24, 3.5


class Extraction(NamedTuple):
    """Results for one recording."""

    name: str
    raw: NDArray
    corrected: NDArray
    motion: MotionCorrection
    saturation: DetectorSaturation
    images: SummaryImages
    components: Components
    quality: ComponentQuality


def extract_sources(
    movie: da.Array, motion: MotionCorrection, acquisition: Acquisition, half_width: float | None, compute: Compute
) -> tuple[Components, ComponentQuality]:
    """Fit, refit and evaluation of a corrected movie at default parameters."""
    engine = EmbeddedEngine()
    given = {} if half_width is None else {"neuron_half_width_px": half_width}
    parameters = ExtractionParameters.model_validate(given)
    options = {"compute": compute, "valid_mask": motion.valid_mask}
    fit = engine.extract_sources(movie, acquisition, parameters, **options)
    components = engine.extract_sources(movie, acquisition, parameters, **options, earlier=fit)
    return components, engine.evaluate(movie, components, acquisition, EvaluationParameters(), compute=compute)


def process(path: Path, acquisition: Acquisition, half_width: float | None, compute: Compute) -> Extraction:
    """Motion correction, extraction, evaluation and summary images of a recording."""
    raw = read_frames(path).movie
    frames = raw.compute(scheduler="synchronous")
    raw = da.from_array(frames, chunks=(64, -1, -1))
    engine, parameters = EmbeddedEngine(), MotionCorrectionParameters()
    motion = engine.correct_motion(raw, parameters, compute=compute)
    corrected = engine.apply_motion(raw, motion, parameters).compute(scheduler="synchronous")
    movie = da.from_array(corrected, chunks=(64, -1, -1))
    components, quality = extract_sources(movie, motion, acquisition, half_width, compute)
    images = summarize(movie, compute=compute, valid_mask=motion.valid_mask)
    saturation = measure_detector(raw, compute=compute).saturation
    name = path.parent.name if path.stem == "movie" else path.stem
    return Extraction(name, frames, corrected, motion, saturation, images, components, quality)


def halves(
    found: Extraction, acquisition: Acquisition, half_width: float | None, compute: Compute
) -> tuple[float, float, float]:
    """Share of the components accepted in the first half that the second accepts again, the reverse, and of both."""
    movie = da.from_array(found.corrected, chunks=(64, -1, -1))
    parts = [extract_sources(half_of(movie, h), found.motion, acquisition, half_width, compute) for h in HALVES]
    table: pd.DataFrame = reproducibility_table(*parts[0], *parts[1])
    first, second, both = table["share_accepted_again"].tolist()
    return first, second, both


def row_of(path: Path, found: Extraction, shares: tuple[float, float, float] | None, seconds: float) -> str:
    """The row of one recording in the table."""
    accepted, saturation = found.quality.accepted, found.saturation
    rows = measure_components(found.components, accepted, found.images, found.motion.valid_mask, saturation)
    measures = {row.measure: row for row in rows}
    cells = [found.name, str(found.components.neuron_half_width_px), str(len(accepted)), str(accepted.sum())]
    cells += [f"{measures[m].count} ({measures[m].share:.1%})" for m in ("ragged", "thin", "nested", "duplicate")]
    cells.append(f"{measures['unexplained'].share:.2f} of {measures['unexplained'].total} px")
    cells += ["-"] * 3 if shares is None else [f"{share:.3f}" for share in shares]
    level = saturation.level
    cells.append("-" if level is None else f"{level:.0f} ({measures['saturated'].count} components)")
    regions = (path if path.is_dir() else path.parent) / "regions.json"
    if regions.is_file():
        annotated = compare_with_annotation(found.raw, regions, found.components.select(accepted))
        cells += [f"{annotated.f1:.3f} ({annotated.n_matched} of {annotated.n_cells})"]
        cells += [f"{annotated.n_matched_active} of {annotated.n_active}"]
    else:
        cells += ["-", "-"]
    return "| " + " | ".join([*cells, f"{seconds:.0f}"]) + " |"


def write_sheets(found: Extraction, acquisition: Acquisition, folder: Path) -> None:
    """Contact sheets of the accepted components, the least certain first."""
    kept, quality = np.flatnonzero(found.quality.accepted), found.quality
    probabilities = getattr(quality, "class_probabilities", None)  # the soma's is the first
    score, name = (quality.r_value, "r") if probabilities is None else (probabilities[:, 0], "P(soma)")
    kept = kept[np.argsort(score[kept], kind="stable")]
    chosen = found.components.select(kept)
    places = centres(chosen.footprints, chosen.shape)
    half = round(WINDOW_HALF_WIDTHS * (chosen.neuron_half_width_px or 4))
    traces = chosen.traces + chosen.residual_traces
    n_frames = max(round(acquisition.frame_rate_hz * acquisition.decay_time_s), 5)
    snippets = [windows(image, places, half) for image in (found.images.mean, found.images.correlation)]
    snippets.append(transient_images(found.corrected, traces, places, half, n_frames=n_frames))
    folder.mkdir(parents=True, exist_ok=True)
    for page, start in enumerate(range(0, len(kept), PER_SHEET), start=1):
        part = slice(start, start + PER_SHEET)
        labels = [
            f"{chosen.ids[i]}   {name} {score[kept[i]]:.2f}   SNR {quality.snr[kept[i]]:.1f}"
            for i in range(len(kept))[part]
        ]
        figure = contact_sheet(
            [kind[part] for kind in snippets],
            chosen.footprints[:, part],
            chosen.shape,
            places[part],
            traces[part],
            labels,
            frame_rate_hz=acquisition.frame_rate_hz,
            names=("mean", "correlation", "transients"),
            title=f"{found.name}, sheet {page}",
        )
        figure.savefig(folder / f"{found.name}_{page}.png", dpi=90)


def rows(options: argparse.Namespace) -> Iterator[str]:
    """Rows of the table; contact sheets are written as well if a folder is given."""
    compute = Compute(threads=options.threads, show_progress=False)
    acquisition = Acquisition(frame_rate_hz=options.frame_rate, decay_time_s=options.decay)
    for path in options.recording:
        start = time.perf_counter()
        found = process(path, acquisition, options.half_width, compute)
        seconds = time.perf_counter() - start
        shares = halves(found, acquisition, options.half_width, compute) if options.halves else None
        yield row_of(path, found, shares, seconds)
        if options.sheet:
            write_sheets(found, acquisition, options.sheet)


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", type=Path, nargs="+", required=True, metavar="PATH", help="TIFF file or folder")
    parser.add_argument("--frame-rate", type=float, required=True, metavar="HZ")
    parser.add_argument("--decay", type=float, required=True, metavar="S", help="decay time of the indicator")
    parser.add_argument("--half-width", type=float, metavar="PX", help="of a neuron; left out: the engine's default")
    parser.add_argument("--sheet", type=Path, metavar="FOLDER", help="write contact sheets there")
    parser.add_argument("--no-halves", dest="halves", action="store_false", help="without the split-half measure")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|", flush=True)
    for row in rows(options):
        print(row, flush=True)


if __name__ == "__main__":
    main()
