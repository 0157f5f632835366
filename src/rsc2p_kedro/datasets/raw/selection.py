"""Which files of a folder belong to a recording: patterns that the user writes, so that no file has to be moved."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from rsc2p_kedro.datasets.raw.recording import Layout


def as_patterns(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Patterns as the manifest gives them.

    Args:
        value: one pattern, several, or None.

    Returns:
        The patterns.
    """
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def select_files(folder: Path, found: Iterable[Path], layout: Layout) -> list[Path]:
    """Selects the files of a recording.

    Args:
        folder: of the recording; patterns are relative to it.
        found: files that lie in the folder itself, which are the recording if there are no patterns.
        layout: with the patterns `files` and `exclude`, in which `*` stands for any characters but `/`, and `**`
            for any folders. A pattern of `exclude` without `/` applies to names of files in all folders.

    Returns:
        The files without duplicates and without hidden ones, in no particular order.
    """
    files = {file for pattern in layout.files for file in folder.glob(pattern)} if layout.files else set(found)
    return [file for file in files if not file.name.startswith(".") and not _is_excluded(file, folder, layout.exclude)]


def _is_excluded(file: Path, folder: Path, patterns: Iterable[str]) -> bool:
    place = file.relative_to(folder).as_posix()
    return any(fnmatchcase(place if "/" in pattern else file.name, pattern) for pattern in patterns)
