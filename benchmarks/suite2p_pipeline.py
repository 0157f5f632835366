# ruff: noqa: E402
"""Runs Suite2p's whole pipeline on a movie, in Suite2p's own environment; for benchmarks/extraction.py.

python suite2p_pipeline.py MOVIE.tif THREADS FRAME_RATE; prints JSON.
"""

import os
import sys

MOVIE, THREADS, RATE = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = str(THREADS)

import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import suite2p
import torch

torch.set_num_threads(THREADS)
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "in").mkdir()
    (Path(folder) / "in" / "movie.tif").symlink_to(Path(MOVIE).resolve())
    settings = {**suite2p.default_settings(), "torch_device": "cpu", "fs": RATE}
    settings["registration"]["nonrigid"] = True
    db = {
        **suite2p.default_db(),
        "data_path": [str(Path(folder) / "in")],
        "save_path0": folder,
        "fast_disk": folder,
        "keep_movie_raw": True,
        "file_list": None,
    }
    start = time.perf_counter()
    suite2p.run_s2p(db=db, settings=settings)
    seconds = time.perf_counter() - start
    accepted = int(np.load(next(Path(folder).rglob("iscell.npy")))[:, 0].sum())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "peak_gb": peak, "accepted": accepted}))
