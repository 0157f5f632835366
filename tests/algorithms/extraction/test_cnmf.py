"""Fit and refit of simulated movies whose neurons are known."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from rsc2p_kedro.algorithms import extraction
from rsc2p_kedro.core.parameters import Acquisition, Compute, ExtractionParameters

ACQUISITION = Acquisition(frame_rate_hz=15, decay_time_s=0.4)
COMPUTE = Compute(threads=2, show_progress=False)
SHAPE = (48, 72)
CENTRES = np.array(
    [[12.0, 14.0], [30.0, 20.0], [33.0, 26.0], [20.0, 50.0], [2.0, 36.0]]
)  # a pair that overlaps, an edge


def soma(cy, cx, shape=SHAPE, radius=4.5):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 1 / (1 + np.exp((np.hypot(y - cy, x - cx) - radius) / 0.5))


def make_movie(centres=CENTRES, n_frames=500, seed=0, noise=8.0, rate=0.03):
    """Movie (T, H, W) float32, calcium (N, T), spikes (N, T)."""
    rng = np.random.default_rng(seed)
    spikes = rng.poisson(rate, (len(centres), n_frames)).astype(float)
    calcium = np.zeros_like(spikes)
    for t in range(n_frames):
        calcium[:, t] = spikes[:, t] + (np.exp(-1 / 6) * calcium[:, t - 1] if t else 0)
    A = (
        np.stack([soma(*centre).ravel() for centre in centres], axis=1)
        if len(centres)
        else np.zeros((SHAPE[0] * SHAPE[1], 0))
    )
    texture = 1 + 0.1 * gaussian_filter(rng.normal(0, 1, SHAPE), 3) / 0.1
    field = gaussian_filter(rng.normal(0, 1, (n_frames, *SHAPE)), (4, 14, 14))
    movie = 100 * np.clip(texture, 0.5, 2) * (1 + 0.06 * field / field.std())
    movie += 25 * (A @ calcium).T.reshape(n_frames, *SHAPE) + rng.normal(0, noise, movie.shape)
    return movie.astype(np.float32), calcium, spikes


@pytest.fixture(scope="module")
def scene():
    return make_movie()


@pytest.fixture(scope="module")
def fitted(scene):
    return extraction.fit(scene[0], ACQUISITION, ExtractionParameters(), compute=COMPUTE)


@pytest.fixture(scope="module")
def refitted(scene, fitted):
    return extraction.refit(scene[0], fitted, ACQUISITION, ExtractionParameters(), compute=COMPUTE)


def centres_of(components):
    A = components.footprints.toarray()
    y, x = np.divmod(np.arange(A.shape[0]), components.shape[1])
    return np.stack([y @ A, x @ A], axis=1) / A.sum(axis=0)[:, None]


def partners(components, centres=CENTRES):
    """Index of the component nearest to each true neuron; asserts that each is within 2 px and no one is used twice."""
    distances = np.linalg.norm(centres[:, None] - centres_of(components)[None], axis=2)
    nearest = distances.argmin(axis=1)
    assert distances.min(axis=1).max() < 2
    assert len(set(nearest.tolist())) == len(centres)
    return nearest


@pytest.mark.parametrize("which", ["fitted", "refitted"])
def test_every_neuron_is_found_once_with_its_calcium_and_spikes(which, scene, request):
    components = request.getfixturevalue(which)
    _, calcium, spikes = scene
    near = np.linalg.norm(CENTRES[:, None] - centres_of(components)[None], axis=2) < 5
    assert near.sum() == len(CENTRES)  # what else is found is neuropil, and fainter than any neuron
    strengths = components.traces.std(axis=1)
    assert strengths[~near.any(axis=0)].max(initial=0) < 0.5 * strengths[near.any(axis=0)].min()
    for truth, j in enumerate(partners(components)):
        assert np.corrcoef(components.traces[j], calcium[truth])[0, 1] > 0.95
        estimate, true = (gaussian_filter1d(x, 2.0) for x in (components.spikes[j], spikes[truth]))
        assert np.corrcoef(estimate, true)[0, 1] > 0.9


def test_footprints_match_the_somata(refitted):
    for truth, j in enumerate(partners(refitted)):
        footprint = refitted.footprints[:, [j]].toarray().ravel()
        estimate, true = footprint > 0.2 * footprint.max(), soma(*CENTRES[truth]).ravel() > 0.5
        assert np.sum(estimate & true) / np.sum(estimate | true) > 0.7


def test_the_model_explains_the_movie_down_to_its_noise(scene, refitted):
    c = refitted
    model = c.footprints @ c.traces + c.background_footprints @ c.background_traces
    residual = scene[0].reshape(len(scene[0]), -1) - model.T
    assert residual.std() == pytest.approx(8.0, rel=0.05)
    np.testing.assert_allclose(c.pixel_noise.mean(), 8.0, rtol=0.05)


def test_nothing_is_negative_and_footprints_have_unit_norm(refitted):
    c = refitted
    for part in (c.footprints.data, c.traces, c.spikes, c.background_footprints.data, c.baseline):
        assert part.min() >= 0
    np.testing.assert_allclose(np.sqrt(c.footprints.power(2).sum(axis=0)), 1, rtol=1e-5)


def test_the_result_does_not_depend_on_threads_blocks_and_memory(scene, fitted):
    lazy = da.from_array(scene[0], chunks=(64, 32, 32))
    other = Compute(threads=1, block_frames=17, memory_gb=1e-4, show_progress=False)
    again = extraction.fit(lazy, ACQUISITION, ExtractionParameters(), compute=other)
    np.testing.assert_array_equal(again.traces, fitted.traces)
    np.testing.assert_array_equal(again.footprints.toarray(), fitted.footprints.toarray())
    np.testing.assert_array_equal(again.background_traces, fitted.background_traces)


def test_lineage_has_an_entry_for_every_component(fitted, refitted):
    entries = {entry.component_id for entry in refitted.lineage}
    assert entries == set(fitted.ids.tolist()) | set(refitted.ids.tolist())
    silent = set(refitted.ids[refitted.is_silent].tolist())
    for entry in refitted.lineage:
        is_new = entry.component_id in silent
        assert entry.event == ("new" if is_new else "kept")
        assert entry.parents == (() if is_new else (entry.component_id,))


def test_refit_merges_duplicates_and_removes_a_footprint_without_neuron(scene, fitted):
    n = fitted.n_components
    rows, ids = np.r_[np.arange(n), 0, 0], np.r_[fitted.ids + 10, 90, 91]
    footprints = fitted.footprints.toarray()[:, rows]
    footprints[:, -1] = 0.1 * (soma(40, 60).ravel() > 0.5)
    per_trace = ("traces", "spikes", "residual_traces", "baseline", "noise", "ar_coefficients", "lam")
    repeated = {name: getattr(fitted, name)[rows] for name in per_trace}
    doubled = replace(fitted, ids=ids, footprints=sp.csc_array(footprints), **repeated)
    parameters = ExtractionParameters(find_silent=False)
    again = extraction.refit(scene[0], doubled, ACQUISITION, parameters, compute=COMPUTE)
    assert again.silent is None
    events = {entry.component_id: entry for entry in again.lineage}
    assert set(events) == set(ids.tolist())
    assert (events[10].event, events[10].parents) == ("merged", (10, 90))
    assert events[90].event == events[91].event == "removed"
    assert all(entry.reason for entry in again.lineage)
    assert again.ids.tolist() == (fitted.ids + 10).tolist()


@pytest.mark.parametrize(
    "movie",
    [np.full((80, 32, 40), 7, np.uint16), np.random.default_rng(0).poisson(50, (400, 32, 40)).astype(np.uint16)],
)
def test_a_movie_without_neurons_has_no_components(movie):
    first = extraction.fit(movie, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    second = extraction.refit(movie, first, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    for components in (first, second):
        assert components.n_components == 0
        assert components.traces.shape == (0, len(movie))
        assert components.lineage == ()
    np.testing.assert_allclose(
        (second.background_footprints @ second.background_traces).mean(), movie.mean(), rtol=1e-3
    )


def test_pixels_outside_the_mask_are_never_used(scene):
    mask = np.ones(SHAPE, bool)
    mask[:, 50:] = False  # through the middle of a neuron
    movie = np.where(mask, scene[0], np.nan)
    components = extraction.fit(movie, ACQUISITION, ExtractionParameters(), compute=COMPUTE, valid_mask=mask)
    assert components.n_components >= len(CENTRES)
    assert not components.footprints.toarray()[~mask.ravel()].any()
    assert not components.background_footprints.toarray()[~mask.ravel()].any()


@pytest.mark.parametrize("kind", ["centres", "masks"])
def test_seeds_give_one_component_each(kind, scene):
    _, calcium, _ = scene
    seeds = CENTRES + 0.7 if kind == "centres" else np.stack([soma(*centre) > 0.5 for centre in CENTRES])
    parameters = ExtractionParameters(initialization="seeded")
    components = extraction.fit(scene[0], ACQUISITION, parameters, compute=COMPUTE, seeds=seeds)
    assert components.n_components == len(CENTRES)
    for truth, j in enumerate(partners(components)):
        assert j == truth
        assert np.corrcoef(components.traces[j], calcium[truth])[0, 1] > 0.95


@pytest.mark.parametrize(
    "options",
    [
        {"initialization": "greedy_roi"},
        {"spatial_downsampling": 2, "temporal_downsampling": 4},
        {"rolling_sum": True, "rolling_length": 3},
        {"ar_order": 2},
        {"n_background": 3},
    ],
)
def test_other_settings_find_the_neurons_too(options, scene):
    components = extraction.fit(scene[0], ACQUISITION, ExtractionParameters(**options), compute=COMPUTE)
    distances = np.linalg.norm(CENTRES[:, None] - centres_of(components)[None], axis=2)
    assert distances.min(axis=1).max() < 2.5
    assert components.ar_coefficients.shape[1] == options.get("ar_order", 1)


def test_n_background_0_gives_no_background(scene):
    components = extraction.fit(scene[0], ACQUISITION, ExtractionParameters(n_background=0), compute=COMPUTE)
    assert components.background_footprints.shape[1] == 0
    assert components.background_traces.shape == (0, len(scene[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_mask": np.ones((3, 3), bool)}, "valid_mask should have shape"),
        ({"seeds": CENTRES}, "Seeds should be given"),
    ],
)
def test_inputs_that_do_not_fit_together_are_rejected(options, message, scene):
    with pytest.raises(ValueError, match=message):
        extraction.fit(scene[0], ACQUISITION, ExtractionParameters(), compute=COMPUTE, **options)


def test_nan_in_valid_pixels_and_too_few_frames_are_rejected(scene):
    with pytest.raises(ValueError, match="NaN"):
        extraction.fit(np.full((20, 8, 8), np.nan, np.float32), ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    with pytest.raises(ValueError, match="8 frames"):
        extraction.fit(scene[0][:5], ACQUISITION, ExtractionParameters(), compute=COMPUTE)


def test_a_neuron_half_outside_the_valid_mask_is_found_by_its_visible_half(scene):
    mask = np.zeros(SHAPE, bool)
    mask[:, 15:] = True  # the first neuron's centre is at column 14
    components = extraction.fit(scene[0], ACQUISITION, ExtractionParameters(), compute=COMPUTE, valid_mask=mask)
    assert not components.footprints.toarray()[~mask.ravel()].any()
    half = soma(*CENTRES[0])[mask]
    overlap = [np.corrcoef(half, a.toarray().reshape(SHAPE)[mask])[0, 1] for a in components.footprints.T.tocsr()]
    best = int(np.argmax(overlap))
    assert overlap[best] > 0.7
    assert np.corrcoef(components.traces[best], scene[1][0])[0, 1] > 0.9


def test_a_refit_adds_neurons_that_stay_silent_with_new_ids_and_replaces_them_when_repeated(scene, fitted):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(y - 36, x - 56)
    ring = np.exp(-((distance - 4) ** 2) / 2) - 0.8 * (distance < 2.5)
    movie = scene[0] + (60 * ring).astype(np.float32)
    refit = extraction.refit(movie, fitted, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    places = centres_of(refit)[refit.is_silent]
    assert np.linalg.norm(places - [36, 56], axis=1).min() < 2
    assert refit.ids[refit.is_silent].min() > fitted.ids.max()
    assert not refit.is_silent[: fitted.n_components].any()
    assert refit.traces.shape == (refit.n_components, len(movie))
    again = extraction.refit(movie, refit, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    np.testing.assert_array_equal(
        again.footprints[:, again.is_silent].sum(), refit.footprints[:, refit.is_silent].sum()
    )


def test_a_neuron_found_by_its_shape_that_turns_out_to_be_active_is_not_silent(scene, fitted):
    bright = soma(36, 56)
    calcium = np.roll(scene[1][0], 210)
    movie = scene[0] + (40 * bright + 20 * calcium[:, None, None] * bright).astype(np.float32)
    refit = extraction.refit(movie, fitted, ACQUISITION, ExtractionParameters(), compute=COMPUTE)
    new = refit.select(~np.isin(refit.ids, fitted.ids))
    nearest = int(np.linalg.norm(centres_of(new) - [36, 56], axis=1).argmin())
    assert not new.is_silent[nearest]
    assert np.corrcoef(new.traces[nearest], calcium)[0, 1] > 0.95
    (entry,) = [entry for entry in refit.lineage if entry.component_id == new.ids[nearest]]
    assert (entry.event, entry.reason) == ("new", "found by its shape in the mean image, and active")
