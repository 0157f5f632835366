"""Labels of a structural channel: crosstalk, signals and probabilities on simulated recordings with known labels."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp

from rsc2p_kedro.algorithms.evaluation.red_label import (
    estimate_crosstalk,
    label_components,
    labelled_probability,
    mean_traces,
)
from rsc2p_kedro.core.parameters import Acquisition, Compute
from rsc2p_kedro.core.results import Components, RedLabels
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.truth import SimulatedTruth, area_under_roc

QUIET = Compute(show_progress=False, threads=2)


def true_components(truth: SimulatedTruth, settings: SimulationSettings) -> Components:
    """Components that are the true neurons."""
    A = sp.csc_array(truth.footprints)
    norms = np.sqrt(A.multiply(A).sum(axis=0)).ravel()
    (N, T), counts = truth.traces.shape, settings.photons * settings.gain
    return Components(
        shape=truth.shape,
        ids=np.arange(N),
        footprints=sp.csc_array(A @ sp.diags_array(1 / norms)).astype(np.float32),
        traces=(truth.traces * norms[:, None] * counts).astype(np.float32),
        spikes=np.zeros((N, T), np.float32),
        residual_traces=np.zeros((N, T), np.float32),
        background_footprints=sp.csc_array((A.shape[0], 0), dtype=np.float32),
        background_traces=np.zeros((0, T), np.float32),
        baseline=np.zeros(N, np.float32),
        noise=np.ones(N, np.float32),
        ar_coefficients=np.full((N, 1), 0.8, np.float32),
        lam=np.zeros(N, np.float32),
        pixel_noise=np.ones(truth.shape, np.float32),
    )


def measured(seed: int, **changes) -> tuple[RedLabels, SimulatedTruth]:
    size = {"n_frames": 200, "height_px": 112, "width_px": 128, "n_neurons": 24, "motion": "none"}
    settings = SimulationSettings(**{"seed": seed, **size, **changes})
    recording = simulate(settings, Acquisition(frame_rate_hz=10), structural=True)
    green, red = recording.movie.compute(), recording.structural_movie.compute()
    components = true_components(recording.truth, settings)
    traces = [mean_traces(movie, components.footprints, compute=QUIET) for movie in (red, green)]
    everywhere = np.ones(recording.truth.shape, bool)
    labels = label_components(components, red.mean(axis=0), green.mean(axis=0), *traces, everywhere, half_width_px=4.0)
    return labels, recording.truth


@pytest.mark.parametrize("tissue", ["smooth", "processes"])
@pytest.mark.parametrize("crosstalk", [0.0, 0.1, 0.4])
def test_labelled_neurons_are_found_whatever_the_crosstalk(tissue: str, crosstalk: float) -> None:
    labels, truth = measured(71, tissue=tissue, crosstalk=crosstalk, red_share=0.4)
    assert labels.crosstalk == pytest.approx(crosstalk, abs=max(0.02, 4 * labels.crosstalk_error))
    assert labels.crosstalk_error < 0.02
    assert area_under_roc(labels.red_probability, truth.labelled) > 0.97
    assert np.mean((labels.red_probability >= 0.5) == truth.labelled) >= 0.9


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_none_and_all_are_labelled(share: float, expected: float) -> None:
    labels, _ = measured(72, crosstalk=0.3, red_share=share)
    assert labels.red_probability.mean() == pytest.approx(expected, abs=0.1)


def test_bright_unlabelled_neurons_are_red_without_correction_of_crosstalk() -> None:
    """The planted crosstalk is what would deceive: the raw contrast of unlabelled neurons is far from zero."""
    labels, _ = measured(73, crosstalk=0.4, red_share=0.0)
    assert np.median(labels.red_contrast) > 3 * labels.null_scale
    assert abs(np.median(labels.red_signal)) < 2 * labels.null_scale


def test_crosstalk_is_the_slope_in_time_and_not_that_of_the_images() -> None:
    """Neurons that are both bright and labelled; drift of both channels; noise in the functional trace."""
    rng = np.random.default_rng(2)
    C = rng.exponential(1, (12, 800)) * (rng.random((12, 800)) < 0.1) * 40
    drift, brightness = np.linspace(1, 0.7, 800), rng.uniform(50, 200, (12, 1))
    green = C + brightness * drift + rng.normal(0, 15, C.shape)
    red = 2 * brightness * drift + 0.15 * (C + brightness * drift) + rng.normal(0, 5, C.shape)
    crosstalk, error = estimate_crosstalk(red, green, C)
    assert crosstalk == pytest.approx(0.15, abs=3 * error)
    assert error < 0.01


def test_without_activity_there_is_no_crosstalk_to_subtract() -> None:
    silent = np.ones((3, 50))
    assert estimate_crosstalk(silent, silent, np.zeros((3, 50))) == (0.0, 0.0)
    assert estimate_crosstalk(*[np.zeros((0, 50))] * 3) == (0.0, 0.0)


def test_the_probability_never_falls_as_the_signal_rises() -> None:
    z = np.random.default_rng(3).normal(0, 1, 60)
    z[:15] += 9
    probability = labelled_probability(z)
    assert (np.diff(probability[np.argsort(z)]) >= 0).all()
    assert probability[:15].min() > 0.9
    assert probability[15:].mean() < 0.05
    assert labelled_probability(np.zeros(0)).shape == (0,)


def test_traces_are_weighted_means_for_any_number_of_threads_and_blocks() -> None:
    rng = np.random.default_rng(4)
    movie = rng.integers(0, 4000, (90, 12, 15), dtype=np.uint16)
    footprints = sp.csc_array(sp.random(180, 5, 0.2, rng=rng, dtype=np.float32))
    expected = (footprints.T @ movie.reshape(90, -1).T.astype(float)) / footprints.sum(axis=0)[:, None]
    traces = mean_traces(movie, footprints, compute=QUIET)
    np.testing.assert_allclose(traces, expected, rtol=1e-5)
    lazy, blocks = da.from_array(movie, chunks=(32, 7, 7)), Compute(show_progress=False, threads=1, block_frames=11)
    np.testing.assert_array_equal(mean_traces(lazy, footprints, compute=blocks), traces)


def test_a_recording_without_components_has_no_labels() -> None:
    labels, _ = measured(74, n_neurons=0, n_frames=20)
    assert labels.red_probability.shape == (0,)


def test_labels_are_the_same_every_time() -> None:
    first, second = (measured(75, n_frames=60)[0] for _ in range(2))
    np.testing.assert_array_equal(first.red_probability, second.red_probability)
