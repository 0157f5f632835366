"""The interactive view: what was found in one recording, as a page to click through and to decide on.

The page stands alone: images, outlines and traces are embedded, the script is our own and the only one that may run
(its hash stands in the page's Content-Security-Policy), nothing is fetched. What comes from outside reaches the page as
JSON, and the script shows it as text, never as markup.
"""

import base64
import hashlib
import io
import math
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.image import imsave
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import Components, DeltaFOverF, SpikeInference, SummaryImages
from rsc2p_kedro.plots.components import outlines
from rsc2p_kedro.plots.style import percentile_limits
from rsc2p_kedro.reports import pages

MOST_POINTS = 400_000
"""Points of time, summed over components, of one kind of trace; five kinds at this size take 5.3 MB of the page."""

MEASURES = {"snr": "snr", "r_value": "r_value", "classifier_score": "classifier_score"}
"""Measure, as in the names of its thresholds -> its column in the table of components."""

STEPS = {"snr": 0.1, "r_value": 0.01, "classifier_score": 0.01}


def render_view(
    name: str,
    *,
    summary: str,
    images: SummaryImages,
    components: Components,
    table: pd.DataFrame,
    dff: DeltaFOverF,
    inferred: SpikeInference,
    parameters: EvaluationParameters,
    decisions: pd.DataFrame | None,
    frame_rate_hz: float,
    pixel_size_um: tuple[float, float] | None,
) -> str:
    """The interactive view of one recording as a page of HTML.

    Args:
        name: of the recording.
        summary: what it is, in a line.
        images: of the corrected movie.
        components: what was found.
        table: one row a component, in the order of `components`.
        dff: of the components.
        inferred: spikes of the components.
        parameters: of the evaluation that made the table.
        decisions: the user's own up to now (component_id, decision, note); none: there are none.
        frame_rate_hz: frames per second.
        pixel_size_um: (y, x), for the scale bar; none: it is in px.
    """
    stride = max(math.ceil(dff.dff.size / MOST_POINTS), 1)
    data = {
        "name": name,
        "shape": list(components.shape),
        "pixel_size_um": pixel_size_um,
        "frame_rate_hz": frame_rate_hz,
        "n_frames": components.n_frames,
        "frames_per_point": stride,
        "images": _images(images),
        "components": _components(components, table),
        "measures": _measures(table),
        "limits": _limits(table, parameters),
        "decisions": _decisions(decisions, components.ids),
        "series": _series(components, dff, inferred, stride),
    }
    script = files("rsc2p_kedro.reports").joinpath("templates/view.js").read_text(encoding="utf-8")
    page = pages.environment().get_template("view.html")
    return page.render(
        title=name, summary=summary, data=data, script=Markup(script), script_hash=_hash(script), stride=stride
    )


def _hash(script: str) -> str:
    """What a Content-Security-Policy calls a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _images(images: SummaryImages) -> list[dict[str, str]]:
    """The images to choose from, the first one first seen, in grey between their percentiles."""
    kinds = {
        "correlation": ("Correlation", images.correlation),
        "maximum": ("Maximum", images.maximum),
        "mean": ("Mean", images.mean),
    }
    return [{"key": key, "label": label, "uri": _grey(image)} for key, (label, image) in kinds.items()]


def _grey(image: NDArray) -> str:
    low, high = percentile_limits(image, percentiles=(2.0, 99.7))
    buffer = io.BytesIO()
    imsave(buffer, image, vmin=low, vmax=high, cmap="gray", format="png")
    return pages.data_uri(buffer.getvalue())


def _components(components: Components, table: pd.DataFrame) -> list[dict[str, Any]]:
    """What the script knows of each component: its outline as a path of SVG, and its row of the table."""
    lines = outlines(components.footprints, components.shape)
    kept = [name for name in table.columns if name != "component_id" and not table[name].isna().all()]
    rows = [{name: _plain(value) for name, value in row.items()} for row in table[kept].to_dict("records")]
    return [
        {"id": int(component), "outline": "".join(_path(line) for line in of_one), "row": row}
        for component, of_one, row in zip(components.ids, lines, rows, strict=True)
    ]


def _path(line: NDArray) -> str:
    """A closed line (K, 2) as (x, y) in px as a path of SVG, to a tenth of a px."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line[:-1]) + "Z"


def _plain(value: Any) -> Any:
    """A value as JSON knows it: none where there is no number."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _measures(table: pd.DataFrame) -> dict[str, str]:
    return {
        name: column for name, column in MEASURES.items() if table[column].notna().any() or name != "classifier_score"
    }


def _limits(table: pd.DataFrame, parameters: EvaluationParameters) -> list[dict[str, Any]]:
    """The thresholds of the evaluation with the range of their sliders, and two on the area, no parameters."""
    limits = []
    for measure, column in _measures(table).items():
        values = table[column].dropna().to_numpy(dtype=float)
        for role, words in (("min", "enough alone"), ("lowest", "needed")):
            value = float(getattr(parameters, f"{role}_{measure}"))
            low, high = (0.0, math.ceil(max([*values, value, 5.0]))) if measure == "snr" else (-1.0, 1.0)
            low = 0.0 if measure == "classifier_score" else low
            key, label = f"{role}_{measure}", f"{measure.replace('snr', 'SNR')}, {words}"
            limits.append({"key": key, "label": label, "value": value, "low": low, "high": high,
                           "step": STEPS[measure], "parameter": True})  # fmt: skip
    areas = table["area_px"].to_numpy(dtype=int)
    largest = int(areas.max(initial=1))
    for key, label, value in (("min_area", "area, at least (px)", 0), ("max_area", "area, at most (px)", largest)):
        limits.append({"key": key, "label": label, "value": value, "low": 0, "high": largest, "step": 1,
                       "parameter": False})  # fmt: skip
    return limits


def _decisions(decisions: pd.DataFrame | None, ids: NDArray) -> list[dict[str, Any]]:
    """The user's decisions on components that are there."""
    if decisions is None:
        return []
    mine = decisions[decisions["component_id"].isin(ids)]
    return [
        {"id": int(row["component_id"]), "decision": row["decision"], "note": row["note"]}
        for row in mine.to_dict("records")
    ]


def _series(
    components: Components, dff: DeltaFOverF, inferred: SpikeInference, stride: int
) -> dict[str, dict[str, Any]]:
    """Five traces of each component: noisy and denoised fluorescence, dF/F, deconvolved and inferred spikes."""
    noisy = components.traces + components.residual_traces
    return {
        "noisy": encode(_per_point(noisy, stride)),
        "denoised": encode(_per_point(components.traces, stride)),
        "dff": encode(_per_point(dff.dff, stride)),
        "spikes": encode(_per_point(components.spikes, stride, total=True)),
        "inferred": encode(_per_point(inferred.rates, stride, total=True)),
    }


def _per_point(traces: NDArray, stride: int, *, total: bool = False) -> NDArray[np.float64]:
    """Means, or sums, (N, ceil(T / stride)) of traces (N, T) over `stride` frames; the last over what is left."""
    if stride == 1:
        return traces.astype(np.float64)
    starts = np.arange(0, traces.shape[1], stride)
    sums = np.add.reduceat(traces.astype(np.float64), starts, axis=1)
    return sums if total else sums / np.diff(np.append(starts, traces.shape[1]))


def encode(traces: NDArray) -> dict[str, Any]:
    """Traces (N, T) in 16 bits each: value = low + step * number, with `low` and `step` of each trace.

    A step is 1/65535 of what the trace spans, far below its noise. The numbers are little-endian, trace after trace.
    """
    low = traces.min(axis=1, initial=np.inf) if traces.size else np.zeros(len(traces))
    span = traces.max(axis=1, initial=-np.inf) - low if traces.size else np.zeros(len(traces))
    step = np.where(span > 0, span / 65535, 1.0)
    numbers = np.rint((traces - low[:, None]) / step[:, None]).astype("<u2")
    return {
        "low": low.tolist(),
        "step": step.tolist(),
        "numbers": base64.b64encode(numbers.tobytes()).decode("ascii"),
    }
