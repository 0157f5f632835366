import numpy as np
import pytest
from tests.algorithms.extraction.shapes import disc

from rsc2p_kedro.algorithms.extraction.seeds import seed_footprints


def test_a_centre_is_a_disc_of_the_half_width_and_a_mask_is_itself():
    image = disc((20, 30), 8, 9, 4)
    for seeds in (np.array([[8.0, 9.0]]), image[None]):
        np.testing.assert_array_equal(seed_footprints(seeds, (20, 30), 4).toarray()[:, 0], image.ravel())


@pytest.mark.parametrize(
    ("seeds", "message"),
    [(np.zeros((2, 3)), "centres"), (np.zeros((1, 8, 9)), "cover no pixel"), ([[50, 50]], "leave")],
)
def test_seeds_that_do_not_fit_are_rejected(seeds, message):
    with pytest.raises(ValueError, match=message):
        seed_footprints(np.asarray(seeds), (8, 9), 2)
