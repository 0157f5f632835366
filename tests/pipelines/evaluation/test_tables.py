"""Tables of components."""

import numpy as np
import pandas as pd

from rsc2p_kedro.core import schemas
from rsc2p_kedro.pipelines.evaluation.nodes import tabulate_all_components


def table(n: int) -> pd.DataFrame:
    whole, real = np.arange(n), np.ones(n) / 2
    columns = dict.fromkeys(("centre_y_px", "centre_x_px", "snr", "r_value", "baseline", "noise"), real)
    facts = {"component_id": whole, "area_px": whole + 1, "n_transients": whole, "classifier_score": real * np.nan}
    rest = {"decay_time_s": real, "event_rate_hz": real, "accepted": True, "reason": "accepted: snr", "curated": False}
    return pd.DataFrame(columns | facts | rest)


def test_components_of_all_recordings_stand_under_their_names() -> None:
    found = tabulate_all_components(["a.1", "a.2", "b.1"], table(2), table(0), table(1))
    found = schemas.AllComponentsTable.validate(found)
    assert found["recording"].tolist() == ["a.1", "a.1", "b.1"]
    assert found["component_id"].tolist() == [0, 1, 0]
