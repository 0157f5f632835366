"""Silent neurons by their shape in the mean image."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from tests.algorithms.extraction.shapes import disc

from rsc2p_kedro.algorithms.extraction.outlines import outlines_by_edges
from rsc2p_kedro.algorithms.extraction.silent import (
    find_candidates,
    find_silent_neurons,
    load_weights,
    local_contrast,
    outline_features,
)

SHAPE = (140, 150)
RING, DISC, LARGE = (40, 45, 6.0), (95, 50, 5.0), (60, 110, 8.0)


def neuropil(seed=0):
    """Smooth texture (H, W) around 1 with a standard deviation of 0.1."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.2)
    return 1 + 0.1 * noise / noise.std()


def ring(y, x, radius):
    """A rim brighter than the neuropil around a nucleus that is darker."""
    return 0.35 * disc(SHAPE, y, x, radius) - 0.75 * disc(SHAPE, y, x, 0.6 * radius)


def planted():
    """Image with two rings and a disc, a little blurred."""
    image = neuropil() + ring(*RING) + 0.5 * disc(SHAPE, *DISC) + ring(*LARGE)
    return ndi.gaussian_filter(image, 0.6)


def find(image, mask=None, occupied=None, half_width=6, **options):
    """Masks (n, H, W) and scores (n,)."""
    mask = np.ones(SHAPE, bool) if mask is None else mask
    occupied = np.zeros(SHAPE, bool) if occupied is None else occupied
    footprints, scores = find_silent_neurons(image, mask, occupied, half_width, **options)
    return footprints.toarray().T.reshape(-1, *SHAPE) > 0, scores


def overlap(masks, place):
    """Largest IoU of masks with a planted disc."""
    true = disc(SHAPE, *place) > 0
    return max((float((m & true).sum() / (m | true).sum()) for m in masks), default=0.0)


def test_rings_and_discs_of_several_sizes_come_back_whole_and_nothing_else():
    masks, scores = find(planted())
    assert len(masks) == 3
    assert min(overlap(masks, place) for place in (RING, DISC, LARGE)) > 0.7
    assert all(ndi.label(mask)[1] == 1 and (ndi.binary_fill_holes(mask) == mask).all() for mask in masks)
    assert (np.diff(scores) <= 0).all()
    assert scores.min() >= 0.5
    assert scores.max() <= 1


@pytest.mark.parametrize("half_width", [5, 7])
def test_a_half_width_that_is_a_little_wrong_finds_them_too(half_width):
    masks, _ = find(planted(), half_width=half_width)
    assert min(overlap(masks, place) for place in (RING, DISC)) > 0.6


def test_white_noise_and_texture_hold_hardly_any():
    white = [len(find(np.random.default_rng(seed).normal(size=SHAPE))[0]) for seed in range(4)]
    texture = [len(find(neuropil(seed))[0]) for seed in range(4)]
    assert sum(white) <= 1
    assert sum(texture) <= 6  # of some 150 that have room there


def test_vessels_processes_and_dark_holes_are_none():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.abs(y - 0.7 * x - 10 - 6 * np.sin(x / 25)) / np.hypot(1, 0.7)
    vessel = neuropil() * (1 - 0.7 * (distance < 4))
    process = neuropil() + 0.8 * np.exp(-(distance**2) / 2)
    hole = neuropil() - 0.6 * disc(SHAPE, 70, 75, 5)
    places = (distance < 6, distance < 3, disc(SHAPE, 70, 75, 8) > 0)
    for image, place in zip((vessel, process, hole), places, strict=True):
        masks, scores = find(ndi.gaussian_filter(image, 0.6))
        assert not any(mask[place].sum() > 0.3 * mask.sum() for mask in masks)
        assert len(scores) <= 3  # by chance in the texture


def test_neurons_found_by_activity_are_not_returned_again():
    occupied = disc(SHAPE, *RING) > 0
    masks, _ = find(planted(), occupied=occupied)
    assert len(masks) == 2
    assert overlap(masks, RING) == 0
    assert not (masks & occupied).any()


def test_gain_and_offset_of_the_image_change_nothing():
    masks, scores = find(planted())
    other_masks, other_scores = find(300 * planted() - 120)
    np.testing.assert_array_equal(masks, other_masks)
    np.testing.assert_allclose(scores, other_scores, rtol=1e-5)


def test_results_are_the_same_bit_for_bit():
    first, second = (find_silent_neurons(planted(), np.ones(SHAPE, bool), np.zeros(SHAPE, bool), 6) for _ in range(2))
    assert (first[0] != second[0]).nnz == 0
    np.testing.assert_array_equal(first[1], second[1])


def test_footprints_keep_to_the_mask_whatever_lies_outside_of_it():
    mask = np.ones(SHAPE, bool)
    mask[:, :40] = False  # through the ring and the disc
    image = planted()
    masks, _ = find(image, mask=mask)
    assert not masks[:, ~mask].any()
    assert overlap(masks, LARGE) > 0.7
    image[~mask] = np.nan
    np.testing.assert_array_equal(find(image, mask=mask)[0], masks)


def test_a_higher_score_asked_for_returns_the_first_ones():
    masks, scores = find(planted())
    fewer, best = find(planted(), min_score=float(scores[1]))
    np.testing.assert_array_equal(fewer, masks[: len(fewer)])
    assert 1 <= len(best) < 3


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_images_without_texture_and_masks_without_pixels_hold_none(value):
    assert not len(find(np.full(SHAPE, value))[0])
    assert not len(find(planted(), mask=np.zeros(SHAPE, bool))[0])
    assert not len(find(planted(), occupied=np.ones(SHAPE, bool))[0])


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        find_silent_neurons(np.ones(SHAPE), np.ones((3, 3), bool), np.zeros(SHAPE, bool), 5)
    with pytest.raises(ValueError, match="half-width"):
        find(planted(), half_width=0)


def test_contrast_is_in_units_of_the_surroundings_without_known_neurons():
    image, bright = neuropil(), disc(SHAPE, 70, 75, 25) > 0
    image[bright] += 5
    nothing = np.zeros(SHAPE, bool)
    contrast = local_contrast(image, np.ones(SHAPE, bool), bright, 6)[~ndi.binary_dilation(bright, iterations=4)]
    assert abs(np.median(contrast)) < 0.15
    assert 0.7 < contrast.std() < 1.1
    assert local_contrast(image, nothing, nothing, 6).max() == 0


def test_weights_fit_the_features():
    contrast = local_contrast(planted(), np.ones(SHAPE, bool), np.zeros(SHAPE, bool), 6)
    candidates = find_candidates(contrast, np.ones(SHAPE, bool), 6)
    features = outline_features(outlines_by_edges(contrast, *candidates[:3], half_width_px=6), candidates)
    assert load_weights()["hidden_weights"].shape[0] == load_weights()["mean"].size == len(features)
    assert all(value.shape == candidates.radii.shape and np.isfinite(value).all() for value in features.values())
