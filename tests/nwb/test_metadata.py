"""Validation and merging of metadata, and the list of missing fields."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from pydantic import BaseModel, ValidationError
from tests.nwb.example import recording, shared

from rsc2p_kedro.manifest.checks import ManifestError, parse_manifest
from rsc2p_kedro.manifest.defaults import with_defaults
from rsc2p_kedro.nwb.metadata import (
    DeviceFields,
    ImagingPlaneFields,
    NwbParameters,
    SessionFields,
    SubjectFields,
    dandi_path,
    merge_metadata,
    response_to,
)
from rsc2p_kedro.nwb.metadata_checks import MetadataError, check_metadata, metadata_problems


@pytest.mark.parametrize(
    ("model", "field", "value", "message"),
    [
        (SubjectFields, "species", "mouse", "binomial"),
        (SubjectFields, "sex", "male", "'M', 'F', 'O' or 'U'"),
        (SubjectFields, "age", "90 days", "ISO 8601"),
        (SubjectFields, "age", "P", "ISO 8601"),
        (SubjectFields, "age", "P1D/P2D/P3D", "ISO 8601"),
        (SubjectFields, "weight", "25", "'25 g'"),
        (SubjectFields, "subject_id", "animal_1", "DANDI file name"),
        (SubjectFields, "subject_id", "../../etc", "DANDI file name"),
        (SubjectFields, "subject_id", "a b", "DANDI file name"),
        (SubjectFields, "subject_id", "a\n", "DANDI file name"),
        (SubjectFields, "subject_id", "mäuse", "DANDI file name"),
        (SubjectFields, "subject_id", 7, "quotes"),
        (SessionFields, "session_id", "day/7", "DANDI file name"),
        (SessionFields, "session_id", "-7", "DANDI file name"),
        (SessionFields, "session_start_time", "2019-05-06T10:30:00", "time zone of the computer"),
        (SessionFields, "session_start_time", "2019-05-06", "time zone of the computer"),
        (SessionFields, "session_start_time", "1970-01-01T00:00:00Z", "before 1980"),
        (SessionFields, "session_start_time", "3019-05-06T10:30:00Z", "in the future"),
        (SessionFields, "experimenter", "Weilun Sun", "Last, First"),
        (SessionFields, "related_publications", "Sun 2021", "not a DOI"),
        (SessionFields, "lab", "", "at least 1 character"),
        (ImagingPlaneFields, "excitation_wavelength_nm", 0.92, "greater than 10"),
        (ImagingPlaneFields, "emission_wavelength_nm", float("nan"), "finite"),
        (NwbParameters, "device", {"name": "a/b"}, "'/' or ':'"),
        (NwbParameters, "subject", {"subject_id": "one"}, "cannot be shared"),
        (SessionFields, "experimenter", "<Last, First>", "placeholder"),
        (SessionFields, "experimenter", ["Sun, Weilun", "<Last, First>"], "placeholder"),
        (SessionFields, "session_start_time", "<such as 2019-05-06T10:30:00+02:00>", "placeholder"),
        (SubjectFields, "species", "TODO", "placeholder"),
        (DeviceFields, "description", " ... ", "placeholder"),
        (ImagingPlaneFields, "location", "your region", "placeholder"),
        (NwbParameters, "institution", "fill in", "placeholder"),
        (NwbParameters, "compresion", "gzip", "Extra inputs"),
    ],
)
def test_wrong_values_are_refused_with_a_reason(model: type[BaseModel], field: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=field) as error:
        model.model_validate({field: value})
    assert message in str(error.value)


@pytest.mark.parametrize(
    "value", ["Gt(ROSA)26Sor<tm14(CAG-tdTomato)Hze>", "unknown", "None (simulated)", "Xenopus", "To do no harm"]
)
def test_texts_that_only_look_like_placeholders_are_taken(value: str) -> None:
    assert SubjectFields(genotype=value).genotype == value


@pytest.mark.parametrize("age", ["P90D", "P12W", "P1Y6M", "P8W/P12W", "P90Y/", "P2.5M", "P0DT12H"])
def test_ages_of_iso_8601_are_taken(age: str) -> None:
    assert SubjectFields(age=age).age == age


@pytest.mark.parametrize(
    "doi", ["10.17632/hjgtsmyyv5.1", "doi:10.17632/hjgtsmyyv5.1", "https://doi.org/10.17632/hjgtsmyyv5.1"]
)
def test_dois_take_one_form(doi: str) -> None:
    assert SessionFields(related_publications=doi).related_publications == ("doi:10.17632/hjgtsmyyv5.1",)


def test_corrected_movie_needs_its_original() -> None:
    with pytest.raises(ValidationError, match="points to its original"):
        shared(raw="none", corrected="embed")


def test_recording_takes_precedence_over_session_and_session_over_study() -> None:
    parameters = shared(lab="study", institution="study", session={"lab": "all sessions", "notes": "all sessions"})
    entry = recording(session={"lab": "this one", "session_start_time": "2019-05-06T10:30:00+02:00"})
    session = merge_metadata(parameters, entry).session
    assert (session.lab, session.notes, session.institution, session.virus) == (
        "this one",
        "all sessions",
        "study",
        None,
    )


def test_ids_are_made_of_keys_unless_given() -> None:
    made = merge_metadata(shared(), recording(animal="animal_1", session_key="day_7"))
    given = merge_metadata(shared(), recording(subject={"subject_id": "M-17"}, session={"session_id": "first"}))
    assert str(dandi_path(made)) == "sub-animal-1/sub-animal-1_ses-day-7_ophys.nwb"
    assert str(dandi_path(given)) == "sub-M-17/sub-M-17_ses-first_ophys.nwb"


def test_first_frame_of_a_part_of_a_recording_is_kept() -> None:
    assert merge_metadata(shared(), recording(frames=[100, 200])).first_frame == 100


def test_identifier_is_the_same_at_every_export_and_differs_between_sessions_and_studies() -> None:
    one, again = (merge_metadata(shared(), recording()).identifier for _ in range(2))
    other_session = merge_metadata(shared(), recording(session_key="day_8")).identifier
    other_study = merge_metadata(shared(related_publications=["10.1000/1"]), recording()).identifier
    assert one == again
    assert len({one, other_session, other_study}) == 3


def test_simulated_recordings_are_marked_in_subject_session_and_keywords() -> None:
    metadata = merge_metadata(shared(), recording(simulation={}))
    assert metadata.simulated
    assert "SIMULATED" in str(metadata.subject.description)
    assert "SIMULATED" in str(metadata.session.session_description)
    assert "simulated data" in (metadata.session.keywords or ())


def test_complete_metadata_have_no_problem() -> None:
    assert metadata_problems(shared(), recording()) == []


def test_all_missing_fields_are_listed() -> None:
    problems = metadata_problems(NwbParameters(), recording(subject={}, session={}))
    fields = [problem.split(":")[0] for problem in problems]
    assert fields == [
        "subject.species",
        "subject.sex",
        "subject.age",
        "session.session_start_time",
        "session.session_description",
        "device.name",
        "imaging_plane.description",
        "imaging_plane.indicator",
        "imaging_plane.location",
        "imaging_plane.excitation_wavelength_nm",
        "imaging_plane.emission_wavelength_nm",
        "device.description",
        "session.experimenter",
        "session.institution",
        "session.experiment_description",
        "session.keywords",
    ]


def test_warn_asks_only_for_what_nwb_and_dandi_require() -> None:
    problems = metadata_problems(shared(on_issue="warn", institution=None, experimenter=None), recording())
    assert problems == []


def test_birth_date_stands_for_the_age_and_lies_before_the_session() -> None:
    born = {"species": "Mus musculus", "sex": "F", "description": "A mouse."}
    assert metadata_problems(shared(), recording(subject={**born, "date_of_birth": "2019-02-01"})) == []
    (problem,) = metadata_problems(shared(), recording(subject={**born, "date_of_birth": "2019-06-01"}))
    assert "after the session" in problem


def test_midnight_of_birth_is_in_the_time_zone_of_the_session() -> None:
    metadata = merge_metadata(shared(), recording(subject={"date_of_birth": "2019-02-01"}))
    assert metadata.birth_time is not None
    assert metadata.birth_time.isoformat() == "2019-02-01T00:00:00+02:00"


def test_region_that_the_allen_atlas_does_not_know_is_found_before_the_run() -> None:
    plane = {**shared().imaging_plane.model_dump(), "location": "somewhere"}
    (problem,) = metadata_problems(shared(imaging_plane=plane), recording())
    assert "Allen" in problem


def lines_to_add(text: str) -> Any:
    return yaml.safe_load(text[text.index("recordings:\n") :])["recordings"]


def fields_of(block: dict[str, dict[str, str]]) -> set[str]:
    return {f"{part}.{name}" for part, fields in block.items() for name in fields}


def test_error_shows_placeholders_for_what_is_missing() -> None:
    with pytest.raises(MetadataError) as error:
        check_metadata(shared(), [recording(subject={}, session={})])
    facts = lines_to_add(str(error.value))["animal_1"]["day_7"]
    expected = ["subject.species", "subject.sex", "subject.age", "session.session_start_time"]
    assert error.value.missing == {("animal_1", "day_7"): expected}
    assert fields_of(facts) == set(expected)
    for part, name in (path.split(".") for path in expected):
        with pytest.raises(ValidationError, match=f"{name}\n.*placeholder"):
            recording(**{part: {name: facts[part][name]}})


def test_each_field_is_asked_for_once_and_as_high_up_as_it_may_stand() -> None:
    lacking = {"subject": {}, "session": {}}
    recordings = [recording(animal=animal, session_key=day, **lacking) for animal in "ab" for day in ("1", "2")]
    recordings.append(recording(animal="c", subject={"species": "Mus musculus", "sex": "F"}, session={}))
    with pytest.raises(MetadataError) as error:
        check_metadata(shared(imaging_plane={"description": "One plane."}), recordings)
    text = str(error.value)
    to_add = lines_to_add(text)
    plane = ("indicator", "location", "excitation_wavelength_nm", "emission_wavelength_nm")
    assert fields_of(to_add["defaults"]) == {f"imaging_plane.{name}" for name in plane}
    assert fields_of(to_add["a"]["defaults"]) == {"subject.species", "subject.sex", "subject.age"}
    assert fields_of(to_add["a"]["1"]) == {"session.session_start_time"}
    assert fields_of(to_add["c"]["defaults"]) == {"subject.age"}
    assert set(to_add) == {"defaults", "a", "c"}
    assert "a:  # and each of a ... b (2 animals)" in text
    assert '"1":  # and each of 1 ... 2 (2 sessions)' in text


def test_missing_fields_do_not_hide_messages_of_nwbinspector() -> None:
    plane = {**shared().imaging_plane.model_dump(), "location": "somewhere"}
    problems = metadata_problems(shared(imaging_plane=plane, institution=None), recording(subject={}))
    assert [p.split(":")[0] for p in problems] == [
        "subject.species",
        "subject.sex",
        "subject.age",
        "session.institution",
        "imaging_plane.location",
    ]


def test_responses_depend_on_importance() -> None:
    mixed = {"best_practice_suggestion": "warn", "critical": "error"}
    parameters = shared(on_issue=mixed, institution=None)
    assert metadata_problems(parameters, recording()) == []
    assert metadata_problems(parameters, recording(subject={}))
    assert response_to("BEST_PRACTICE_SUGGESTION", parameters.on_issue) == "warn"
    assert response_to("BEST_PRACTICE_VIOLATION", parameters.on_issue) == "error"  # left out
    assert response_to("PYNWB_VALIDATION", "warn") == response_to("ERROR", "warn") == "error"
    with pytest.raises(ValidationError, match="on_issue"):
        shared(on_issue={"violation": "warn"})


def test_wrong_and_missing_values_of_all_recordings_and_of_the_shared_part_are_in_one_message() -> None:
    facts = {"path": "raw", "frame_rate_hz": 14.7}
    manifest = {
        "a": {"1": {**facts, "subject": {"species": "mouse"}, "session": {"session_start_time": "2019-05-06"}}},
        "b": {"1": {**facts, "subject": {"species": "Mus musculus", "sex": "F"}}},
    }
    nwb = {"imaging_plane": {"emission_wavelength_nm": 0.5, "location": "RSPd"}, "experimenter": "Weilun Sun"}
    with pytest.raises(ManifestError) as error:
        parse_manifest(manifest, nwb)
    text = str(error.value)
    wrong, missing = text.split("The metadata for NWB and DANDI are incomplete or invalid.")
    for line in (
        "- subject.species: 'mouse' is not a Latin binomial name",
        "- session.session_start_time: ",
        "nwb.imaging_plane.emission_wavelength_nm",
        "nwb.experimenter",
    ):
        assert line in wrong, line
    assert wrong.count("[a.1]") == 2
    to_add = lines_to_add(missing)
    assert {"imaging_plane.indicator", "session.institution"} <= fields_of(to_add["defaults"])
    assert fields_of(to_add["a"]["defaults"]) == {"subject.sex", "subject.age"}
    assert fields_of(to_add["b"]["defaults"]) == {"subject.age"}
    assert fields_of(to_add["b"]["1"]) == {"session.session_start_time"}
    for name in ("species", "emission_wavelength_nm", "experimenter"):
        assert f"{name}: " not in missing, name  # they are there, and wrong


def test_all_recordings_are_checked_before_the_error() -> None:
    wrong = [recording(animal=name, subject={}) for name in ("a", "b")]
    with pytest.raises(MetadataError) as error:
        check_metadata(shared(), [recording(), *wrong])
    assert list(error.value.problems) == ["a.day_7", "b.day_7"]


def test_two_recordings_cannot_share_a_file() -> None:
    with pytest.raises(MetadataError, match=r"file of animal_1\.day_7"):
        check_metadata(shared(), [recording(), recording(animal="animal-1")])


def _environment(name: str) -> dict[str, Any]:
    conf = str(Path(__file__).parents[2] / "conf")
    loader = OmegaConfigLoader(conf, base_env="base", default_run_env=name, merge_strategy={"parameters": "soft"})
    parameters = loader["parameters"]
    return {**parameters, "recordings": with_defaults(parameters["recordings"])}


def test_example_of_the_retrosplenial_data_lacks_only_what_is_not_published() -> None:
    parameters = _environment("example_rsc")
    example = NwbParameters.model_validate(parameters["nwb"])
    for sessions in parameters["recordings"].values():
        fields = [problem.split(":")[0] for problem in metadata_problems(example, recording(**sessions["day_7"]))]
        assert fields == ["session.experimenter", "session.institution"]
    bare = recording(**parameters["recordings"]["animal_1"]["day_7"], subject={}, session={})
    fields = [problem.split(":")[0] for problem in metadata_problems(example, bare)]
    assert fields[:3] == ["subject.sex", "subject.age", "session.session_start_time"]


def test_example_is_complete_once_filled_in() -> None:
    known = {"experimenter": ["Sun, Weilun"], "institution": "UC Davis"}
    parameters = _environment("example_rsc")
    example = NwbParameters.model_validate({**parameters["nwb"], **known})
    assert metadata_problems(example, recording(**parameters["recordings"]["animal_5"]["day_7"])) == []
