from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from kedro.io import DatasetError, Version

from rsc2p_kedro.core.results import ComponentQuality, Components, LineageEntry, MotionCorrection
from rsc2p_kedro.datasets import RecordDataset
from rsc2p_kedro.datasets.records import read_record, write_record

RESULTS = "rsc2p_kedro.core.results"


@dataclass(frozen=True)
class Inner:
    values: np.ndarray
    note: str = ""


@dataclass(frozen=True)
class Outer:
    matrix: sp.csc_array
    inner: Inner
    several: tuple[Inner, ...] = ()
    facts: dict[str, float | int | None] = field(default_factory=dict)
    window: tuple[int, int] | None = None
    listed: list[str] = field(default_factory=list)


def components(n: int = 4, n_frames: int = 20) -> Components:
    rng = np.random.default_rng(0)
    footprints = sp.random_array((30, n), density=0.3, rng=rng, dtype=np.float32, format="csc")
    traces = rng.random((n, n_frames), dtype=np.float32)
    return Components(
        shape=(5, 6),
        ids=np.arange(n) * 3,
        footprints=footprints,
        traces=traces,
        spikes=traces / 2,
        residual_traces=-traces,
        background_footprints=sp.random_array((30, 2), density=0.5, rng=rng, dtype=np.float32, format="csc"),
        background_traces=rng.random((2, n_frames), dtype=np.float32),
        baseline=traces[:, 0],
        noise=traces[:, 1],
        ar_coefficients=traces[:, :1],
        lam=traces[:, 2],
        pixel_noise=rng.random((5, 6), dtype=np.float32),
        lineage=(LineageEntry(0, "merged", (0, 5), "they were one cell"), LineageEntry(9, "removed")),
        provenance={"engine": "embedded"},
    )


def motion() -> MotionCorrection:
    return MotionCorrection(
        template=np.ones((5, 6), np.float32),
        shifts=np.ones((20, 2), np.float32),
        patch_shifts=np.ones((20, 0, 2), np.float32),
        patch_centres=np.ones((0, 2), np.float32),
        valid_mask=np.ones((5, 6), bool),
        peak_quality=np.ones(20, np.float32),
        registered=np.ones(20, bool),
    )


def assert_same(a, b) -> None:
    assert type(a) is type(b)
    for name in a.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if sp.issparse(x):
            assert y.format == "csc"
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            np.testing.assert_array_equal(x.toarray(), y.toarray())
        elif isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        else:
            assert x == y


def test_components_come_back_with_their_lineage(tmp_path):
    dataset = RecordDataset(filepath=tmp_path / "components.npz", record=f"{RESULTS}.Components")
    dataset.save(components())
    assert_same(dataset.load(), components())


def test_motion_and_quality_come_back(tmp_path):
    quality = ComponentQuality(
        snr=np.ones(2, np.float32),
        r_value=np.ones(2, np.float32),
        accepted=np.array([True, False]),
        reasons=("accepted: snr", "rejected: r_value 0.41 < 0.85"),
        n_transients=np.ones(2, np.int64),
    )
    for record in (motion(), quality):
        dataset = RecordDataset(filepath=tmp_path / "record.npz", record=f"{RESULTS}.{type(record).__name__}")
        dataset.save(record)
        assert_same(dataset.load(), record)


def test_nested_records_dicts_and_plain_values_come_back(tmp_path):
    outer = Outer(
        matrix=sp.csc_array(np.eye(3, dtype=np.float32)),
        inner=Inner(np.arange(3), "é"),
        several=(Inner(np.zeros(0)), Inner(np.array([np.nan]))),
        facts={"a": 0.1, "b": np.int64(3), "c": None},
        window=(1, 5),
        listed=["x", "y"],
    )
    write_record(tmp_path / "outer.npz", outer)
    loaded = read_record(tmp_path / "outer.npz", Outer)
    assert (loaded.facts, loaded.window, loaded.listed, loaded.inner.note) == (outer.facts, (1, 5), ["x", "y"], "é")
    np.testing.assert_array_equal(loaded.several[1].values, [np.nan])


def test_arrays_can_be_read_without_this_project(tmp_path):
    write_record(tmp_path / "motion.npz", motion())
    with np.load(tmp_path / "motion.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["shifts"], motion().shifts)


def test_versions_are_kept(tmp_path):
    def dataset(save: str) -> RecordDataset:
        return RecordDataset(
            filepath=tmp_path / "motion.npz", record=f"{RESULTS}.MotionCorrection", version=Version(None, save)
        )

    assert not dataset("none").exists()
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        dataset(version).save(motion())
    assert dataset("x").list_versions(full_path=False) == ["2026-01-02T00.00.00.000Z", "2026-01-01T00.00.00.000Z"]
    assert_same(dataset("x").load(), motion())


def test_other_record_is_refused_on_save_and_load(tmp_path):
    path = tmp_path / "record.npz"
    RecordDataset(filepath=path, record=f"{RESULTS}.MotionCorrection").save(motion())
    other = RecordDataset(filepath=path, record=f"{RESULTS}.Components")
    with pytest.raises(DatasetError, match="should hold Components, holds MotionCorrection"):
        other.load()
    with pytest.raises(DatasetError, match="should hold Components, got MotionCorrection"):
        other.save(motion())


def test_values_that_contradict_each_other_are_refused_on_load(tmp_path):
    path = tmp_path / "motion.npz"
    write_record(path, motion())
    with np.load(path) as file:
        arrays = dict(file)
    arrays["shifts"] = np.full((20, 2), np.nan, np.float32)
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match="shifts holds NaN"):
        RecordDataset(filepath=path, record=f"{RESULTS}.MotionCorrection").load()


def test_other_npz_and_bad_catalog_entries_are_named(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(DatasetError, match="npz of something else"):
        RecordDataset(filepath=tmp_path / "other.npz", record=f"{RESULTS}.Components").load()
    for record in ("nowhere.Components", f"{RESULTS}.Nothing", "pathlib.Path", "Components"):
        with pytest.raises(DatasetError, match=r"dotted path of a dataclass|be a dataclass"):
            RecordDataset(filepath=tmp_path / "other.npz", record=record).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no LineageEntry at .*run the stage that computes it first"),
        (b"", "is damaged .*Run the stage that writes it again"),
        (b"PK\3\4 the rest is gone", "is damaged .*Run the stage that writes it again"),
        (b"component_id,event", "is damaged .*Run the stage that writes it again"),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "entry.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        RecordDataset(filepath=tmp_path / "entry.npz", record=f"{RESULTS}.LineageEntry").load()


def test_single_array_is_not_taken_for_a_record(tmp_path):
    with (tmp_path / "entry.npz").open("wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(DatasetError, match=r"should be an \.npz file, is an \.npy file"):
        RecordDataset(filepath=tmp_path / "entry.npz", record=f"{RESULTS}.LineageEntry").load()


def test_field_that_cannot_be_saved_is_named_and_no_file_is_left(tmp_path):
    dataset = RecordDataset(filepath=tmp_path / "inner.npz", record=f"{RESULTS}.LineageEntry")
    with pytest.raises(DatasetError, match=r"reason holds \w*Path"):
        dataset.save(LineageEntry(1, "kept", (), Path("x")))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damage_anywhere_is_named_with_the_file_and_what_to_do(tmp_path: Path, share: float, damage: str) -> None:
    path = tmp_path / "components.npz"
    write_record(path, components())
    data = bytearray(path.read_bytes())
    at = int(share * len(data))
    data[at : at + 8] = bytes(byte ^ 0xFF for byte in data[at : at + 8])
    path.write_bytes(data[:at] if damage == "cut" else data)
    with pytest.raises(DatasetError, match=r"components\.npz .*Run the stage that writes it again"):
        read_record(path, Components)
