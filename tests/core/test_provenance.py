"""What is told of the software that ran."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rsc2p_kedro.core import provenance
from rsc2p_kedro.core.parameters import EvaluationParameters


def test_record_is_json_names_versions_and_does_not_change() -> None:
    about = {"motion_correction": {"engine": "embedded", "version": "0.1"}}
    one, again = provenance.collect_provenance(**about), provenance.collect_provenance(**about)
    assert one == again == json.loads(json.dumps(one))
    assert one["engines"] == {"motion_correction": "embedded 0.1"}
    assert one["libraries"]["numpy"] == np.__version__


def test_no_path_of_this_machine_is_in_it() -> None:
    assert str(Path.home()) not in json.dumps(provenance.collect_provenance())


def test_outside_its_own_repository_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)  # a repository, but not this project's
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_state() == {"git_commit": "unknown", "git_dirty": "unknown"}


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state()["git_commit"] == "unknown"


def test_parameters_that_this_version_does_not_have_ask_for_another_run() -> None:
    present = EvaluationParameters()
    assert provenance.parameters_of({}, present) is present
    told = EvaluationParameters(min_snr=3.0).model_dump_json()
    assert provenance.parameters_of({"parameters": told}, present).min_snr == 3
    older = json.dumps(json.loads(told) | {"spike_delay_s": 0.03})
    with pytest.raises(ValueError, match=r"other EvaluationParameters .*\(spike_delay_s\)\. Run the stage"):
        provenance.parameters_of({"parameters": older}, present)
