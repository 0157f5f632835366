"""Results of a small made-up recording: up to four components, in frames that are not square."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from rsc2p_kedro.core import schemas
from rsc2p_kedro.core.results import (
    ComponentQuality,
    Components,
    DetectorSaturation,
    MotionCorrection,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.manifest.recordings import Recording

H, W, T = 24, 40, 60
IDS = [11, 3, 8, 5]
EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def make_recording(**fields: object) -> Recording:
    return Recording(animal="a_1", session_key="s_1", path="raw", frame_rate_hz=10.0, pixel_size_um=(2, 1), **fields)


def make_images() -> SummaryImages:
    rng = np.random.default_rng(0)
    return SummaryImages(*(rng.random((H, W)).astype(np.float32) for _ in range(4)))


def make_motion() -> MotionCorrection:
    rng = np.random.default_rng(1)
    ones = np.ones(T, np.float32)
    shifts = rng.normal(size=(T, 2)).astype(np.float32)
    return MotionCorrection(
        template=rng.random((H, W)).astype(np.float32),
        shifts=shifts,
        patch_shifts=np.repeat(shifts[:, None], 2, axis=1),
        patch_centres=np.array([[12, 10], [12, 30]], np.float32),
        valid_mask=np.ones((H, W), bool),
        peak_quality=9 * ones,
        registered=np.arange(T) != 7,
        provenance={"engine": "embedded", "version": "0"},
    )


def make_components(n: int) -> Components:
    rng = np.random.default_rng(2)
    dense = np.zeros((H, W, n), np.float32)
    for index in range(n):
        dense[5 + 4 * index : 10 + 4 * index, 8:13, index] = 0.2
    per_component = np.ones(n, np.float32)
    return Components(
        shape=(H, W),
        ids=np.array(IDS[:n], dtype=np.int64),
        footprints=sp.csc_array(dense.reshape(H * W, n)),
        traces=rng.random((n, T)).astype(np.float32),
        spikes=(rng.random((n, T)) > 0.9).astype(np.float32),
        residual_traces=np.zeros((n, T), np.float32),
        background_footprints=sp.csc_array((H * W, 1), dtype=np.float32),
        background_traces=np.ones((1, T), np.float32),
        baseline=per_component,
        noise=per_component,
        ar_coefficients=np.full((n, 1), 0.8, np.float32),
        lam=per_component,
        pixel_noise=np.ones((H, W), np.float32),
        provenance={"engine": "embedded", "version": "0"},
    )


def make_component_table(n: int) -> pd.DataFrame:
    """Rows in another order than the components: ids 3, 11; component 11 is accepted."""
    rows = pd.DataFrame({"component_id": sorted(IDS[:n])})
    accepted = rows["component_id"] == 11
    table = rows.assign(
        centre_y_px=7.0, centre_x_px=10.0, area_px=25, snr=np.where(accepted, 5.0, 1.0), r_value=0.8,
        classifier_score=np.nan, component_class=None, soma_probability=np.nan, process_probability=np.nan,
        out_of_focus_probability=np.nan, other_probability=np.nan, baseline=1.0, noise=1.0, decay_time_s=0.4,
        n_transients=3, event_rate_hz=0.1, accepted=accepted, reason=EVIL, curated=False,
    )  # fmt: skip
    return schemas.ComponentTable.validate(table)


def make_motion_table(motion: MotionCorrection) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "frame": range(T), "shift_y_px": motion.shifts[:, 0].astype(float),
            "shift_x_px": motion.shifts[:, 1].astype(float), "largest_deviation_px": 0.0,
            "peak_quality": motion.peak_quality, "correlation_before": np.full(len(motion.shifts), 0.5),
            "correlation_after": np.full(len(motion.shifts), 0.8), "registered": motion.registered,
        }
    )  # fmt: skip


MOTION_QUALITY = pd.DataFrame(
    [
        ("template_correlation", 0.5, 0.8, 0.01, True),
        ("crispness", 1.0, 1.5, 0.1, True),
        ("residual_motion_px", 0.9, 0.1, 0.1, True),
    ],
    columns=["measure", "before", "after", "standard_error", "improved"],
)
FRAMES = pd.DataFrame(
    {"minimum": 1.0, "mean": 50.0, "maximum": 90.0, "saturated_share": 0.0, "file": "a.tif", "trial": "a.tif"},
    index=range(T),
)
LINEAGE = pd.DataFrame([(3, "new", "", "")], columns=["component_id", "event", "parents", "reason"])
INSPECTION = pd.DataFrame(
    [("check_x", "CRITICAL", "Subject", "subject", "/", EVIL)],
    columns=["check", "importance", "object_type", "object_name", "location", "message"],
)


def make_spikes(n: int) -> SpikeInference:
    spikes = make_components(n).spikes
    one = np.ones(n, np.float32)
    return SpikeInference(0.7 * spikes, np.clip(spikes, 0, 1), 0.4 * one, one, one)


def make_quality(n: int) -> ComponentQuality:
    return ComponentQuality(
        snr=np.ones(n, np.float32), r_value=np.ones(n, np.float32), accepted=np.ones(n, bool), reasons=("",) * n,
        n_transients=np.ones(n, np.int64), provenance={"engine": "embedded"},
    )  # fmt: skip


SATURATION = DetectorSaturation(80.0, 0.01, np.arange(10.0, 90.0, 10), np.r_[1:7, 4, 2] * 1.0, np.arange(1.0, 9.0))
EXCLUDED = pd.DataFrame({"frame": range(T), "excluded": False, "reason": ""})
EXCLUDED.loc[7, ["excluded", "reason"]] = True, "blank"
