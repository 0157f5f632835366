"""What ran: version of the project and its git state, engines, libraries, platform.

The same installation gives the same record, on one machine: there is no time and no path in it.
"""

import dataclasses
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pydantic import ValidationError

import rsc2p_kedro
from rsc2p_kedro.core.parameters import FrozenModel

Parameters = TypeVar("Parameters", bound=FrozenModel)
LIBRARIES = ("numpy", "scipy", "numba", "dask", "zarr", "tifffile", "pynwb", "hdmf", "h5py", "kedro")
UNKNOWN = "unknown"


def _git(*arguments: str) -> str | None:
    """What git answers about the folder this file is in; none where there is no git, or it has no answer."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def git_state() -> dict[str, str | bool]:
    """The commit of the project and whether files have changed since; `unknown` outside its repository.

    An installed copy may lie in the repository of something else (a `.venv` in another project): only where git tracks
    this very file is its commit ours.
    """
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    commit = _git("rev-parse", "HEAD") if tracked else None
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    if commit is None or changes is None:
        return {"git_commit": UNKNOWN, "git_dirty": UNKNOWN}
    return {"git_commit": commit, "git_dirty": bool(changes)}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = UNKNOWN
    return versions


def collect_provenance(**steps: Mapping[str, str]) -> dict[str, Any]:
    """What made a result, ready for JSON.

    Args:
        steps: by name of the step, the `provenance` of the engine's result (engine, its version, its parameters).
    """
    return {
        "project": "rsc2p-kedro",
        "version": rsc2p_kedro.__version__,
        **git_state(),
        "engines": {
            step: f"{about.get('engine', UNKNOWN)} {about.get('version', '')}".strip() for step, about in steps.items()
        },
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "libraries": library_versions(),
    }


def parameters_of(made: Mapping[str, str], present: Parameters) -> Parameters:
    """The parameters that made a result, which need not be those of the present run.

    Args:
        made: the `provenance` of the result.
        present: those of the run, taken where the result does not tell its own.

    Raises:
        ValueError: another version of the project made the result, with parameters that this one does not have.
    """
    told = made.get("parameters")
    if told is None:
        return present
    try:
        return type(present).model_validate_json(told)
    except ValidationError as error:
        names = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}))
        raise ValueError(
            f"A stored result was made with other {type(present).__name__} than this version of the project has "
            f"({names}). Run the stage that makes it, and those after it, again."
        ) from error


def content_identity(value: Any) -> str:
    """SHA-256 of what a result or a table holds, whenever and wherever it was made: its version, by content.

    Numbers in tables count to nine digits, as the last ones may change on the way through a CSV file.

    Args:
        value: a record of arrays, sparse matrices and plain values, a table, or any of these parts.
    """
    digest = hashlib.sha256()
    for part in _bytes_of(value):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def _bytes_of(value: Any) -> Iterator[bytes]:
    """Everything a value holds, in one order, and with what tells apart values that hold the same bytes."""
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
