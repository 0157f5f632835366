"""Channels and planes of a recording in the manifest, and the units that they are expanded to."""

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from rsc2p_kedro.datasets.raw import Layout
from rsc2p_kedro.manifest.config_loader import expanded_catalog, named_recordings, plane_entries
from rsc2p_kedro.manifest.recordings import Recording


def recording(**facts) -> Recording:
    return Recording(animal="a", session_key="s", path=Path("rec"), frame_rate_hz=10, **facts)


def test_a_recording_of_one_plane_is_its_own_unit():
    for planes in ({}, {"planes": 1}):
        one = recording(**planes)
        assert one.units == (one,)
        assert (one.name, one.plane_delay_s) == ("a.s", 0)


def test_units_have_the_number_of_their_plane_and_files_of_their_own():
    session = recording(planes=3, curation="curation_{plane}.csv", flyback_frames=1)
    assert [unit.name for unit in session.units] == ["a.s.plane_1", "a.s.plane_2", "a.s.plane_3"]
    assert [unit.session_name for unit in session.units] == ["a.s"] * 3
    assert [str(unit.curation) for unit in session.units] == [f"curation_{k}.csv" for k in (1, 2, 3)]
    assert session.name == "a.s"


def test_a_table_of_excluded_frames_is_of_all_planes_or_of_each():
    for table, expected in {"bad.csv": ["bad.csv"] * 2, "bad_{plane}.csv": ["bad_1.csv", "bad_2.csv"]}.items():
        units = recording(planes=2, exclude_frames=table).units
        assert [str(unit.exclude_frames) for unit in units] == expected
    assert recording(planes=2, exclude_frames="auto").units[1].exclude_frames == "auto"


def test_frames_of_a_plane_start_at_its_position_in_the_volume():
    """At 10 volumes per second, a volume of three planes and a flyback has four frames of 25 ms."""
    delays = [unit.plane_delay_s for unit in recording(planes=3, flyback_frames=1).units]
    assert delays == pytest.approx([0, 0.025, 0.05])


def test_channels_are_a_number_or_names():
    assert recording(channels=2).layout == Layout(2, None, None)
    named = recording(channels={"functional": "green", "structural": "red", "n": 2}, planes=3, flyback_frames=0)
    assert named.layout == Layout(2, 3, 0)
    assert named.has_structural_channel
    assert not recording(channels={"functional": 1}).has_structural_channel


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"channels": {"structural": "red"}}, "name the functional channel as well"),
        ({"channels": {"functional": "Red", "structural": "red"}}, "are both channel Red"),
        ({"channels": 0}, "greater than 0"),
        ({"planes": 0}, "greater than 0"),
        ({"planes": 3, "plane_depths_um": [100, 120]}, "a depth for each of 3 planes, has 2"),
        ({"planes": 2, "curation": "c.csv", "seeds": "s.csv"}, "its own seeds and curation: write `{plane}`"),
    ],
)
def test_what_makes_no_sense_is_refused(facts, message):
    with pytest.raises(ValidationError, match=message):
        recording(**facts)


MANIFEST = {
    "a": {
        "s": {"path": "x", "frame_rate_hz": 5, "planes": 2, "seeds": "s{plane}.csv", "exclude_frames": "e{plane}.csv"},
        "t": {"path": "y"},
    }
}
CATALOG = {
    "{animal}.{session}.raw_frames": {"type": "T", "filepath": "{recording.path}", "planes": "{recording.planes}"},
    "{animal}.{session}.seeds": {"type": "S", "filepath": "{recording.seeds}"},
    "{animal}.{session}.exclusion_table": {"type": "E", "filepath": "{recording.exclusion_table}"},
    "{animal}.{session}.movie": {"type": "M", "filepath": "data/{animal}/{session}/movie.zarr"},
    "components_table": {"type": "C", "filepath": "data/components.csv"},
}


def test_planes_have_entries_of_their_own_below_their_session():
    named = named_recordings(MANIFEST, Path("/p"))
    units = plane_entries(named)
    assert list(units["a"]) == ["s"]
    assert [Recording.model_validate(entry) for entry in units["a"]["s"].values()] == list(
        Recording.model_validate(named["a"]["s"]).units
    )
    catalog = expanded_catalog(CATALOG, {"recordings": named, "units": units})
    assert catalog["{animal}.{session}.plane_{plane}.movie"]["filepath"] == (
        "data/{animal}/{session}/plane_{plane}/movie.zarr"
    )
    assert catalog["a.s.raw_frames"] == {"type": "T", "filepath": "/p/x", "planes": 2}
    assert catalog["a.s.plane_2.seeds"]["filepath"] == "/p/s2.csv"
    assert catalog["a.s.plane_2.exclusion_table"]["filepath"] == "/p/e2.csv"
    assert not any(name.startswith("a.t.plane") for name in catalog)


def test_kedro_finds_the_file_of_a_plane():
    from kedro.io.catalog_config_resolver import CatalogConfigResolver

    named = named_recordings(MANIFEST, Path("/p"))
    catalog = expanded_catalog(
        {**CATALOG, "{animal}.{session}.{name}_figure": {"type": "F", "filepath": "{animal}/{session}/{name}.png"}},
        {"recordings": named, "units": plane_entries(named)},
    )
    resolver = CatalogConfigResolver(catalog)
    files = {name: resolver.resolve_pattern(name)["filepath"] for name in ("a.s.plane_2.movie", "a.t.movie")}
    assert files == {"a.s.plane_2.movie": "data/a/s/plane_2/movie.zarr", "a.t.movie": "data/a/t/movie.zarr"}
    assert resolver.resolve_pattern("a.s.plane_1.motion_quality_figure")["filepath"] == "a/s/plane_1/motion_quality.png"


def test_many_recordings_of_three_planes_are_expanded_at_once():
    manifest = {"a": {f"s{i}": {"path": f"x{i}", "frame_rate_hz": 5, "planes": 3} for i in range(2000)}}
    start = time.process_time()
    named = named_recordings(manifest, Path("/p"))
    catalog = expanded_catalog(CATALOG, {"recordings": named, "units": plane_entries(named)})
    assert sum(name.startswith("a.s") for name in catalog) == 4 * 2000
    assert time.process_time() - start < 5


def test_array_and_axes_of_raw_data_reach_the_dataset_of_the_recording():
    facts = {"dataset": "raw/movie", "axes": "TYX"}
    assert recording(**facts).layout == Layout(dataset="raw/movie", axes="TYX")
    with pytest.raises(ValidationError, match="axes"):
        recording(axes="time")
    pattern = {"{animal}.{session}.raw_frames": {"type": "T", **{name: f"{{recording.{name}}}" for name in facts}}}
    catalog = expanded_catalog(pattern, {"recordings": {"a": {"s": {"path": "/p/x.h5", **facts}}}, "units": {}})
    assert catalog["a.s.raw_frames"] == {"type": "T", **facts}
