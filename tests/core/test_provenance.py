"""Provenance: versions, git state and stored parameters."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from rsc2p_kedro.core import provenance


def test_the_record_is_json_with_versions_and_reproducible() -> None:
    about = {"motion_correction": {"engine": "embedded", "version": "0.1"}}
    one, again = provenance.collect_provenance(**about), provenance.collect_provenance(**about)
    assert one == again == json.loads(json.dumps(one))
    assert one["engines"] == {"motion_correction": "embedded 0.1"}
    assert one["libraries"]["numpy"] == np.__version__


def test_the_record_holds_no_path_of_this_machine() -> None:
    assert str(Path.home()) not in json.dumps(provenance.collect_provenance())


def test_outside_its_own_repository_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)  # a repository, but not this project's
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_state() == {"git_commit": "unknown", "git_dirty": "unknown"}


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state()["git_commit"] == "unknown"


def test_identity_depends_on_values_dtypes_and_shapes_alone() -> None:
    identity = provenance.content_identity
    array = np.arange(6.0)
    assert identity(array) == identity(np.arange(12.0)[::2] / 2)  # another memory layout
    assert len({identity(x) for x in (array, array.astype(np.float32), array.reshape(2, 3), array + 1)}) == 4
    sparse = sp.csc_array(np.eye(3))
    assert identity(sparse) == identity(sp.coo_array(np.eye(3))) != identity(np.eye(3))
    table = pd.DataFrame({"x": [1 / 3]})
    assert identity(table) == identity(table + 1e-12) != identity(table + 1e-6)
    assert identity({"a": 1, "b": [2, None]}) == identity({"b": [2, None], "a": 1}) != identity({"a": 1, "b": [2]})
