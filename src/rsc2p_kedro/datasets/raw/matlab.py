"""Structures of MATLAB, from files of any version."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat


def read_structure(path: Path, name: str) -> dict[str, Any]:
    """Reads a structure.

    Args:
        path: a file of MATLAB (.mat), version 4 to 7.3.
        name: of the variable.

    Returns:
        Its fields: structures as dictionaries, text as str, numbers as numbers, arrays without axes of length 1.

    Raises:
        ValueError: the file is damaged, or has no such structure.
    """
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                value = _plain(file[name], file) if name in file else None
        else:
            value = loadmat(path, simplify_cells=True, variable_names=[name]).get(name)
    except Exception as error:  # damaged files raise errors of many kinds
        raise ValueError(
            f"cannot be read as a file of MATLAB ({error}): copy it again from where it was recorded"
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"has no structure `{name}`")
    return value


def _plain(item: h5py.Group | h5py.Dataset, file: h5py.File) -> Any:
    """The value of an item of a file of version 7.3, whose arrays have their axes reversed."""
    if isinstance(item, h5py.Group):
        return {name: _plain(child, file) for name, child in item.items()}
    if item.attrs.get("MATLAB_empty", 0):
        return np.empty(0)
    values = item[()].T
    if item.dtype == h5py.ref_dtype:
        found = [_plain(file[reference], file) for reference in values.ravel()]
        return found[0] if len(found) == 1 else found
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(chr(code) for code in values.ravel())
    values = np.squeeze(values)
    return values.item() if values.ndim == 0 else values
