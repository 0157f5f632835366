"""Values in the wrong unit are told with the likely cause, and no value of a real microscope is refused."""

import pytest
from pydantic import ValidationError

from rsc2p_kedro.core.plausibility import RANGES, questions
from rsc2p_kedro.manifest.recordings import Recording


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("pixel_size_um", (0.08, 0.5, 1.171875, 2, 5)),  # spines, cells, mesoscopes
        ("frame_rate_hz", (1, 7.5, 30, 158, 1016, 3000)),  # volumes, resonant scanners, SLAP, FACED
        ("decay_time_s", (0.07, 0.4, 1, 2, 5)),  # GCaMP8f to nuclear GCaMP6s
    ],
)
def test_real_microscopes_and_indicators_raise_no_question(field, values):
    assert questions(field, *values) == []


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("pixel_size_um", 0.0011, "if it is in mm, write 1.1"),
        ("pixel_size_um", 1.1e-6, "if it is in m, write 1.1"),
        ("pixel_size_um", 1171, "if it is in nm, write 1.171"),
        ("decay_time_s", 400, "if it is in ms, write 0.4"),
    ],
)
def test_what_can_only_be_a_slip_is_refused_with_its_cause(field, value, cause):
    entry = {"path": "x", "frame_rate_hz": 10, field: [value, value] if field == "pixel_size_um" else value}
    with pytest.raises(ValidationError, match=cause):
        Recording.model_validate(entry)


@pytest.mark.parametrize(
    ("field", "value", "cause"),
    [
        ("frame_rate_hz", 0.067, "if it is the time between frames in s, write 14.93"),
        ("decay_time_s", 40, "40 s is unusual, expected are 0.02 to 10 s; if it is in ms, write 0.04"),
        ("pixel_size_um", 0.03, "0.03 um is unusual, expected are 0.05 to 20 um"),
    ],
)
def test_what_is_unusual_is_accepted_and_told(field, value, cause):
    given = (value, value) if field == "pixel_size_um" else value
    assert getattr(Recording.model_validate({"path": "x", "frame_rate_hz": 10, field: given}), field) == given
    (line,) = questions(field, value, value)
    assert line.startswith(f"{field}: ")
    assert cause in line


def test_usual_values_are_possible():
    for limits in RANGES.values():
        assert limits.possible[0] < limits.usual[0] < limits.usual[1] < limits.possible[1]
