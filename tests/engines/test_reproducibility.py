"""What both halves of the frames find."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from tests.engines.test_comparison import make_run

from rsc2p_kedro.core.schemas import ReproducibilityTable
from rsc2p_kedro.engines.reproducibility import half_of, match_halves, on_half, reproducibility_table


@pytest.mark.parametrize("n_frames", [10, 11])
def test_two_halves_are_the_whole(n_frames: int) -> None:
    movie = da.from_array(np.arange(n_frames * 12).reshape(n_frames, 3, 4), chunks=(4, -1, -1))
    first, second = half_of(movie, "first"), half_of(movie, "second")
    np.testing.assert_array_equal(da.concatenate([first, second]).compute(), movie.compute())
    assert 0 <= len(second) - len(first) <= 1


def test_a_function_gets_its_half_by_position_or_name() -> None:
    def length(corrected_movie, other):
        return len(corrected_movie), other

    movie = np.zeros((11, 2, 2))
    assert on_half(length, "first", movie, 7) == (5, 7)
    assert on_half(length, "second", other=8, corrected_movie=movie) == (6, 8)


def test_an_extraction_reproduces_itself_and_what_is_only_in_one_half_lowers_the_share() -> None:
    run = make_run()
    n = int(run.quality.accepted.sum())
    table = reproducibility_table(run.components, run.quality, run.components, run.quality)
    ReproducibilityTable.validate(table)
    assert table["share_accepted_again"].tolist() == [1, 1, 1]
    assert table["accepted"].tolist() == [n, n, 2 * n]
    first_only = np.flatnonzero(run.quality.accepted)[0]
    accepted = run.quality.accepted.copy()
    accepted[first_only] = False
    fewer = replace(run.quality, accepted=accepted)
    table = reproducibility_table(run.components, run.quality, run.components, fewer).set_index("half")
    shares = table["share_accepted_again"].to_dict()
    assert shares == {
        "first": pytest.approx((n - 1) / n), "second": 1, "both": pytest.approx(2 * (n - 1) / (2 * n - 1)),
    }  # fmt: skip
    assert table["extracted_again"].to_dict()["first"] == n, "it is there, though not accepted"
    rows, columns = match_halves(run.components.footprints, run.components.footprints)
    np.testing.assert_array_equal(rows, columns)


def test_without_accepted_components_the_share_is_unknown() -> None:
    run = make_run()
    nothing = replace(run.quality, accepted=np.zeros(len(run.quality.accepted), bool))
    table = ReproducibilityTable.validate(reproducibility_table(run.components, nothing, run.components, nothing))
    assert table["share_accepted_again"].isna().all()
