"""How well the same neurons are found over sessions, and what it costs.

    python -m benchmarks.tracking extracted [--seeds 1 2] [--neurons 60 150] [--sessions 2 4] [--turnover 0.2 0.5]
                                          [--side 256] [--frames 600]
    python -m benchmarks.tracking drawn [--seeds 1 2 3]
    python -m benchmarks.tracking cost
    python -m benchmarks.tracking allen FOLDER        # tests/test_files/test0 of AllenInstitute/ophys_nway_matching
    python -m benchmarks.tracking cellreg FOLDER      # SampleData of zivlab/CellReg

`extracted` simulates movies of sessions of one field of view (shift to 30 px, rotation to 3 degrees, warp to 3 px,
other activity, brightness and turnover), extracts them with the embedded engine and tracks the accepted components; a
component is the neuron that it overlaps with an IoU of 0.5 or more. `drawn` tracks footprints that are drawn without a
movie, of many kinds, and sessions of another place among them. Scores are the F1 of pairs of components, and of whole
neurons (all their components, and no other). `--caiman-python` names the interpreter of CaImAn, whose
`register_multisession` then runs on the same footprints; the images it aligns by are the mean images.

The recordings of `allen` and `cellreg` may not be passed on; fetch them yourself. `cellreg` compares counts with those
that CellReg reports.
"""

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import scipy.io
import scipy.ndimage as ndi
import scipy.sparse as sp
import tifffile
from matplotlib.image import imread
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.extraction.footprints import footprint_masks
from rsc2p_kedro.algorithms.summary_images import summarize
from rsc2p_kedro.algorithms.tracking import track_neurons
from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.core.tracking import FieldOfView, Tracking
from rsc2p_kedro.engines.embedded import EmbeddedEngine
from rsc2p_kedro.simulation import movie, sessions
from rsc2p_kedro.simulation.settings import SessionChange, SimulationSettings

ACQUISITION = Acquisition(frame_rate_hz=14.7, decay_time_s=0.4, pixel_size_um=(1.17, 1.17))
COMPUTE = Compute(threads=1, show_progress=False)
Labels = list[NDArray[np.int64]]


def scores(truth: Labels, found: Labels) -> dict[str, float]:
    """F1 of pairs and of whole neurons; components of no neuron are -1. NaN without any pair."""

    def pairs_and_neurons(labels: Labels) -> tuple[set, set]:
        members: dict[int, list[tuple[int, int]]] = {}
        for session, own in enumerate(labels):
            for component, neuron in enumerate(own.tolist()):
                if neuron >= 0:
                    members.setdefault(neuron, []).append((session, component))
        groups = [tuple(group) for group in members.values() if len(group) > 1]
        return {(a, b) for g in groups for k, a in enumerate(g) for b in g[k + 1 :] if a[0] != b[0]}, set(groups)

    true, got = pairs_and_neurons(truth), pairs_and_neurons(found)
    f1 = [2 * len(t & g) / (len(t) + len(g)) if t or g else np.nan for t, g in zip(true, got, strict=True)]
    return {"pairs": f1[0], "neurons": f1[1], "n_pairs": len(true[0])}


def labels_of(fields: Sequence[FieldOfView], tracking: Tracking) -> Labels:
    """Neuron of each component as a number; -1 where it is not tracked."""
    numbers = {name: k for k, name in enumerate(dict.fromkeys(tracking.neuron_id.tolist()))}
    labels = [np.full(field.n_components, -1) for field in fields]
    position = {field.session: k for k, field in enumerate(fields)}
    index = [{c: k for k, c in enumerate(field.ids.tolist())} for field in fields]
    for session, component, name in zip(
        tracking.session.tolist(), tracking.component_id.tolist(), tracking.neuron_id.tolist(), strict=True
    ):
        labels[position[session]][index[position[session]][component]] = numbers[name]
    return labels


def draw_change(rng: np.random.Generator, number: int, turnover: float) -> SessionChange:
    """What differs in a session; the first one is only partly another."""
    shift = rng.uniform(-30, 30, 2) if number else np.zeros(2)
    return SessionChange(
        seed=number + 1,
        shift_px=(float(shift[0]), float(shift[1])),
        rotation_deg=float(rng.uniform(-3, 3)) if number else 0.0,
        warp_px=3.0 if number else 0.0,
        turnover=turnover,
        brightness=float(rng.uniform(0.7, 1.4)),
    )


def extract(settings: SimulationSettings, name: str) -> tuple[FieldOfView, NDArray[np.int64]]:
    """Accepted components of a simulated session, and the neuron of each; -1 for none."""
    engine, recording = EmbeddedEngine(), movie.simulate(settings, ACQUISITION)
    motion = engine.correct_motion(recording.movie, MotionCorrectionParameters(), compute=COMPUTE)
    corrected = engine.apply_motion(recording.movie, motion, MotionCorrectionParameters()).persist()
    options = {"compute": COMPUTE, "valid_mask": motion.valid_mask}
    fit = engine.extract_sources(corrected, ACQUISITION, ExtractionParameters(), **options)
    components = engine.extract_sources(corrected, ACQUISITION, ExtractionParameters(), earlier=fit, **options)
    quality = engine.evaluate(corrected, components, ACQUISITION, EvaluationParameters(), compute=COMPUTE)
    images = summarize(corrected, compute=COMPUTE)
    keep = np.flatnonzero(quality.accepted)
    accepted = components.select(keep)
    field = FieldOfView(name, components.shape, accepted.ids, accepted.footprints, images.mean, images.correlation)
    truth = recording.truth
    assert truth.neurons is not None
    return field, neurons_of(accepted.footprints, truth.footprints, components.shape, truth.neurons)


def neurons_of(
    footprints: sp.csc_array, truth: sp.csc_array, shape: tuple[int, int], numbers: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Neuron of each component: the one with the highest IoU, at least 0.5, whatever the offset of the template."""
    own = footprint_masks(footprints).toarray().reshape(*shape, -1)
    true = sp.csc_array(footprint_masks(truth), dtype=float)
    best, iou = -1.0, np.zeros((own.shape[2], true.shape[1]))
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            moved = sp.csc_array(np.roll(own, (dy, dx), axis=(0, 1)).reshape(-1, own.shape[2]).astype(float))
            common = (moved.T @ true).toarray()
            areas = np.add.outer(np.asarray(moved.sum(axis=0)).ravel(), np.asarray(true.sum(axis=0)).ravel())
            now = common / np.maximum(areas - common, 1)
            if now.max(axis=1).sum() > best:
                best, iou = now.max(axis=1).sum(), now
    return np.where(iou.max(axis=1) >= 0.5, numbers[iou.argmax(axis=1)], -1)


def extracted(asked: argparse.Namespace) -> None:
    """Prints scores of sessions whose movies were extracted."""
    print("| seed | neurons | sessions | turnover | accepted | F1 of pairs | F1 of neurons | CaImAn: pairs | neurons |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in asked.seeds:
        for n in asked.neurons:
            for turnover in asked.turnover:
                rng = np.random.default_rng([seed, n])
                base = SimulationSettings(
                    seed=seed, n_frames=asked.frames, height_px=asked.side, width_px=asked.side, n_neurons=n, photons=20
                )
                found = [
                    extract(base.model_copy(update={"session": draw_change(rng, k, turnover)}), f"day_{k + 1}")
                    for k in range(max(asked.sessions))
                ]
                for n_sessions in asked.sessions:
                    fields, truth = zip(*found[:n_sessions], strict=True)
                    ours = scores(list(truth), labels_of(fields, track_neurons(fields)))
                    theirs = scores(list(truth), caiman(fields, asked.caiman_python)) if asked.caiman_python else None
                    beside = f"{theirs['pairs']:.3f} | {theirs['neurons']:.3f}" if theirs else "- | -"
                    counts = " ".join(str(field.n_components) for field in fields)
                    print(
                        f"| {seed} | {n} | {n_sessions} | {turnover} | {counts} | {ours['pairs']:.3f} | "
                        f"{ours['neurons']:.3f} | {beside} |",
                        flush=True,
                    )


CAIMAN = """
import sys, numpy as np, scipy.sparse as sp
from caiman.base.rois import register_multisession
data = np.load(sys.argv[1], allow_pickle=False)
n, shape = int(data["n"]), tuple(data["shape"])
A, templates = [], []
for k in range(n):
    dense = data[f"A{k}"]                                  # (H*W, N), C order
    A.append(sp.csc_matrix(dense.reshape(*shape, -1).transpose(1, 0, 2).reshape(dense.shape)))  # F order
    templates.append(data[f"mean{k}"])
_, assignments, _ = register_multisession(A=A, dims=shape, templates=templates)
np.save(sys.argv[2], assignments)
"""


def caiman(fields: Sequence[FieldOfView], python: str) -> Labels:
    """Neuron of each component by CaImAn's `register_multisession`, which takes frames of one size."""
    with tempfile.TemporaryDirectory() as folder:
        given, got, script = (Path(folder) / name for name in ("given.npz", "got.npy", "run.py"))
        arrays = {f"A{k}": field.footprints.toarray() for k, field in enumerate(fields)}
        arrays |= {f"mean{k}": field.mean for k, field in enumerate(fields)}
        np.savez(given, n=len(fields), shape=fields[0].shape, **arrays)
        script.write_text(CAIMAN)
        subprocess.run([python, str(script), str(given), str(got)], check=True, capture_output=True)
        assignments = np.load(got)
    labels = [np.full(field.n_components, -1) for field in fields]
    for neuron, row in enumerate(assignments):
        for session, component in enumerate(row):
            if np.isfinite(component):
                labels[session][int(component)] = neuron
    return labels


def draw(
    seed: int, n_sessions: int, n: int, side: int = 256, turnover: float = 0.2, radius: float = 4.6, **noise: float
) -> tuple[list[FieldOfView], Labels]:
    """Sessions whose footprints are drawn; neurons continue beyond the frame."""
    rng, margin = np.random.default_rng(seed), 40
    whole = side + 2 * margin
    base = SimulationSettings(
        seed=seed,
        n_frames=16,
        height_px=whole,
        width_px=whole,
        n_neurons=round(n * whole**2 / side**2),
        neuron_radius_px=radius,
    )
    inside = np.arange(whole**2).reshape(whole, whole)[margin:-margin, margin:-margin].ravel()
    fields, truth = [], []
    for k in range(n_sessions):
        change = draw_change(rng, k, turnover)
        scene, _ = movie.draw_scene(base.model_copy(update={"session": change}), ACQUISITION)
        footprints = sp.csc_array(sp.csr_array(scene.canvas.crop_rows(sp.csc_array(scene.footprints)))[inside])
        background = scene.canvas.crop(scene.mean_background())[margin:-margin, margin:-margin]
        field, neurons = sessions.observe(
            f"day_{k + 1}",
            footprints,
            background * change.brightness,
            scene.rest + 0.3,
            seed=[seed, k],
            noise=sessions.OutlineNoise(**noise),
        )
        numbers = sessions.draw_presence(change, base.n_neurons)
        fields.append(field)
        truth.append(np.where(neurons >= 0, numbers[np.maximum(neurons, 0)], -1))
    return fields, truth


def drawn(asked: argparse.Namespace) -> None:
    """Prints scores of drawn footprints of many kinds, and what becomes of another place among the sessions."""
    print(
        "| kind | seed | F1 of pairs | F1 of neurons | sessions aligned | of another place |\n|---|---|---|---|---|---|"
    )
    for seed in asked.seeds:
        for n in (60, 150, 300):
            for turnover in (0.2, 0.5):
                fields, truth = draw(seed, 2 + seed % 3 * 2, n, turnover=turnover)
                row(f"{n} neurons, turnover {turnover}", seed, fields, truth)
        fields, truth = draw(seed, 3, 100)
        row("mean image inverted", seed, [replace(fields[0], mean=-fields[0].mean), *fields[1:]], truth)
        blank = np.zeros(fields[0].shape, np.float32)
        row("no images", seed, [replace(field, mean=blank, correlation=blank) for field in fields], truth)
        row("neurons of 2.5 px", seed, *draw(seed, 3, 150, radius=2.5))
        row("neurons of 9 px", seed, *draw(seed, 3, 60, radius=9.0))
        row("15 neurons", seed, *draw(seed, 3, 15))
        row("noisy outlines", seed, *draw(seed, 4, 120, jitter_px=0.5, texture=0.5, pixel_noise=0.15, threshold=0.5))
        other, _ = draw(seed + 500, 2, 100)
        row("another place", seed, [*fields, replace(other[1], session="x")], [*truth, -np.ones(other[1].n_components)])


def row(kind: str, seed: int, fields: list[FieldOfView], truth: Labels) -> None:
    """Prints the scores of one set of sessions."""
    tracking = track_neurons(fields)
    found = labels_of(fields, tracking)
    got = scores([np.asarray(t, np.int64) for t in truth], found)
    elsewhere = "refused" if "x" in {f.session for f in fields} - set(tracking.sessions) else ""
    print(
        f"| {kind} | {seed} | {got['pairs']:.3f} | {got['neurons']:.3f} | {len(tracking.sessions)} of {len(fields)} | "
        f"{elsewhere} |",
        flush=True,
    )


def draw_many() -> tuple[list[FieldOfView], Labels]:
    """30 sessions of 500 neurons."""
    fields, truth = draw(1, 3, 500, side=512)
    rng, many, labels = np.random.default_rng(1), [], []
    for k in range(30):  # three drawn sessions, again and again with other components left out
        field, neurons = fields[k % 3], truth[k % 3]
        keep = np.flatnonzero(rng.random(field.n_components) < 0.9)
        many.append(
            replace(
                field,
                session=f"day_{k + 1}",
                ids=field.ids[keep],
                footprints=sp.csc_array(field.footprints[:, keep]),
            )
        )
        labels.append(neurons[keep])
    return many, labels


def cost(asked: argparse.Namespace) -> None:
    """Prints time and memory of 30 sessions of 500 neurons; they are drawn in a process of their own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        many, labels = pool.submit(draw_many).result()
    track_neurons(many[:2])  # compiles kernels
    before, start, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    found = labels_of(many, track_neurons(many))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"30 sessions of {np.mean([f.n_components for f in many]):.0f} components in 512 x 512 px: "
        f"{time.perf_counter() - start:.0f} s ({time.process_time() - cpu:.0f} s CPU), peak memory {peak / 1e6:.2f} GB "
        f"({(peak - before) / 1e6:.2f} GB above that before); {scores(labels, found)}"
    )


def allen(asked: argparse.Namespace) -> None:
    """Prints the agreement with the matches that ophys_nway_matching published with its test data."""
    fields = []
    for path in sorted(asked.folder.rglob("*masks.tif")):
        layers, columns = tifffile.imread(path), []
        for layer in layers:
            labelled, n = ndi.label(layer > 0, structure=np.ones((3, 3)))
            columns += [(labelled == k + 1).ravel() for k in range(n)]
        mean = imread(next(path.parent.glob("avgInt*.png"))).astype(np.float32)
        footprints = sp.csc_array(np.stack(columns, axis=1).astype(np.float32))
        ids = np.arange(len(columns))
        fields.append(
            FieldOfView(path.parents[2].name[-4:], layers.shape[1:], ids, footprints, mean, np.zeros_like(mean))
        )
    tracking = track_neurons(fields)
    describe(tracking)
    theirs = np.loadtxt(asked.folder / "matching_result.txt", dtype=int)[:, : len(fields)]
    counts = np.bincount((theirs >= 0).sum(axis=1), minlength=len(fields) + 1)[1:]
    print(f"theirs: {len(theirs)} neurons, found in 1, 2, ... sessions: {counts.tolist()}")


def cellreg(asked: argparse.Namespace) -> None:
    """Prints counts beside those that CellReg reports for its sample data."""
    fields = []
    for path in sorted(asked.folder.glob("spatial_footprints_*.mat")):
        masks = scipy.io.loadmat(path)["allFiltersMat"].astype(np.float32)
        footprints = sp.csc_array(masks.reshape(len(masks), -1).T)
        blank = np.zeros(masks.shape[1:], np.float32)
        fields.append(FieldOfView(path.stem[-2:], blank.shape, np.arange(len(masks)), footprints, blank, blank))
    describe(track_neurons(fields))


def describe(tracking: Tracking) -> None:
    """Prints the alignment, and in how many sessions neurons were found."""
    for one in tracking.alignments:
        print(
            f"{one.session}: {one.reason or 'same place'}; shift {np.round(one.shift_px, 1)} px, rotation "
            f"{one.rotation_deg:.2f} deg, scale {one.scale:.3f}, deformation {one.deformation_px:.2f} px, correlation "
            f"{np.round(one.correlation_before, 2)} -> {np.round(one.correlation_after, 2)}, coincident "
            f"{one.overlap_share:.2f} (by chance {one.overlap_by_chance:.2f})"
        )
    _, counts = np.unique(tracking.neuron_id, return_counts=True)
    print(
        f"{len(counts)} neurons, found in 1, 2, ... sessions: {np.bincount(counts)[1:].tolist()}; estimated false "
        f"positives {100 * tracking.false_positive_share:.1f} %, negatives "
        f"{100 * tracking.false_negative_share:.1f} %, doubtful components {tracking.doubtful.sum()} of "
        f"{len(tracking.doubtful)}"
    )


def main() -> None:
    """Runs one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["extracted", "drawn", "cost", "allen", "cellreg"])
    parser.add_argument("folder", type=Path, nargs="?", help="of the recordings of allen and cellreg")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--neurons", type=int, nargs="+", default=[60, 150])
    parser.add_argument("--sessions", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--turnover", type=float, nargs="+", default=[0.2, 0.5])
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--side", type=int, default=256, help="height and width of the simulated frames in px")
    parser.add_argument("--caiman-python", help="interpreter of CaImAn's environment, for `extracted`")
    asked = parser.parse_args()
    measures = {"extracted": extracted, "drawn": drawn, "cost": cost, "allen": allen, "cellreg": cellreg}
    measures[asked.what](asked)


if __name__ == "__main__":
    main()
