"""The curation page of one recording: components, traces and thresholds to inspect and to accept or reject manually.

The page is self-contained: images, contours and traces are embedded, nothing is fetched, and the page's own script is
the only one its Content-Security-Policy allows. Values reach the script as JSON, and it shows them as text, never as
markup.
"""

import base64
import io
import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.image import imsave
from numpy.typing import NDArray

from rsc2p_kedro.core.parameters import EvaluationParameters
from rsc2p_kedro.core.results import Components, DeltaFOverF, SpikeInference, SummaryImages
from rsc2p_kedro.plots.components import outlines
from rsc2p_kedro.plots.style import percentile_limits, runs
from rsc2p_kedro.reports import html

MAX_POINTS = 400_000
"""Maximum number of samples of one kind of trace over all components; five kinds of this size take 5.3 MB."""

MEASURES = {"snr": "snr", "r_value": "r_value", "classifier_score": "classifier_score"}
"""Measure, as in the names of its thresholds -> its column in the component table."""

MEASURE_LABELS = {"snr": "SNR", "r_value": "r value", "classifier_score": "classifier score"}
THRESHOLD_LABELS = {"min": "accept if at least", "lowest": "reject if below"}
STEPS = {"snr": 0.1, "r_value": 0.01, "classifier_score": 0.01}
"""Smallest change of a threshold on the page, in the unit of the measure."""


def render_curation_page(
    name: str,
    *,
    summary: str,
    images: SummaryImages,
    structural: NDArray | None = None,
    components: Components,
    table: pd.DataFrame,
    dff: DeltaFOverF,
    inferred: SpikeInference,
    excluded: NDArray[np.bool_],
    parameters: EvaluationParameters,
    curation: pd.DataFrame | None,
    frame_rate_hz: float,
    pixel_size_um: tuple[float, float] | None,
) -> str:
    """Renders the curation page of one recording.

    Args:
        name: of the recording.
        summary: its size, in one line.
        images: summary images of the corrected movie.
        structural: (H, W), mean image of the structural channel; None where there is none.
        components: footprints and traces.
        table: one row per component, in the order of `components`.
        dff: of the components.
        inferred: spikes of the components.
        excluded: (T,), frames that were left out, which get a grey band.
        parameters: of the evaluation that made the table.
        curation: earlier manual decisions (component_id, decision, note); None where there are none.
        frame_rate_hz: frames per second.
        pixel_size_um: (y, x), for the scale bar, which is in px where it is None.

    Returns:
        The page.
    """
    stride = max(math.ceil(dff.dff.size / MAX_POINTS), 1)
    data = {
        "name": name,
        "shape": list(components.shape),
        "pixel_size_um": pixel_size_um,
        "frame_rate_hz": frame_rate_hz,
        "n_frames": components.n_frames,
        "frames_per_point": stride,
        "images": _images(images, structural),
        "components": _components(components, table),
        "measures": _measures(table, parameters),
        "accept": _accepted_classes(table, parameters),
        "thresholds": _thresholds(table, parameters),
        "decisions": _decisions(curation, components.ids),
        "series": _series(components, dff, inferred, stride),
        "excluded": runs(excluded),
    }
    return html.render(
        "curation.html",
        script="curation.js",
        title=name,
        summary=summary,
        data=data,
        stride=stride,
        n_excluded=int(excluded.sum()),
    )


def _images(images: SummaryImages, structural: NDArray | None) -> list[dict[str, str]]:
    """The images the reader can choose from, in grey; the first one is shown first."""
    kinds = {
        "correlation": ("Correlation image", images.correlation),
        "maximum": ("Maximum projection", images.maximum),
        "mean": ("Mean image", images.mean),
    }
    if structural is not None:
        kinds["structural"] = ("Structural channel", structural)
    return [{"key": key, "label": label, "uri": _grey(image)} for key, (label, image) in kinds.items()]


def _grey(image: NDArray) -> str:
    """An image (H, W) as a PNG in grey, between its 2nd and 99.7th percentile."""
    low, high = percentile_limits(image, percentiles=(2.0, 99.7))
    buffer = io.BytesIO()
    imsave(buffer, image, vmin=low, vmax=high, cmap="gray", format="png")
    return html.data_uri(buffer.getvalue())


def _components(components: Components, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Each component as the script needs it: its contour as an SVG path, and its row of the component table."""
    lines = outlines(components.footprints, components.shape)
    kept = [name for name in table.columns if name != "component_id" and not table[name].isna().all()]
    rows = [{name: _plain(value) for name, value in row.items()} for row in table[kept].to_dict("records")]
    return [
        {"id": int(component), "outline": "".join(_path(line) for line in of_one), "row": row}
        for component, of_one, row in zip(components.ids, lines, rows, strict=True)
    ]


def _path(line: NDArray) -> str:
    """A closed line (K, 2) of (x, y) in px as an SVG path, rounded to 0.1 px."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line[:-1]) + "Z"


def _plain(value: Any) -> Any:
    """A value that JSON can hold; null in place of NaN and infinity."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _measures(table: pd.DataFrame, parameters: EvaluationParameters) -> dict[str, str]:
    """The measures that acceptance was decided by, with their columns."""
    scored = parameters.use_classifier and bool(table["classifier_score"].notna().any())
    return {name: column for name, column in MEASURES.items() if scored or name != "classifier_score"}


def _accepted_classes(table: pd.DataFrame, parameters: EvaluationParameters) -> list[str] | None:
    """The classes that were accepted; None where no classifier was run."""
    if parameters.accept is None or not table["soma_probability"].notna().any():
        return None
    return list(parameters.accept)


def _thresholds(table: pd.DataFrame, parameters: EvaluationParameters) -> list[dict[str, Any]]:
    """The thresholds of the evaluation with the range of their sliders, and two on the area that only the page has."""
    thresholds = []
    for measure, column in _measures(table, parameters).items():
        values = table[column].dropna().to_numpy(dtype=float)
        for role, words in THRESHOLD_LABELS.items():
            value = float(getattr(parameters, f"{role}_{measure}"))
            low, high = (0.0, math.ceil(max([*values, value, 5.0]))) if measure == "snr" else (-1.0, 1.0)
            low = 0.0 if measure == "classifier_score" else low
            key, label = f"{role}_{measure}", f"{MEASURE_LABELS[measure]}: {words}"
            thresholds.append({"key": key, "label": label, "value": value, "low": low, "high": high,
                               "step": STEPS[measure], "parameter": True})  # fmt: skip
    if _accepted_classes(table, parameters) is not None:
        thresholds.append({"key": "min_soma_probability", "label": "probability of class soma: accept if at least",
                           "value": parameters.min_soma_probability, "low": 0.0, "high": 1.0, "step": 0.01,
                           "parameter": True})  # fmt: skip
    largest = int(table["area_px"].to_numpy(dtype=int).max(initial=1))
    for key, label, value in (("min_area", "area (px): minimum", 0), ("max_area", "area (px): maximum", largest)):
        thresholds.append({"key": key, "label": label, "value": value, "low": 0, "high": largest, "step": 1,
                           "parameter": False})  # fmt: skip
    return thresholds


def _decisions(curation: pd.DataFrame | None, ids: NDArray) -> list[dict[str, Any]]:
    """The manual decisions on components that exist."""
    if curation is None:
        return []
    existing = curation[curation["component_id"].isin(ids)]
    return [
        {"id": int(row["component_id"]), "decision": row["decision"], "note": row["note"]}
        for row in existing.to_dict("records")
    ]


def _series(
    components: Components, dff: DeltaFOverF, inferred: SpikeInference, stride: int
) -> dict[str, dict[str, Any]]:
    """Five traces of each component: measured and denoised fluorescence, dF/F, deconvolved and inferred spikes."""
    measured = components.traces + components.residual_traces
    return {
        "measured": encode(_per_point(measured, stride)),
        "denoised": encode(_per_point(components.traces, stride)),
        "dff": encode(_per_point(dff.dff, stride)),
        "spikes": encode(_per_point(components.spikes, stride, total=True)),
        "inferred": encode(_per_point(inferred.rates, stride, total=True)),
    }


def _per_point(traces: NDArray, stride: int, *, total: bool = False) -> NDArray[np.float64]:
    """Means, or sums, (N, ceil(T / stride)) of traces (N, T) over `stride` frames; the last over the remaining ones."""
    if stride == 1:
        return traces.astype(np.float64)
    starts = np.arange(0, traces.shape[1], stride)
    sums = np.add.reduceat(traces.astype(np.float64), starts, axis=1)
    return sums if total else sums / np.diff(np.append(starts, traces.shape[1]))


def encode(traces: NDArray) -> dict[str, Any]:
    """Traces in 16 bits a sample: value = low + step * number.

    A step is 1/65535 of the range of the trace, far below its noise.

    Args:
        traces: (N, T).

    Returns:
        `low` and `step` of each trace, and `numbers`: little-endian unsigned 16-bit integers, trace after trace, as
        base64.
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
