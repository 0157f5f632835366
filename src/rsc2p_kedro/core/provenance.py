"""Provenance of results: versions of the project, the engines and the libraries, and a hash of their content.

Provenance contains no time and no path, so that one installation on one machine always writes the same record.
"""

import dataclasses
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

import rsc2p_kedro

LIBRARIES = ("numpy", "scipy", "numba", "dask", "zarr", "tifffile", "pynwb", "hdmf", "h5py", "kedro")
UNKNOWN = "unknown"


def _git(*arguments: str) -> str | None:
    """Output of a git command in the folder of this file; None where git is missing or the command fails."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def git_state() -> dict[str, str | bool]:
    """Git commit of the project and whether tracked files have changed since.

    An installed copy may lie in the repository of another project (in its `.venv`), so the commit counts only where git
    tracks this file.

    Returns:
        `git_commit`, the full hash, and `git_dirty`; both `unknown` outside the repository of the project.
    """
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    commit = _git("rev-parse", "HEAD") if tracked else None
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    if commit is None or changes is None:
        return {"git_commit": UNKNOWN, "git_dirty": UNKNOWN}
    return {"git_commit": commit, "git_dirty": bool(changes)}


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that results depend on.

    Returns:
        The version of each of `LIBRARIES`, `unknown` for one that is not installed.
    """
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = UNKNOWN
    return versions


def collect_provenance(**steps: Mapping[str, str]) -> dict[str, Any]:
    """Collects the versions of everything that a result was made with.

    Args:
        **steps: for each step, the `provenance` of the engine's result, with the keys `engine` and `version`.

    Returns:
        A dict that can be written as JSON: project, its version and git state, engines by step, Python, platform
        (system and processor) and libraries.
    """
    return {
        "project": "rsc2p-kedro",
        "version": rsc2p_kedro.__version__,
        **git_state(),
        "engines": {
            step: f"{result.get('engine', UNKNOWN)} {result.get('version', '')}".strip()
            for step, result in steps.items()
        },
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": library_versions(),
    }


def content_identity(value: Any) -> str:
    """Hash of the content of a result or a table, which does not depend on when and where it was computed.

    Numbers in tables count to nine digits, since a round trip through a CSV file may change the last ones.

    Args:
        value: a record of arrays, sparse matrices and plain values, a table, or any of these parts.

    Returns:
        `sha256:` and the SHA-256 of all values, dtypes and shapes in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in _bytes_of(value):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def _bytes_of(value: Any) -> Iterator[bytes]:
    """Yields the content of a value in a fixed order, with types and shapes, which distinguish equal bytes."""
    if isinstance(value, pd.DataFrame):
        yield value.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif sp.issparse(value):
        columns = sp.csc_array(value)
        yield f"sparse {columns.shape}".encode()
        for part in (columns.data, columns.indices.astype(np.int64), columns.indptr.astype(np.int64)):
            yield from _bytes_of(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _bytes_of({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        for key in sorted(value):
            yield f"key {key}".encode()
            yield from _bytes_of(value[key])
    elif isinstance(value, list | tuple):
        yield f"items {len(value)}".encode()
        for item in value:
            yield from _bytes_of(item)
    else:
        yield json.dumps(value).encode()
