"""Results of the stages on disk: frozen dataclasses of arrays, one file each."""

import dataclasses
import json
import typing
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np
import scipy.sparse as sp
from kedro.io import AbstractVersionedDataset, DatasetError, Version
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from rsc2p_kedro.datasets.atomic import replacing

_CONTENTS = "__contents__"


class RecordDataset(AbstractVersionedDataset[Any, Any]):
    """A frozen dataclass of arrays, sparse matrices and plain values, as one `.npz` file without pickles.

    Each array is a member of the file under the name of its field; a sparse matrix (CSC) is three members. Everything
    else (numbers, texts, tuples, lists, dicts, nested records) is in a JSON text, the member `__contents__`. Loading
    constructs the record again, so that its own checks run. The arrays can be read without this project:
    `numpy.load("motion.npz")["shifts"]`.

    Examples:
        ```yaml
        "{animal}.{session}.motion":
          type: rsc2p_kedro.datasets.RecordDataset
          filepath: data/03_primary/{animal}/{session}/motion.npz
          record: rsc2p_kedro.core.results.MotionCorrection
          versioned: true
        ```

        >>> dataset = RecordDataset(
        ...     filepath=tmp_path / "entry.npz", record="rsc2p_kedro.core.results.LineageEntry"
        ... )
        >>> dataset.save(LineageEntry(component_id=9, event="removed"))
        >>> dataset.load().event
        'removed'
    """

    def __init__(
        self,
        *,
        filepath: str | Path,
        record: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Stores the path and the class of the record; nothing is read yet.

        Args:
            filepath: the file, usually ending in `.npz`.
            record: dotted path of the dataclass.
            version: of a versioned dataset, see Kedro.
            metadata: ignored by Kedro, read by plugins.
        """
        super().__init__(filepath=PurePosixPath(Path(filepath).as_posix()), version=version)
        self._record = record
        self.metadata = metadata

    def load(self) -> Any:
        return read_record(Path(self._get_load_path()), _record_class(self._record))

    def save(self, data: Any) -> None:
        expected = _record_class(self._record)
        if not isinstance(data, expected):
            raise DatasetError(
                f"{self._filepath} should hold {expected.__name__}, got {type(data).__name__}: correct `record:` in "
                "the catalog, or the output of the node."
            )
        with replacing(Path(self._get_save_path())) as temporary:
            write_record(temporary, data)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "record": self._record, "version": self._version}

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()


def write_record(path: Path, record: Any) -> None:
    """Writes a record to an `.npz` file.

    Args:
        path: the file, which is overwritten.
        record: a dataclass of arrays, sparse matrices, plain values (numbers, texts, tuples, lists, dicts with keys
            that are texts) and records of the same kind.

    Raises:
        TypeError: a field holds a value of another type; the message names the field.
    """
    arrays: dict[str, NDArray] = {}
    contents = json.dumps(_encode(record, "", arrays))
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{_CONTENTS: np.array(contents)}, **arrays)


def read_record(path: Path, expected: type) -> Any:
    """Reads a record that :func:`write_record` has written.

    Args:
        path: the file.
        expected: the dataclass it should hold. Only dataclasses that its annotations name may be nested in it.

    Returns:
        An instance of `expected`, with arrays of the dtypes they were saved with.

    Raises:
        DatasetError: there is no such file, it is damaged, holds another record or lacks fields, or its values
            contradict each other.
    """
    with _open_npz(path, expected) as arrays:
        if _CONTENTS not in arrays:
            raise DatasetError(
                f"{path} should hold {expected.__name__}, but is an .npz of something else: correct its `filepath:` in "
                "the catalog."
            )
        contents = _contents(arrays, path)
        if contents["record"] != expected.__name__:
            raise DatasetError(
                f"{path} should hold {expected.__name__}, holds {contents['record']}: correct `record:` or `filepath:` "
                "in the catalog."
            )
        known = {kind.__name__: kind for kind in _nested_records(expected)}
        try:
            return _decode(contents, arrays, known)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{path} holds no {expected.__name__} that this version of the project can read ({error}). "
                "Run the stage that writes it again."
            ) from error


def _contents(arrays: NpzFile, path: Path) -> Any:
    """The description of the record in a file."""
    try:
        return json.loads(str(arrays[_CONTENTS]))
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}). Run the stage that writes it again.") from error


@contextmanager
def _open_npz(path: Path, expected: type) -> Iterator[NpzFile]:
    """Opens an `.npz` file for the time of the block."""
    if not path.is_file():
        raise DatasetError(f"There is no {expected.__name__} at {path}: run the stage that computes it first.")
    with path.open("rb") as stream:  # np.load leaves a damaged file open if it opens it itself
        try:
            arrays = np.load(stream, allow_pickle=False)
        except (OSError, EOFError, ValueError, BadZipFile) as error:
            raise DatasetError(
                f"{path} is no .npz file or is damaged ({error}). Run the stage that writes it again."
            ) from error
        if not isinstance(arrays, NpzFile):
            raise DatasetError(
                f"{path} should be an .npz file, is an .npy file: correct its `filepath:` in the catalog."
            )
        with arrays:
            try:
                yield arrays
            except (OSError, EOFError, BadZipFile, zlib.error) as error:  # a member, which is read when it is needed
                raise DatasetError(f"{path} is damaged ({error}). Run the stage that writes it again.") from error


def _encode(value: Any, name: str, arrays: dict[str, NDArray]) -> Any:
    """A value as JSON; arrays are put into `arrays` under the name of their field and replaced by a reference."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OV":
        arrays[name] = value
        return {"array": name}
    if sp.issparse(value):
        columns = sp.csc_array(value)
        arrays |= {f"{name}.{part}": getattr(columns, part) for part in ("data", "indices", "indptr")}
        return {"sparse": name, "shape": list(columns.shape)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        fields = {n: _encode(getattr(value, n), f"{name}.{n}".lstrip("."), arrays) for n in names}
        return {"record": type(value).__name__, "fields": fields}
    if isinstance(value, tuple | list):
        items = [_encode(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(item, f"{name}.{key}", arrays) for key, item in value.items()}}
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} holds {type(value).__name__}, which cannot be saved in a record.")


def _decode(value: Any, arrays: Any, known: dict[str, type]) -> Any:
    """The value that :func:`_encode` has turned into JSON."""
    match value:
        case {"array": name}:
            return arrays[name]
        case {"sparse": name, "shape": shape}:
            return sp.csc_array(tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr")), shape=shape)
        case {"record": name, "fields": fields}:
            return known[name](**{key: _decode(item, arrays, known) for key, item in fields.items()})
        case {"tuple": items}:
            return tuple(_decode(item, arrays, known) for item in items)
        case {"dict": items}:
            return {key: _decode(item, arrays, known) for key, item in items.items()}
        case list():
            return [_decode(item, arrays, known) for item in value]
    return value


def _nested_records(annotation: Any) -> Iterator[type]:
    """A dataclass and those that its annotations name: a file cannot make the program construct any other class."""
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        yield annotation
        for inner in typing.get_type_hints(annotation).values():
            yield from _nested_records(inner)
    for argument in typing.get_args(annotation):
        yield from _nested_records(argument)


def _record_class(dotted: str) -> type:
    module, _, name = dotted.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DatasetError(f"`record: {dotted}` in the catalog should be the dotted path of a dataclass.") from error
    if not dataclasses.is_dataclass(kind) or not isinstance(kind, type):
        raise DatasetError(f"`record: {dotted}` in the catalog should be a dataclass, is {kind!r}.")
    return kind
