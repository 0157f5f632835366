# ruff: noqa: E402
"""Runs Suite2p's whole pipeline on a movie, in Suite2p's own environment; for accuracy.py and extraction.py.

    python benchmarks/suite2p_pipeline.py MOVIE.tif THREADS FRAME_RATE [--tau S] [--diameter PX] [--result RESULT.npz]

All settings are Suite2p's defaults (non-rigid registration included), except for those given here. Prints one line of
JSON: seconds of the pipeline, peak memory, and the number of ROIs accepted as cells. `--result` stores the ROIs and the
motion: `data`, `indices` and `indptr` of the footprints, CSC (H * W, N); `traces` (fluorescence - 0.7 neuropil) and
`spikes` (N, T); `accepted` (N,); `shifts` (T, 2) and `patch_shifts` (T, P, 2) at `patch_centres` (P, 2), as (dy, dx) in
px to be applied to a frame. The TIFF must not be compressed: Suite2p reads zlib with a predictor wrongly.
"""

import argparse
import os
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("movie", type=Path)
parser.add_argument("threads", type=int)
parser.add_argument("frame_rate", type=float, help="frames per second")
parser.add_argument("--tau", type=float, help="decay time of the indicator in s, on Suite2p's scale")
parser.add_argument("--diameter", type=float, help="of a neuron, px")
parser.add_argument("--result", type=Path)
options = parser.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = str(options.threads)

import importlib
import json
import resource
import tempfile
import time

import numpy as np
import scipy.sparse as sp
import suite2p
import torch
from suite2p.registration.nonrigid import make_blocks

torch.set_num_threads(options.threads)
module = importlib.import_module("suite2p.run_s2p")
pipeline, outputs = module.pipeline, []


def recorded_pipeline(*args, **kwargs):
    """Suite2p's `pipeline`, whose return values are kept."""
    outputs.append(pipeline(*args, **kwargs))
    return outputs[-1]


module.pipeline = recorded_pipeline
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "in").mkdir()
    (Path(folder) / "in" / "movie.tif").symlink_to(options.movie.resolve())
    settings = {**suite2p.default_settings(), "torch_device": "cpu", "fs": options.frame_rate}
    settings["registration"]["nonrigid"] = True
    if options.tau:
        settings["tau"] = options.tau
    if options.diameter:
        settings["diameter"] = [options.diameter] * 2
    db = {
        **suite2p.default_db(),
        "data_path": [str(Path(folder) / "in")],
        "save_path0": folder,
        "fast_disk": folder,
        "keep_movie_raw": True,
        "file_list": None,
    }
    start = time.perf_counter()
    module.run_s2p(db=db, settings=settings)
    seconds = time.perf_counter() - start
registration, _, stat, F, neuropil, _, _, spikes, is_cell, *_ = outputs[0]
accepted = is_cell[:, 0] > 0
if options.result:
    height, width = registration["refImg"].shape
    pixels = [s["ypix"] * width + s["xpix"] for s in stat]
    columns = np.repeat(np.arange(len(stat)), [len(p) for p in pixels])
    entries = (np.concatenate([s["lam"] for s in stat]), (np.concatenate(pixels), columns))
    footprints = sp.csc_array(entries, shape=(height * width, len(stat)))
    rows, columns, *_ = make_blocks(height, width, settings["registration"]["block_size"])
    centres = np.array([[np.mean(np.ravel(b)[[0, -1]]) - 0.5 for b in axis] for axis in (rows, columns)]).T
    shifts = -np.stack([registration["yoff"], registration["xoff"]], axis=1)
    local = -np.stack([registration["yoff1"], registration["xoff1"]], axis=-1)
    np.savez(
        options.result,
        data=footprints.data,
        indices=footprints.indices,
        indptr=footprints.indptr,
        traces=F - 0.7 * neuropil,
        spikes=spikes,
        accepted=accepted,
        shifts=shifts,
        patch_shifts=shifts[:, None] + local,
        patch_centres=centres,
    )
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "peak_gb": peak, "accepted": int(accepted.sum())}))
