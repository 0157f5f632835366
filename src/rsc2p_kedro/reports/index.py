"""The page over all recordings: one row each with a thumbnail, grouped by animal, to sort and to filter.

A recording takes about 10 kB of the page, nearly all of it for its thumbnail, so that hundreds of recordings stay at a
few MB.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rsc2p_kedro.reports import html
from rsc2p_kedro.reports.assessment import Assessment, Level, worst_level
from rsc2p_kedro.reports.tracking_page import TrackingSummary


@dataclass(frozen=True)
class Column:
    """A numerical column of the page.

    Attributes:
        name: in the table of recordings.
        label: heading of the column.
        description: shown where the pointer rests on the heading.
        digits: after the decimal point.
        summary: of the recordings of one animal, `sum` or `median`.
    """

    name: str
    label: str
    description: str
    digits: int
    summary: str


@dataclass(frozen=True)
class IndexEntry:
    """Data of one recording for the pages and tables over all recordings.

    Attributes:
        summary: the row of the recording in :class:`~rsc2p_kedro.core.schemas.RecordingsTable`.
        assessments: columns of its :class:`~rsc2p_kedro.core.schemas.AssessmentTable`.
        components: columns of its :class:`~rsc2p_kedro.core.schemas.ComponentTable`.
        thumbnail: bytes of an image file, in base64.
    """

    summary: dict[str, Any]
    assessments: dict[str, list[Any]]
    components: dict[str, list[Any]]
    thumbnail: str


COLUMNS = (
    Column("n_frames", "Frames", "Number of frames", 0, "sum"),
    Column(
        "template_correlation_before", "Corr. before", "Correlation of the raw frames with the template", 3, "median"
    ),
    Column("template_correlation_after", "Corr. after", "Correlation of the corrected frames", 3, "median"),
    Column("unregistered_frames", "Unreg. frames", "Frames that could not be registered", 0, "sum"),
    Column("components_refit", "Detected", "Components of the refit", 0, "sum"),
    Column("components_accepted", "Accepted", "Accepted components", 0, "sum"),
    Column("median_snr_accepted", "Median SNR", "Median SNR of the accepted components", 1, "median"),
    Column("inspection_messages", "NWB messages", "Messages of the NWB validators", 0, "sum"),
)
"""The numerical columns of the page, from left to right."""

SUMMARIES: dict[str, Callable[[pd.Series], float]] = {
    "sum": lambda values: float(values.sum()),
    "median": lambda values: float(values.dropna().median()) if values.notna().any() else np.nan,
}


def render_index(
    recordings: pd.DataFrame,
    assessments: Mapping[str, Sequence[Assessment]],
    links: Mapping[str, Mapping[str, str]],
    thumbnails: Mapping[str, html.Picture],
    tracked: Sequence[TrackingSummary] = (),
) -> str:
    """Renders the page over all recordings.

    Args:
        recordings: one row each (:class:`rsc2p_kedro.core.schemas.RecordingsTable`).
        assessments: of each recording, by its name.
        links: by the name of each recording, addresses of its `report` and its `curation` page; a missing one is not
            linked.
        thumbnails: by the name of each recording; a missing one is left out.
        tracked: of animals with several sessions, whose rows link to the page about their neurons.

    Returns:
        The page.
    """
    rows = []
    for record in recordings.to_dict("records"):
        name = record["recording"]
        own_assessments = assessments.get(name, ())
        rows.append(
            {
                "name": name,
                "size": f"{record['height_px']} × {record['width_px']} px, {record['frame_rate_hz']:.4g}\u00a0Hz",
                "links": links.get(name, {}),
                "thumbnail": html.data_uri(thumbnails[name]) if name in thumbnails else None,
                "level": worst_level(own_assessments),
                "flagged": [one for one in own_assessments if one.level > Level.OK],
                "cells": [_cell(column, record[column.name]) for column in COLUMNS],
            }
        )
    animals = [name.partition(".")[0] for name in recordings["recording"]]
    grouped = recordings.reset_index(drop=True).groupby(animals, sort=False)
    return html.render(
        "index.html",
        script="index.js",
        title="Recordings",
        groups=[_group(str(animal), of_one, [rows[i] for i in of_one.index], tracked) for animal, of_one in grouped],
        columns=COLUMNS,
        levels=[(level, sum(row["level"] is level for row in rows)) for level in Level],
        n_recordings=count_sessions(recordings["recording"]),
        n_rows=len(rows),
        n_accepted=int(recordings["components_accepted"].sum()),
    )


def count_sessions(names: Iterable[str]) -> int:
    """Counts recordings; the planes of one count once.

    Args:
        names: of recordings and planes: `animal.session` or `animal.session.plane_k`.

    Returns:
        Number of different sessions.
    """
    return len({tuple(name.split(".")[:2]) for name in names})


def _group(
    animal: str, recordings: pd.DataFrame, rows: list[dict[str, Any]], tracked: Sequence[TrackingSummary]
) -> dict[str, Any]:
    """The rows of one animal, with their summary."""
    return {
        "animal": animal,
        "rows": rows,
        "tracked": [one for one in tracked if one.animal == animal],
        "n_recordings": count_sessions(recordings["recording"]),
        "level": max(row["level"] for row in rows),
        "levels": [(level, sum(row["level"] is level for row in rows)) for level in Level],
        "cells": [_cell(column, SUMMARIES[column.summary](recordings[column.name])) for column in COLUMNS],
    }


def _cell(column: Column, value: float) -> dict[str, str]:
    """A number as it is shown and as it is sorted by; a missing value is sorted last."""
    if not np.isfinite(value):
        return {"text": "–", "value": ""}
    return {"text": f"{value:.{column.digits}f}", "value": f"{value:.6g}"}
