"""Every dataset has an example of its catalog entry, and the Python examples in docstrings run."""

import doctest
from importlib import import_module
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import yaml

from rsc2p_kedro import datasets
from rsc2p_kedro.core.results import LineageEntry


@pytest.mark.parametrize("name", datasets.__all__)
def test_docstring_gives_a_catalog_entry_of_the_dataset(name: str) -> None:
    documentation = getattr(datasets, name).__doc__
    text = documentation.split("```yaml\n")[1].split("```")[0]
    types = [entry["type"] for entry in yaml.safe_load(text).values()]
    assert f"rsc2p_kedro.datasets.{name}" in types


@pytest.mark.parametrize("name", [n for n in datasets.__all__ if ">>>" in str(getattr(datasets, n).__doc__)])
def test_python_example_of_the_docstring_runs(name: str, tmp_path: Path) -> None:
    kind = getattr(datasets, name)
    namespace = {**vars(import_module(kind.__module__)), "tmp_path": tmp_path, "np": np, "da": da}
    namespace |= {name: kind, "LineageEntry": LineageEntry}
    (example,) = doctest.DocTestFinder(recurse=False).find(kind, name, globs=namespace)
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example).failed == 0
