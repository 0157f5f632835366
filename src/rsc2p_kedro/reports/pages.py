"""Pages: results as self-contained HTML.

Pictures are embedded, nothing is fetched, and everything from outside is escaped.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from rsc2p_kedro.core.parameters import FrozenModel
from rsc2p_kedro.plots.style import digits
from rsc2p_kedro.reports.verdicts import Level, Verdict, worst

Picture = Figure | bytes
DPI = 110
PNG = b"\x89PNG\r\n\x1a\n"

FIGURES: dict[str, tuple[str, str]] = {
    "correction_figure": (
        "motion",
        "Maximum and local correlation before and after correction. Motion smears the maximum and makes edges "
        "correlate; after correction cells are round and vessels no longer glow in the correlation. The dark rim was "
        "not seen by every frame.",
    ),
    "shifts_figure": (
        "motion",
        "Shifts that were applied to the frames, and the largest deviation of a patch from them.",
    ),
    "motion_quality_figure": (
        "motion",
        "Whether it helped: similarity to the template, crispness, motion that remains.",
    ),
    "patch_shifts_figure": (
        "motion",
        "How the frame was bent where it was bent most, and how much each patch moves on its own.",
    ),
    "template_figure": ("motion", "What the frames were registered to."),
    "summary_figure": ("motion", "The corrected recording in four images."),
    "contours_figure": (
        "cells",
        "Outlines that hold 90 % of each footprint's energy, over the local correlation; islands of less than a tenth "
        "of the cell are left out.",
    ),
    "component_map_figure": ("cells", "The accepted components with their ids, as in the table below."),
    "traces_figure": (
        "cells",
        "The clearest cells, and those that only just passed or failed: dF/F, its deconvolved spikes, and the spikes "
        "that the trace lets one expect in each frame (inferred), up to a factor. Each row has its own scale; the bar "
        "at its right gives that of dF/F. Inferred spikes that never reach the component's typical "
        "transient amplitude are drawn as "
        "small as they are.",
    ),
    "quality_figure": (
        "cells",
        "SNR of the transients against the agreement of the footprint with them. To pass one full line is enough, the "
        "dotted ones must be passed; the tint is where components are accepted.",
    ),
    "footprints_figure": ("cells", "Footprints one by one, each scaled to its own maximum."),
}
"""Section and caption of each figure of a report, in the order in which they stand; others come after these."""

INDEX_FIGURES = {
    "correction": (
        "Before and after motion correction",
        "One row a recording: original and corrected maximum over time, original and corrected correlation with the "
        "neighbouring pixels. The images of a pair share their scale.",
    ),
    "contours": (
        "What was found",
        "One row a recording: outlines of the first fit, of the refit, and of what was accepted of it, over the "
        "corrected correlation.",
    ),
    "traces": (
        "The clearest cells",
        "The five accepted cells of highest SNR of each recording: dF/F over deconvolved and inferred spikes. Each row "
        "has its own scale, which for dF/F the bar at its right gives.",
    ),
}
"""Title and caption of each figure over all recordings."""

UNITS = {"px": "px", "s": "s", "hz": "Hz", "um": "µm", "nm": "nm"}

SECTIONS = {"motion": "Motion", "cells": "Cells", "other": "Further figures"}


@dataclass(frozen=True)
class Table:
    """A table ready to be written.

    Attributes:
        title: above it.
        columns: their names, with spaces.
        rows: cells as text, as many in each as there are columns.
        numeric: for each column, whether it is set to the right.
        folded: whether the reader opens it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    folded: bool = False


def label_of(name: str) -> str:
    """The name of a column or a parameter as a reader wants it: words, and the unit in brackets."""
    *words, last = name.split("_")
    if words and last in UNITS:
        return f"{' '.join(words)} ({UNITS[last]})"
    return name if name == "r_value" else name.replace("_", " ")


def format_cell(value: Any) -> str:
    """A value as a reader wants it: yes or no, four digits, a dash where there is nothing."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return digits(float(value), 4)
    if isinstance(value, tuple | list):
        return ", ".join(format_cell(v) for v in value)
    return str(value)


def table_of(frame: pd.DataFrame, title: str, *, folded: bool = False) -> Table:
    """A DataFrame as a table."""
    numeric = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes]
    columns = [frame[name].tolist() for name in frame.columns]
    rows = [[format_cell(value) for value in row] for row in zip(*columns, strict=True)]
    return Table(title, [label_of(name) for name in frame.columns], rows, numeric, folded)


def parameter_table(title: str, model: FrozenModel) -> Table:
    """Parameters with their values, what differs from the default, and what they mean."""
    rows = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        changed = "" if field.is_required() or value == field.default else f"default {format_cell(field.default)}"
        rows.append([name, format_cell(value), changed, field.description or ""])
    return Table(title, ["parameter", "value", "differs", "meaning"], rows, [False] * 4, folded=True)


def pairs_of(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of nested mappings as (name, text), inner names after outer ones; what is empty is left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in nested.items():
        if isinstance(value, Mapping):
            pairs += pairs_of(value, f"{prefix}{name}: ")
        elif value is not None and value != "" and value != ():
            pairs.append((prefix + label_of(str(name)), format_cell(value)))
    return pairs


def data_uri(picture: Picture) -> str:
    """A figure, or the bytes of a PNG or SVG, as an address that holds it."""
    if isinstance(picture, Figure):
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png", dpi=DPI)
        picture = buffer.getvalue()
    kind = "image/png" if picture.startswith(PNG) else "image/svg+xml"
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _arrange(figures: Mapping[str, Picture]) -> list[dict[str, Any]]:
    """Sections with their figures, in the order of :data:`FIGURES`."""
    known = [name for name in FIGURES if name in figures]
    names = known + [name for name in figures if name not in FIGURES]
    placed = [(name, *FIGURES.get(name, ("other", name.replace("_", " ")))) for name in names]
    return [
        {
            "key": key,
            "title": title,
            "figures": [
                {"name": name, "uri": data_uri(figures[name]), "caption": caption}
                for name, section, caption in placed
                if section == key
            ],
        }
        for key, title in SECTIONS.items()
    ]


def environment() -> Environment:
    """How pages are made from templates: whatever is put into one is escaped."""
    made = Environment(
        loader=PackageLoader("rsc2p_kedro.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and keys keep their order
    return made


def render_report(
    name: str,
    *,
    summary: str,
    facts: Sequence[tuple[str, str]],
    verdicts: Sequence[Verdict],
    figures: Mapping[str, Picture],
    tables: Mapping[str, Sequence[Table]],
    parameters: Iterable[Table],
    provenance: Sequence[tuple[str, str]],
    simulated: bool = False,
) -> str:
    """The report of one recording as a page of HTML.

    Args:
        name: of the recording.
        summary: what it is, in a line.
        facts: what is known of it, as (name, text).
        verdicts: in the order in which they are shown.
        figures: by the names in :data:`FIGURES`; other names are shown at the end.
        tables: by section: `motion`, `cells`, `truth`, `inspection`.
        parameters: one table a stage.
        provenance: what made it, as (name, text).
        simulated: whether the recording is made up, which the page then says at its top.
    """
    return (
        environment()
        .get_template("report.html")
        .render(
            title=name,
            summary=summary,
            facts=facts,
            verdicts=verdicts,
            overall=worst(verdicts),
            sections=_arrange(figures),
            tables=tables,
            parameters=list(parameters),
            provenance=provenance,
            simulated=simulated,
        )
    )


def render_index(
    recordings: pd.DataFrame,
    verdicts: Mapping[str, Sequence[Verdict]],
    links: Mapping[str, Mapping[str, str]],
    figures: Mapping[str, Picture] | None = None,
) -> str:
    """A page over all recordings: the first two verdicts on each, and all that are not good.

    Args:
        recordings: one row each (:class:`rsc2p_kedro.core.schemas.RecordingsTable`).
        verdicts: on each recording, by its name.
        links: by the name of each recording, addresses of its `report` and its `view`; where there is none, there is
            no link.
        figures: by the names in :data:`INDEX_FIGURES`.
    """
    rows = [
        {
            "facts": row,
            "links": links.get(row["recording"], {}),
            "shown": [verdict for index, verdict in enumerate(found) if verdict.level > Level.GOOD or index < 2],
            "level": worst(found),
        }
        for row in recordings.to_dict("records")
        for found in [verdicts.get(row["recording"], ())]
    ]
    return (
        environment()
        .get_template("index.html")
        .render(
            title="Recordings",
            rows=rows,
            table=table_of(recordings, "All numbers", folded=True),
            figures=[
                {"title": title, "caption": caption, "uri": data_uri(figures[name])}
                for name, (title, caption) in INDEX_FIGURES.items()
                if figures and name in figures
            ],
        )
    )
