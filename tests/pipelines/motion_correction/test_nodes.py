"""The nodes of motion correction on recordings of two channels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsc2p_kedro.core.parameters import (
    Acquisition,
    CaimanSettings,
    Compute,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.manifest.checks import stage_problems
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.motion_correction.nodes import (
    apply_motion,
    assess_motion,
    estimate_motion,
    summarize_structural_movie,
)
from rsc2p_kedro.simulation.movie import SimulatedRecording, simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import motion_error

QUIET = Compute(show_progress=False, threads=2)
COMMON = (ExtractionParameters(), QUIET, CaimanSettings())
RIGID = {"piecewise": False, "max_shift_px": 8}
STRUCTURAL = MotionCorrectionParameters(**RIGID, channel="structural")


def recording(**facts) -> Recording:
    return Recording(animal="a", session_key="s", path=Path("x"), frame_rate_hz=10, **facts)


def none_excluded() -> pd.DataFrame:
    return pd.DataFrame({"frame": range(120), "excluded": False, "reason": ""})


@pytest.fixture(scope="module")
def moved() -> SimulatedRecording:
    """A dim functional channel beside a bright structural one, which move alike."""
    settings = SimulationSettings(
        seed=8, n_frames=120, height_px=72, width_px=88, n_neurons=10, photons=6, red_strength=3, red_share=0.6,
        warp_amplitude_px=0,
    )  # fmt: skip
    return simulate(settings, Acquisition(frame_rate_hz=10), structural=True)


def test_either_channel_can_be_registered(moved):
    errors = {}
    for channel in ("functional", "structural"):
        parameters = MotionCorrectionParameters(**RIGID, channel=channel)
        motion = estimate_motion(moved.movie, none_excluded(), recording(), parameters, *COMMON, moved.structural_movie)
        errors[channel] = motion_error(motion.shifts, moved.truth.rigid_motion)
    assert max(errors.values()) < 0.25
    assert errors["functional"] != errors["structural"]


def test_both_channels_are_corrected_by_the_same_shifts_and_measured_by_the_registered_one(moved):
    motion = estimate_motion(moved.movie, none_excluded(), recording(), STRUCTURAL, *COMMON, moved.structural_movie)
    corrected = apply_motion(moved.movie, motion, recording(), STRUCTURAL, COMMON[2])
    images = summarize_structural_movie(
        moved.structural_movie, motion, none_excluded(), recording(), STRUCTURAL, QUIET, COMMON[2]
    )
    expected = apply_motion(moved.structural_movie, motion, recording(), STRUCTURAL, COMMON[2]).mean(axis=0)
    np.testing.assert_allclose(images.mean, expected, rtol=1e-5)
    table, measures = assess_motion(
        moved.movie, corrected, motion, recording(), STRUCTURAL, *COMMON, moved.structural_movie
    )
    still = motion.template - motion.template.mean()
    frame = moved.structural_movie[17].compute().astype(float)
    frame -= frame.mean()
    correlation = (still * frame).sum() / np.sqrt((still**2).sum() * (frame**2).sum())
    assert table["correlation_before"][17] == pytest.approx(correlation, abs=0.01)
    assert measures.set_index("measure").loc["template_correlation", "improved"]


def test_a_structural_channel_that_does_not_exist_is_refused_before_and_during_the_run(moved):
    with pytest.raises(ValueError, match="names no structural channel"):
        estimate_motion(moved.movie, none_excluded(), recording(), STRUCTURAL, *COMMON)
    problems = stage_problems(recording(), {"motion_correction": STRUCTURAL})
    assert len(problems) == 1
    assert "names no structural channel" in problems[0]
    named = recording(channels={"functional": "green", "structural": "red"})
    assert stage_problems(named, {"motion_correction": STRUCTURAL}) == []
