"""Which stacks in a folder are parts of one movie, and which are recordings of their own, by their names.

Programs that split a long movie number its parts at the end of the name: `m.tif`, `m_1.tif`, `m_2.tif` (ImageJ,
Micro-Manager), `m_00001_00001.tif`, `m_00001_00002.tif` (ScanImage, whose first number counts acquisitions). A number
that is a date, or that follows a word such as `day` or `mouse`, tells recordings apart.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

_DATE = re.compile(r"(19|20)\d\d([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])$")
_SCANIMAGE_PART = re.compile(r"(.*_\d{5})_\d{5}")
_SCANIMAGE_ACQUISITION = re.compile(r".*_\d{5}")
_NUMBERED = re.compile(r"(?P<rest>.*?)(?P<separator>[ _(.-]*)(?P<number>\d+)\)?")
_TELLS_APART = re.compile(
    r"(?:^|.*[^A-Za-z])(?:day|date|session|sess|ses|mouse|animal|rat|subject|subj|sub|fov|pos|position|site|area|region"
    r"|acq|acquisition|week|exp|experiment)",
    re.IGNORECASE,
)


def group_parts(files: Iterable[Path], is_scanimage: Callable[[Path], bool]) -> list[list[Path]]:
    """Groups stacks that are parts of one movie.

    Args:
        files: stacks in one folder.
        is_scanimage: tells whether a file was written by ScanImage, which numbers acquisitions with five digits.

    Returns:
        The files of each movie, in the order in which they were given.
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(_movie_of(file, is_scanimage), []).append(file)
    return list(groups.values())


def _movie_of(file: Path, is_scanimage: Callable[[Path], bool]) -> str:
    """Name of the movie that a file is a part of: its own name without the number of the part."""
    stem = stem_of(file)
    part = _SCANIMAGE_PART.fullmatch(stem)
    if part:
        return part[1]
    numbered = _NUMBERED.fullmatch(stem)
    if numbered is None or _DATE.search(stem) or _TELLS_APART.fullmatch(numbered["rest"]):
        return stem
    if _SCANIMAGE_ACQUISITION.fullmatch(stem) and is_scanimage(file):
        return stem
    return numbered["rest"]


def stem_of(file: Path) -> str:
    """Name of a file without its endings.

    Args:
        file: such as `m.ome.tif`.

    Returns:
        The name without `.tif`, and without `.ome` before it.
    """
    return re.sub(r"\.ome$", "", file.stem, flags=re.IGNORECASE)


def pattern_of(files: Iterable[Path], others: Iterable[Path]) -> tuple[str, ...]:
    """Finds patterns that match some files of a folder and none of the others.

    Args:
        files: to be matched.
        others: other files in the folder.

    Returns:
        One pattern such as `m_00001_*.tif` if there is one, else the names of all files.
    """
    names, excluded = [file.name for file in files], [file.name for file in others]
    start = names[0]
    for name in names:
        while not name.startswith(start):
            start = start[:-1]
    start = start.rstrip("0123456789")
    suffixes = {"".join(Path(name).suffixes[-1:]) for name in names}
    fits = start and len(suffixes) == 1
    end = suffixes.pop() if fits else ""
    if fits and not re.search(r"[*?\[]", start) and not any(n.startswith(start) and n.endswith(end) for n in excluded):
        return (f"{start}*{end}",)
    return tuple(re.sub(r"([*?\[])", r"[\1]", name) for name in names)
