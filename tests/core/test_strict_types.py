"""The kind of a value does not change when parameters are read: yes is no number, and a number no date."""

import math

import pytest
import yaml
from kedro.framework.cli.utils import _split_params
from omegaconf import OmegaConf
from pydantic import ValidationError

from rsc2p_kedro.core.parameters import (
    Acquisition,
    Compute,
    EvaluationParameters,
    ExtractionParameters,
    MotionCorrectionParameters,
)
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.nwb.metadata import SessionFields, SubjectFields
from rsc2p_kedro.simulation.settings import SimulationSettings


@pytest.mark.parametrize(
    ("model", "text", "message"),
    [
        (Acquisition, "frame_rate_hz: yes", "should be a number, is true .YAML reads yes"),
        (Acquisition, "frame_rate_hz: '14.7'", "is the text '14.7': write it without quotes"),
        (Acquisition, "{frame_rate_hz: 14.7, pixel_size_um: [1.1, on]}", "should be a number, is true"),
        (MotionCorrectionParameters, "max_shift_px: yes", "should be a number"),
        (MotionCorrectionParameters, "max_shift_px: 6.5", "fractional part"),
        (MotionCorrectionParameters, "piecewise: 1", "should be true or false, is 1"),
        (MotionCorrectionParameters, "piecewise: 'no'", "should be true or false, is the text 'no'"),
        (ExtractionParameters, "neuron_half_width_px: '4'", "should be a number"),
        (ExtractionParameters, "ar_order: true", "should be a number"),
        (SimulationSettings, "seed: true", "should be a number"),
        (Compute, "threads: '4'", "should be a number"),
        (SessionFields, "session_start_time: 1557131400", "since 1970, write 2019-05-06T08:30:00"),
        (SessionFields, "session_start_time: '1557131400'", "since 1970, write 2019-05-06T08:30:00"),
        (SubjectFields, "date_of_birth: 864000", "should be a date, is the number 864000: write it as 2019-05-06"),
        (Recording, "{path: x, frame_rate_hz: 10, frames: [false, 50]}", "should be a number"),
        (Recording, "{path: x, frame_rate_hz: 10, frames: [0, 50.5]}", "fractional part"),
    ],
)
def test_values_of_another_kind_are_refused_with_the_reason(model, text, message):
    with pytest.raises(ValidationError, match=message):
        model.model_validate(yaml.safe_load(text))


def test_what_yaml_can_write_in_one_way_only_is_taken():
    assert Acquisition.model_validate({"frame_rate_hz": 30, "pixel_size_um": [1, 2.5]}).pixel_size_um == (1.0, 2.5)
    assert MotionCorrectionParameters.model_validate({"max_shift_px": 6.0}).max_shift_px == 6
    assert ExtractionParameters.model_validate({"neuron_half_width_px": "auto"}).given_half_width_px is None
    assert EvaluationParameters.model_validate({"accept": ["soma", "process"]}).accept == ("soma", "process")
    started = SessionFields.model_validate({"session_start_time": "2019-05-06T10:30:00+02:00"}).session_start_time
    assert started is not None
    assert started.timestamp() == 1557131400


def test_stored_parameters_are_read_back():
    parameters = EvaluationParameters.model_validate({"dff_dark_level": 100, "accept": None})
    assert EvaluationParameters.model_validate_json(parameters.model_dump_json()) == parameters
    assert EvaluationParameters.model_validate(parameters.model_dump()) == parameters


def test_parameters_of_the_command_line_have_the_kinds_of_yaml():
    given = _split_params(None, None, "e.min_snr=3,e.use_classifier=true,e.dff_dark_level=null")
    parameters = EvaluationParameters.model_validate(OmegaConf.to_container(OmegaConf.create(given))["e"])
    assert (parameters.min_snr, parameters.use_classifier, parameters.dff_dark_level) == (3, True, None)
    assert math.isclose(Acquisition.model_validate(_split_params(None, None, "frame_rate_hz=14.7")).frame_rate_hz, 14.7)
