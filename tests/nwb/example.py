"""An example recording, 48 rows x 64 columns, with random results, shared by all tests of the export."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import scipy.sparse as sp

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS
from rsc2p_kedro.core.provenance import collect_provenance, content_identity
from rsc2p_kedro.core.results import (
    COMPONENT_CLASSES,
    Components,
    DeltaFOverF,
    MotionCorrection,
    SpikeInference,
    SummaryImages,
)
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.acquisition import Links
from rsc2p_kedro.nwb.build import PlaneContents, build_nwb_file
from rsc2p_kedro.nwb.metadata import NwbParameters, merge_metadata
from rsc2p_kedro.nwb.recording_results import RecordingResults

T, H, W = 90, 48, 64
SHARED: dict[str, Any] = {
    "experimenter": ["Sun, Weilun"],
    "institution": "UC Davis",
    "lab": "A lab",
    "experiment_description": "What this was for.",
    "keywords": ["two-photon"],
    "related_publications": ["10.17632/hjgtsmyyv5.1"],
    "session": {"session_description": "Imaging of one plane."},
    "device": {
        "name": "Microscope",
        "manufacturer": "Thorlabs",
        "model_name": "B-scope",
        "description": "A microscope.",
    },
    "imaging_plane": {
        "description": "One plane.",
        "indicator": "GCaMP6f",
        "location": "RSPagl",
        "excitation_wavelength_nm": 920,
        "emission_wavelength_nm": 510,
    },
}


def shared(**changes: Any) -> NwbParameters:
    return NwbParameters.model_validate({**SHARED, **changes})


def recording(**changes: Any) -> Recording:
    entry: dict[str, Any] = {
        "animal": "animal_1",
        "session_key": "day_7",
        "path": "data/01_raw/animal_1",
        "frame_rate_hz": 14.7,
        "pixel_size_um": [1.5, 1.25],
        "subject": {"species": "Mus musculus", "sex": "U", "age": "P90D", "description": "A mouse."},
        "session": {"session_start_time": "2019-05-06T10:30:00+02:00"},
    }
    return Recording.model_validate({**entry, **changes})


def _spots(rng: np.random.Generator, n: int) -> np.ndarray:
    """Footprints (H*W, n), each a spot of unit norm that is not symmetric in x and y."""
    y, x = np.mgrid[:H, :W]
    centres = rng.uniform([8, 8], [H - 8, W - 8], (n, 2))
    images = [np.exp(-(((y - cy) / 2) ** 2) - ((x - cx) / 4) ** 2) for cy, cx in centres]
    A = np.array([np.where(i > 0.05, i, 0).ravel() for i in images]).reshape(n, H * W).T
    return (A / np.linalg.norm(A, axis=0)).astype(np.float32)


def components(n: int = 5, n_background: int = 2, seed: int = 0) -> Components:
    rng = np.random.default_rng(seed)
    background = rng.random((H * W, n_background), np.float32) * (rng.random((H * W, n_background)) > 0.5)
    return Components(
        shape=(H, W),
        ids=np.arange(n, dtype=np.int64) * 3 + 2,
        footprints=sp.csc_array(_spots(rng, n)),
        traces=rng.random((n, T), np.float32),
        spikes=rng.random((n, T), np.float32),
        residual_traces=rng.normal(size=(n, T)).astype(np.float32),
        background_footprints=sp.csc_array(background),
        background_traces=rng.random((n_background, T), np.float32),
        baseline=rng.random(n, np.float32),
        noise=rng.random(n, np.float32),
        ar_coefficients=np.full((n, 1), 0.8, np.float32),
        lam=np.zeros(n, np.float32),
        pixel_noise=np.ones((H, W), np.float32),
    )


def motion(n_patches: int = 4, seed: int = 0) -> MotionCorrection:
    rng = np.random.default_rng(seed)
    return MotionCorrection(
        template=rng.random((H, W), np.float32),
        shifts=rng.normal(size=(T, 2)).astype(np.float32),
        patch_shifts=rng.normal(size=(T, n_patches, 2)).astype(np.float32),
        patch_centres=rng.uniform(0, [H, W], (n_patches, 2)).astype(np.float32),
        valid_mask=np.ones((H, W), bool),
        peak_quality=rng.random(T, np.float32),
        registered=np.ones(T, bool),
        provenance={"engine": "embedded", "version": "0.1"},
    )


def component_table(components: Components) -> pd.DataFrame:
    n = components.n_components
    images = components.footprints.toarray().T.reshape(n, H, W)
    y, x = np.mgrid[:H, :W]
    weight = images.sum((1, 2))
    return pd.DataFrame(
        {
            "component_id": components.ids,
            "centre_y_px": (images * y).sum((1, 2)) / weight,
            "centre_x_px": (images * x).sum((1, 2)) / weight,
            "area_px": (images > 0.2 * images.max((1, 2), keepdims=True)).sum((1, 2)),
            "snr": np.linspace(1, 5, n),
            "r_value": np.linspace(0.5, 0.9, n),
            "classifier_score": np.full(n, np.nan),
            "component_class": np.full(n, None),
            **{f"{name}_probability": np.full(n, np.nan) for name in COMPONENT_CLASSES},
            "baseline": components.baseline.astype(float),
            "noise": components.noise.astype(float),
            "decay_time_s": np.full(n, 0.4),
            "n_transients": np.arange(n),
            "event_rate_hz": np.linspace(0, 1.25, n),
            "accepted": np.arange(n) % 2 == 0,
            "reason": [f"because {i}" for i in range(n)],
            "curated": np.zeros(n, bool),
        }
    )


def results(
    n: int = 5,
    n_background: int = 2,
    n_patches: int = 4,
    *,
    links: Links | None = None,
    frame_times_s: np.ndarray | None = None,
) -> RecordingResults:
    rng = np.random.default_rng(7)
    raw = da.from_array(rng.integers(0, 4000, (T, H, W), np.uint16), chunks=(32, 24, 32))
    components_ = components(n, n_background)
    image = rng.random((4, H, W), np.float32)
    return RecordingResults(
        movie=raw,
        corrected_movie=da.from_array(rng.random((T, H, W), np.float32), chunks=(32, 24, 32)),
        motion=motion(n_patches),
        components=components_,
        component_table=component_table(components_),
        dff=DeltaFOverF(
            dff=rng.normal(size=(n, T)).astype(np.float32),
            f0=rng.random((n, T), np.float32) + 1,
            guarded=np.arange(n) % 3 == 1,
        ),
        spike_inference=SpikeInference(
            rates=rng.exponential(size=(n, T)).astype(np.float32),
            event_probability=rng.random((n, T), np.float32),
            decay_time_s=np.linspace(0.4, 0.8, n, dtype=np.float32),
            transient_amplitude=rng.random(n, np.float32) + 1,
            noise=rng.random(n, np.float32),
        ),
        summary_images=SummaryImages(*image),
        links=links,
        frame_times_s=frame_times_s,
    )


@dataclass(frozen=True)
class Example:
    """An example recording with its results, and the NWBFile built of them."""

    results: RecordingResults
    parameters: NwbParameters
    recording: Recording

    def build(self) -> Any:
        return build_nwb_file(
            merge_metadata(self.parameters, self.recording),
            [self.contents],
            parameters=self.parameters,
        )

    @property
    def contents(self) -> PlaneContents:
        return PlaneContents(
            self.results,
            stages={name: model() for name, model in STAGE_PARAMETERS.items()},
            provenance=collect_provenance(motion_correction=self.results.motion.provenance),
            inputs={"components": content_identity(self.results.components)},
        )


def example(
    *, parameters: dict[str, Any] | None = None, entry: dict[str, Any] | None = None, **options: Any
) -> Example:
    """An example; `parameters` and `entry` change its metadata, other options are those of `results`."""
    return Example(results(**options), shared(**(parameters or {})), recording(**(entry or {})))
