"""The user's decisions take precedence over those of thresholds, and are marked as such."""

import pandas as pd
import pytest

from rsc2p_kedro.pipelines.evaluation.curation import curate

TABLE = pd.DataFrame(
    {
        "component_id": [3, 5, 8],
        "accepted": [True, False, False],
        "reason": ["accepted: snr", "rejected: snr 1.0 < 2.0", "rejected: snr 0.4 < 2.0"],
        "curated": False,
    }
)


def test_decisions_replace_those_of_thresholds_and_give_the_reason():
    decisions = {"component_id": [3, 5], "decision": ["reject", "accept"], "note": ["blood vessel", ""]}
    result = curate(TABLE, pd.DataFrame(decisions)).set_index("component_id")
    assert result["accepted"].tolist() == [False, True, False]
    assert result["curated"].tolist() == [True, True, False]
    assert result.loc[3, "reason"] == "rejected: by the user (blood vessel); was accepted: snr"
    assert result.loc[8, "reason"] == TABLE["reason"][2]


def test_decisions_on_other_results_are_refused():
    with pytest.raises(ValueError, match=r"components \[4\], which do not exist"):
        curate(TABLE, pd.DataFrame({"component_id": [4], "decision": ["accept"], "note": [""]}))
