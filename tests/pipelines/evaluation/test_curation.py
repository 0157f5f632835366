"""The user's decisions take precedence over those of thresholds, are marked as such, and follow their neurons."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rsc2p_kedro.pipelines.evaluation.curation import curate, match_decisions

TABLE = pd.DataFrame(
    {
        "component_id": [3, 5, 8],
        "centre_y_px": [10.0, 30.0, 50.0],
        "centre_x_px": [10.0, 12.0, 40.0],
        "accepted": [True, False, False],
        "reason": ["accepted: snr", "rejected: snr 1.0 < 2.0", "rejected: snr 0.4 < 2.0"],
        "curated": False,
    }
)


def decide(*rows: tuple[int, str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["component_id", "decision", "note", "centre_y_px", "centre_x_px"])


def by_id(component: int, decision: str, note: str = "") -> tuple[Any, ...]:
    return component, decision, note, np.nan, np.nan


def test_decisions_replace_those_of_thresholds_and_give_the_reason():
    result = curate(TABLE, decide(by_id(3, "reject", "blood vessel"), by_id(5, "accept"))).set_index("component_id")
    assert result["accepted"].tolist() == [False, True, False]
    assert result["curated"].tolist() == [True, True, False]
    assert result.loc[3, "reason"] == "rejected: by the user (blood vessel); was accepted: snr"
    assert result.loc[8, "reason"] == TABLE["reason"][2]


def test_decisions_on_ids_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"components \[4\], which do not exist"):
        curate(TABLE, decide(by_id(4, "accept")))


def test_ids_alone_are_told_to_be_uncertain(caplog):
    with caplog.at_level(logging.WARNING):
        curate(TABLE, decide(by_id(3, "reject")))
    assert "1 components by their id alone" in caplog.text


def test_decisions_follow_the_neuron_to_its_new_id_and_not_the_id_to_another_neuron():
    earlier = decide((8, "reject", "", 11.0, 9.0), (1, "accept", "", 49.0, 41.5), (5, "accept", "", 30.0, 12.0))
    result = curate(TABLE, earlier).set_index("component_id")
    assert result["accepted"].to_dict() == {3: False, 5: True, 8: True}


def test_decisions_on_neurons_that_were_not_found_again_are_told_and_not_applied(caplog):
    with caplog.at_level(logging.WARNING):
        result = curate(TABLE, decide((3, "reject", "", 80.0, 80.0)))
    pd.testing.assert_frame_equal(result, TABLE)
    assert "reject (80, 80)" in caplog.text
    assert match_decisions(TABLE.iloc[:0], decide((3, "reject", "", 80.0, 80.0))).empty


def test_contradictions_about_one_neuron_are_refused():
    with pytest.raises(ValueError, match="about component 3 now, and contradict"):
        curate(TABLE, decide((1, "reject", "", 11.0, 9.0), (2, "accept", "", 9.0, 11.0)))
