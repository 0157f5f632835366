"""Building blocks of the HTML pages: tables, embedded images, templates and the only script that a page may run.

Pages are self-contained: images are embedded, nothing is fetched, and every value is escaped.
"""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from rsc2p_kedro.core.parameters import FrozenModel
from rsc2p_kedro.plots.style import digits

Picture = Figure | bytes
DPI = 110
"""Resolution at which figures are embedded: an axis label of 9.5 pt is then 15 px high, the size of the page's text."""

MEDIA_TYPES = {b"\x89PNG\r\n\x1a\n": "image/png", b"RIFF": "image/webp"}
"""First bytes of a file -> its media type."""

UNITS = {"px": "px", "s": "s", "hz": "Hz", "um": "µm", "nm": "nm"}
"""Last word of a column or parameter name -> its unit as it is printed."""


@dataclass(frozen=True)
class Table:
    """A table whose cells are already text.

    Attributes:
        title: heading above the table.
        columns: column names, with spaces.
        rows: cells as text, one per column.
        numeric: for each column, whether it is aligned to the right.
        folded: whether the table is closed until the reader opens it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool]
    folded: bool = False


def label_of(name: str) -> str:
    """The label of a column or a parameter: its words, with the unit in brackets.

    Args:
        name: of the column or parameter, such as `frame_rate_hz`.

    Returns:
        The label, such as `frame rate (Hz)`.
    """
    *words, last = ["SNR" if word == "snr" else word for word in name.split("_")]
    return f"{' '.join(words)} ({UNITS[last]})" if words and last in UNITS else " ".join([*words, last])


def format_cell(value: Any) -> str:
    """A value as text.

    Args:
        value: of a table or a parameter.

    Returns:
        `yes` or `no`, a number in four digits, list members separated by commas, or a dash for a missing value.
    """
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
    """A DataFrame as a :class:`Table`.

    Args:
        frame: the values; its index is not shown.
        title: heading above the table.
        folded: whether the table is closed until the reader opens it.

    Returns:
        The table, columns and rows in the order of the DataFrame.
    """
    numeric = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes]
    columns = [frame[name].tolist() for name in frame.columns]
    rows = [[format_cell(value) for value in row] for row in zip(*columns, strict=True)]
    return Table(title, [label_of(name) for name in frame.columns], rows, numeric, folded)


def parameter_table(title: str, model: FrozenModel) -> Table:
    """The parameters of a stage, with those that differ from their defaults marked.

    Args:
        title: heading above the table.
        model: the parameters.

    Returns:
        A folded table, one row per parameter: name, value, default where it differs, description.
    """
    rows = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        changed = "" if field.is_required() or value == field.default else f"default {format_cell(field.default)}"
        rows.append([name, format_cell(value), changed, field.description or ""])
    return Table(title, ["parameter", "value", "changed from", "description"], rows, [False] * 4, folded=True)


def pairs_of(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of nested mappings as pairs of texts.

    Args:
        nested: mappings of names to values or to further mappings.
        prefix: put before every name.

    Returns:
        (name, text) of each leaf, inner names after outer ones (`session: notes`); empty values are left out.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in nested.items():
        if isinstance(value, Mapping):
            pairs += pairs_of(value, f"{prefix}{name}: ")
        elif value is not None and value != "" and value != ():
            pairs.append((prefix + label_of(str(name)), format_cell(value)))
    return pairs


def data_uri(picture: Picture) -> str:
    """An image as a `data:` URI.

    Args:
        picture: a figure, which is embedded as PNG, or the bytes of a PNG, WebP or SVG file.

    Returns:
        The URI, base64-encoded.
    """
    if isinstance(picture, Figure):
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png", dpi=DPI)
        picture = buffer.getvalue()
    kind = next((kind for first, kind in MEDIA_TYPES.items() if picture.startswith(first)), "image/svg+xml")
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def render(template: str, *, script: str | None = None, **context: Any) -> str:
    """Fills a template; every value put into it is escaped.

    Args:
        template: file name of the template.
        script: file name of the page's only script; None for a page without one. The page's
            Content-Security-Policy allows the script by its hash and nothing else.
        **context: the template's variables.

    Returns:
        The page.
    """
    made = Environment(
        loader=PackageLoader("rsc2p_kedro.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"allow_nan": False}  # and keys keep their order
    if script is not None:
        code = files("rsc2p_kedro.reports").joinpath("templates", script).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(code.encode("utf-8")).digest()).decode("ascii")
        context |= {"script": Markup(code), "script_hash": f"sha256-{digest}"}
    return made.get_template(template).render(**context)
