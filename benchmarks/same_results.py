"""Whether two versions of the code give the same numbers: compares two `data` folders, bit for bit.

    python -m benchmarks.same_results OLD/data NEW/data [--rename old=new ...]

Run the same recordings with both versions, each in its own checkout, then compare. The newest version of each record
(`.npz`) and table (`.csv`), every movie (`.zarr`) and every NWB file is compared: arrays must be equal to the last bit
and in dtype, numbers in tables to the last digit. Text (reasons, descriptions) is compared too and listed apart, as
wording may change. The exit code is 1 where a number differs or a result is missing.

Records, fields, columns and NWB objects that were renamed are given with `--rename`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr

TIMES_AND_IDS = ("object_id", "file_create_date", "identifier", "namespace", "specifications", "was_generated_by")
"""Parts of an NWB file that name the run, not its results."""


def newest(path: Path) -> Path:
    """The newest version of a dataset, or the dataset itself where it has no versions."""
    versions = sorted(path.glob(f"*/{path.name}")) if path.is_dir() else []
    return versions[-1] if versions else path


def results(data: Path) -> dict[str, Path]:
    """Every result below a data folder, by its path without versions."""
    found = {}
    for layer in ("02_intermediate", "03_primary", "06_models", "07_model_output", "08_reporting"):
        for kind in ("npz", "csv", "zarr", "nwb"):
            for path in (data / layer).rglob(f"*.{kind}"):
                name = path.relative_to(data)
                if path.name not in name.parent.parts and path.parent.parent.name != path.name:
                    found[name.as_posix()] = newest(path)
    return found


def arrays_of_record(path: Path) -> Iterator[tuple[str, Any]]:
    """Arrays and plain values of a record."""
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            if file[name].dtype.kind == "U" and name not in ("reasons",):
                yield from plain_values("", json.loads(str(file[name])))
            else:
                yield name, file[name]


def plain_values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Leaves of the JSON part of a record, without provenance and references to arrays."""
    if isinstance(value, dict):
        if {"array", "sparse"} & set(value):
            return
        for key, inner in value.items():
            if key not in ("provenance", "record"):
                yield from plain_values(name if key in ("fields", "tuple") else f"{name}.{key}".strip("."), inner)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from plain_values(f"{name}[{i}]", inner)
    elif value is not None:
        yield name, np.asarray(value)


def arrays_of_table(path: Path) -> Iterator[tuple[str, Any]]:
    """Columns of a table."""
    table = pd.read_csv(path, keep_default_na=False, dtype=str)
    for name in table.columns:
        numbers = pd.to_numeric(table[name].replace("", "nan"), errors="coerce")
        is_number = numbers.notna().any() or (table[name] == "").all()
        yield name, numbers.to_numpy(float) if is_number else table[name].to_numpy(str)


def arrays_of_nwb(path: Path) -> Iterator[tuple[str, Any]]:
    """Datasets of an NWB file."""
    found: list[tuple[str, Any]] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or any(part in name for part in TIMES_AND_IDS):
            return
        if item.dtype == h5py.ref_dtype or (item.dtype.names and "processing_parameters" not in name):
            return
        value = item[()]
        found.append((name, np.asarray(value).astype(str) if item.dtype.kind == "O" else np.asarray(value)))

    with h5py.File(path) as file:
        file.visititems(visit)
    yield from found


def arrays(path: Path) -> dict[str, Any]:
    """Everything that a result holds, by name."""
    if path.suffix == ".zarr":
        return {"": zarr.open_array(path, mode="r")[:]}
    read = {".npz": arrays_of_record, ".csv": arrays_of_table, ".nwb": arrays_of_nwb}[path.suffix]
    return dict(read(path))


def difference(old: np.ndarray, new: np.ndarray) -> str:
    """How two arrays differ; empty where they are the same to the bit."""
    if old.shape != new.shape or old.dtype.kind != new.dtype.kind:
        return f"{old.dtype} {old.shape} became {new.dtype} {new.shape}"
    if old.dtype.kind in "fc":
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        largest = float(np.nanmax(np.abs(old[~same] - new[~same]), initial=0.0)) if not same.all() else 0.0
        scale = float(np.nanmax(np.abs(old), initial=0.0))
        return (
            "" if same.all() else f"{(~same).sum()} of {same.size} differ by up to {largest:.3g} (largest {scale:.3g})"
        )
    return "" if np.array_equal(old, new) else f"{int((old != new).sum())} of {old.size} differ"


def main() -> int:
    """Prints what differs; 1 where a number does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rename", nargs="*", default=[], help="old=new, for parts of paths, fields and columns")
    asked = parser.parse_args()
    renames = dict(item.split("=") for item in asked.rename)

    def renamed(name: str) -> str:
        for old, new in renames.items():
            name = name.replace(old, new)
        return name

    old, new = results(asked.old), results(asked.new)
    n_arrays, wrong, texts = 0, [], []
    for name, path in sorted(old.items()):
        if renamed(name) not in new:
            wrong.append(f"{name}: is missing")
            continue
        before, after = arrays(path), arrays(new[renamed(name)])
        for part, value in before.items():
            n_arrays += 1
            if renamed(part) not in after:
                wrong.append(f"{name} {part}: is missing")
                continue
            found = difference(np.asarray(value), np.asarray(after[renamed(part)]))
            if found:
                (texts if np.asarray(value).dtype.kind in "US" else wrong).append(f"{name} {part}: {found}")
    print(f"{len(old)} results with {n_arrays} arrays and columns compared")
    print(f"texts that differ: {len(texts)}", *texts, sep="\n  ")
    print(f"numbers that differ or are missing: {len(wrong)}", *wrong, sep="\n  ")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
