"""Time of `kedro recordings scan` for a folder of many single-page TIFFs, the first time and if nothing has changed.

Run: python -m benchmarks.scan [--files 60000]
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import tifffile

from rsc2p_kedro.manifest.inspection import ScanCache
from rsc2p_kedro.manifest.manifest_file import extend_manifest, read_manifest
from rsc2p_kedro.manifest.scan import find_recordings, new_recordings


def write_files(folder: Path, n_files: int) -> None:
    """Writes small images of one recording.

    Args:
        folder: to create.
        n_files: number of images.
    """
    folder.mkdir(parents=True)
    first = folder / "frame_000001.tif"
    tifffile.imwrite(first, np.zeros((32, 32), np.uint16))
    content = first.read_bytes()
    for number in range(2, n_files + 1):
        (folder / f"frame_{number:06d}.tif").write_bytes(content)


def scan(raw: Path, project: Path) -> float:
    """Does what the command does.

    Args:
        raw: folder to search.
        project: folder of the project.

    Returns:
        Seconds that it took.
    """
    start, manifest = perf_counter(), project / "parameters_recordings.yml"
    found = find_recordings(raw, cache=ScanCache(project / "scan_cache.json"))
    extend_manifest(manifest, new_recordings(found.recordings, read_manifest(manifest), project), project)
    return perf_counter() - start


def main() -> None:
    """Prints milliseconds a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=60_000)
    n_files = parser.parse_args().files
    top = Path(tempfile.mkdtemp(prefix="scan_"))
    try:
        write_files(top / "raw" / "mouse" / "day_1", n_files)
        for which in ("first time", "again"):
            seconds = scan(top / "raw", top)
            print(f"{n_files} files, {which}: {seconds:.2f} s, {1000 * seconds / n_files:.4f} ms a file", flush=True)
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
