# ruff: noqa: E402
"""Runs Suite2p's registration alone on a movie, in Suite2p's own environment; for benchmarks/registration.py.

python benchmarks/suite2p_registration.py MOVIE.npy RESULT.npz THREADS
"""

import argparse
import os

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("movie", help="(T, H, W), integers")
parser.add_argument("result", help="shifts, patch shifts and centres, seconds, peak memory")
parser.add_argument("threads", type=int)
options = parser.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = str(options.threads)

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import suite2p
import torch
from suite2p.io import BinaryFile
from suite2p.registration import nonrigid, register

torch.set_num_threads(options.threads)
movie = np.load(options.movie, mmap_mode="r")
n_frames, Ly, Lx = movie.shape
settings = suite2p.default_settings()["registration"]
with tempfile.TemporaryDirectory() as folder:
    paths = [str(Path(folder) / name) for name in ("raw.bin", "registered.bin")]
    with BinaryFile(Ly=Ly, Lx=Lx, filename=paths[0], n_frames=n_frames, write=True) as raw:
        for start in range(0, n_frames, 100):
            raw[start : start + 100] = (movie[start : start + 100] // 2).astype(np.int16)
    with (
        BinaryFile(Ly=Ly, Lx=Lx, filename=paths[0], n_frames=n_frames) as raw,
        BinaryFile(Ly=Ly, Lx=Lx, filename=paths[1], n_frames=n_frames, write=True) as registered,
    ):
        start = time.perf_counter()
        out = register.registration_wrapper(
            registered, f_raw=raw, settings={**settings, "nonrigid": True}, device=torch.device("cpu")
        )
        seconds = time.perf_counter() - start

rows, columns, *_ = nonrigid.make_blocks(Ly, Lx, settings["block_size"])
centres = np.array([[np.mean(np.ravel(b)[[0, -1]]) - 0.5 for b in axis] for axis in (rows, columns)]).T
np.savez(
    options.result,
    seconds=seconds,
    peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    shifts=np.stack([out["yoff"], out["xoff"]], 1),
    patch_shifts=np.stack([out["yoff"][:, None] + out["yoff1"], out["xoff"][:, None] + out["xoff1"]], -1),
    patch_centres=centres,
)
