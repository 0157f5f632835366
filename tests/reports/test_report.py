"""Tables of the report."""

import numpy as np
import pandas as pd
from tests.pipelines.reporting.made_up import LINEAGE, MOTION_QUALITY, make_component_table

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import DeltaFOverF
from rsc2p_kedro.reports import report
from rsc2p_kedro.reports.html import Table


def _component_tables(table: pd.DataFrame) -> dict[str, Table]:
    """The tables of the section on components, by title."""
    ones = np.ones((len(table), 5), np.float32)
    dff = DeltaFOverF(ones, ones, np.zeros(len(table), bool))
    measures = pd.DataFrame(columns=["measure", "value", "unit", "description"])
    messages = pd.DataFrame(columns=["check", "message"])
    tables = report.tables_of(MOTION_QUALITY, table, LINEAGE, measures, messages, dff, EvaluationParameters())
    return {one.title: one for one in tables["components"]}


def test_components_are_counted_by_class() -> None:
    table = make_component_table(4).assign(
        component_class=["process", "soma", "silent", "soma"],
        soma_probability=[0.1, 0.9, 1.0, 0.7],
        process_probability=[0.85, 0.1, 0.0, 0.2],
        accepted=[False, True, False, False],
    )
    counts = _component_tables(table)["Classes of components"]
    assert [row[:3] for row in counts.rows] == [["soma", "2", "1"], ["process", "1", "0"], ["silent", "1", "0"]]
    assert [row[3] for row in counts.rows[:2]] == ["0.8", "0.85"]


def test_without_classes_there_is_no_table_of_them() -> None:
    assert "Classes of components" not in _component_tables(make_component_table(3))
