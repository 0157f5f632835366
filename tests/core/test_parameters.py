"""Parameters: defaults, validation, and agreement of models, configuration files and documentation."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from rsc2p_kedro.core import parameters as p
from rsc2p_kedro.manifest import parameters_reference as reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stage", reference.MODELS)
def test_configuration_files_agree_with_the_models(stage):
    text = (ROOT / "conf" / "base" / f"parameters_{stage}.yml").read_text(encoding="utf-8")
    assert text == reference.yaml_of(stage), "run `make parameters`"
    assert reference.MODELS[stage].model_validate(yaml.safe_load(text)[stage]) == reference.MODELS[stage]()


def test_the_documentation_agrees_with_the_models():
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert page == reference.markdown(), "run `make parameters`"


def test_every_parameter_has_a_description():
    for model in reference.MODELS.values():
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_defaults_are_those_of_the_notebook_but_for_the_size_of_neurons():
    motion, cnmf, quality = p.MotionCorrectionParameters(), p.ExtractionParameters(), p.EvaluationParameters()
    assert (motion.patch_stride_px, motion.patch_overlap_px, motion.max_shift_px, motion.max_deviation_px) == (
        48,
        24,
        6,
        3,
    )
    assert motion.piecewise
    assert (cnmf.ar_order, cnmf.n_background, cnmf.merge_threshold, cnmf.nonnegative_baseline) == (1, 2, 0.85, True)
    assert (cnmf.patch_half_width_px, cnmf.patch_overlap_px, cnmf.components_per_patch) == (15, 10, 4)
    assert (cnmf.neuron_half_width_px, cnmf.spatial_downsampling, cnmf.temporal_downsampling) == ("auto", 1, 1)
    assert (quality.min_snr, quality.min_r_value, quality.use_classifier) == (2.0, 0.85, False)
    assert (quality.min_classifier_score, quality.lowest_classifier_score) == (0.99, 0.1)
    assert p.Acquisition(frame_rate_hz=14.7).decay_time_s == 0.4


def test_unknown_keys_and_values_out_of_bounds_are_rejected():
    with pytest.raises(ValidationError, match="max_shift"):
        p.MotionCorrectionParameters.model_validate({"max_shift": 3})
    with pytest.raises(ValidationError, match="merge_threshold"):
        p.ExtractionParameters(merge_threshold=1.5)
    with pytest.raises(ValidationError, match="lowest_classifier_score"):
        p.EvaluationParameters(use_classifier=True, min_classifier_score=0.05)
    with pytest.raises(ValidationError, match="should not exceed"):
        p.EvaluationParameters(min_snr=1, lowest_snr=2)
    for accept in (["neuron"], []):
        with pytest.raises(ValidationError, match="accept"):
            p.EvaluationParameters.model_validate({"accept": accept})


def test_former_names_are_accepted_with_a_warning_over_the_default(caplog):
    made = p.EvaluationParameters.model_validate({"use_cnn": True, "use_classifier": False, "min_cnn": 0.9})
    assert (made.use_classifier, made.min_classifier_score) == (True, 0.9)
    assert "use_cnn is now called use_classifier" in caplog.text
    with pytest.raises(ValidationError, match="former name of min_classifier_score"):
        p.EvaluationParameters.model_validate({"min_cnn": 0.9, "min_classifier_score": 0.8})


def test_the_environment_of_the_notebook_has_exactly_its_parameters():
    """As the notebook has them (Mendeley Data, doi 10.17632/hjgtsmyyv5.1)."""
    given = yaml.safe_load((ROOT / "conf" / "notebook" / "parameters_notebook.yml").read_text(encoding="utf-8"))
    assert p.IngestionParameters.model_validate(given["ingestion"]).line_offset == "none"
    motion = p.MotionCorrectionParameters.model_validate(given["motion_correction"])
    assert (motion.piecewise, motion.patch_stride_px, motion.patch_overlap_px) == (True, 48, 24)
    assert (motion.max_shift_px, motion.max_deviation_px) == (6, 3)
    extraction = p.ExtractionParameters.model_validate(given["source_extraction"])
    assert (extraction.initialization, extraction.rolling_sum) == ("greedy_roi", True)
    assert (extraction.patch_half_width_px, extraction.patch_overlap_px, extraction.components_per_patch) == (15, 10, 4)
    assert (extraction.neuron_half_width_px, extraction.ar_order, extraction.n_background) == (4, 1, 2)
    assert (extraction.merge_threshold, extraction.nonnegative_baseline) == (0.85, True)
    assert (extraction.spatial_downsampling, extraction.temporal_downsampling) == (1, 1)
    evaluation = p.EvaluationParameters.model_validate(given["evaluation"])
    assert (evaluation.min_snr, evaluation.min_r_value, evaluation.use_classifier) == (2, 0.85, False)
    assert (evaluation.min_classifier_score, evaluation.lowest_classifier_score) == (0.99, 0.1)
    assert evaluation.accept is None
