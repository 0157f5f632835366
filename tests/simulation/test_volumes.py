"""Simulated structural channels and volumes."""

import dask.array as da
import numpy as np
import pytest

from rsc2p_kedro.core.parameters import Acquisition
from rsc2p_kedro.simulation.movie import simulate
from rsc2p_kedro.simulation.settings import SimulationSettings
from rsc2p_kedro.simulation.volumes import draw_flyback, interleave, simulate_planes

RATE = Acquisition(frame_rate_hz=10)
SMALL = {"n_frames": 40, "height_px": 64, "width_px": 80, "n_neurons": 8, "motion": "none"}


@pytest.mark.parametrize("tissue", ["smooth", "processes"])
def test_a_structural_channel_changes_nothing_in_the_functional_one(tissue: str) -> None:
    settings = SimulationSettings(**SMALL, tissue=tissue)
    one, two = simulate(settings, RATE), simulate(settings, RATE, structural=True, block_frames=17)
    np.testing.assert_array_equal(one.movie, two.movie)
    assert one.structural_movie is None
    assert one.truth.labelled is None
    assert two.structural_movie.shape == two.movie.shape


def test_labelled_neurons_are_red_and_the_others_only_by_crosstalk() -> None:
    settings = SimulationSettings(**SMALL, photons=200, red_share=0.5, vignetting=0, bleaching=0, n_vessels=0)
    with_crosstalk, without = (
        simulate(settings.model_copy(update={"crosstalk": part}), RATE, structural=True) for part in (0.3, 0.0)
    )
    truth = without.truth
    assert truth.labelled.sum() == 4
    A = truth.footprints / truth.footprints.sum(axis=0)[None]
    red = without.structural_movie.compute().mean(axis=0).ravel() @ A
    assert red[truth.labelled].min() > red[~truth.labelled].max()
    more = with_crosstalk.structural_movie.compute() - without.structural_movie.compute().astype(float)
    green = without.movie.compute().astype(float) - settings.offset
    assert (more.mean() / green.mean()) == pytest.approx(0.3, abs=0.01)


def test_a_single_plane_is_the_recording_itself_and_planes_differ() -> None:
    settings = SimulationSettings(**SMALL)
    (one,) = simulate_planes(settings, RATE, 1)
    np.testing.assert_array_equal(one.movie, simulate(settings, RATE).movie)
    planes = simulate_planes(settings, RATE, 3)
    assert len({plane.truth.footprints.nnz for plane in planes}) == 3


def test_images_come_channel_by_channel_and_plane_by_plane() -> None:
    movies = [[da.full((70, 4, 5), 10 * plane + channel, chunks=(9, -1, -1)) for channel in (1, 2)] for plane in (1, 2)]
    flyback = da.full((70, 2, 4, 5), 0)
    images = interleave(movies, flyback)
    assert images.shape == (420, 4, 5)
    np.testing.assert_array_equal(images[:, 0, 0], np.tile([11, 12, 21, 22, 0, 0], 70))


def test_the_flyback_is_dark_and_the_same_for_any_blocks() -> None:
    settings = SimulationSettings(**{**SMALL, "n_frames": 100})
    dark = draw_flyback(settings, 2)
    assert dark.shape == (100, 2, 64, 80)
    assert dark.mean().compute() == pytest.approx(settings.offset, abs=0.1)
    np.testing.assert_array_equal(dark[70].compute(), dark.rechunk((7, -1, -1, -1)).compute()[70])
