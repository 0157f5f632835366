"""Search for recordings on disk.

A folder of single images is one recording, and so are the parts of one movie (see
:mod:`~rsc2p_kedro.manifest.grouping`). Animal and session are named for the path below the folder that is searched:
`Animal_1/day_7` is session `day_7` of animal `animal_1`, and `Animal_1` without a further folder is its `session_1`.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from natsort import natsorted

from rsc2p_kedro.datasets.raw import Layout, Told, as_patterns, inspect_recording, select_files
from rsc2p_kedro.datasets.raw.formats import RAW_SUFFIXES, recordings_in
from rsc2p_kedro.datasets.raw.tiff import SUFFIXES as TIFF_SUFFIXES
from rsc2p_kedro.datasets.raw.tiff import tiffs_in
from rsc2p_kedro.manifest.grouping import group_parts, pattern_of, stem_of
from rsc2p_kedro.manifest.inspection import Found, Inspection, ScanCache
from rsc2p_kedro.manifest.naming import Names, manifest_key, names_in_neuroblueprint

_RESULTS = re.compile(
    r"references|suite2p.*|caiman_results.*|cnmf_results.*|extract_results.*|derivatives|\d\d_(intermediate|primary|feature"
    r"|model_input|models|model_output|reporting)",
    re.IGNORECASE,
)
"""Folders that hold no raw data: reference images, results of other programs and of this project."""

_PREVIEW = re.compile(r".*_preview\.tiff?|thumb(nail)?s?_.*|.*_thumb(nail)?\.tiff?", re.IGNORECASE)
"""Files that microscopes write beside the movie."""

_CONTAINERS = RAW_SUFFIXES - TIFF_SUFFIXES
"""Endings of files, and of folders, that may hold a whole recording other than in TIFF."""

_PLAIN_TIFF = ("TIFF", "ImageJ", "ScanImage")
"""Beginnings of the names of formats in which each file can stand alone."""


_DESCRIPTIONS = (".xml", ".env", ".companion.ome")
"""Endings of the files with which microscopes describe all files of a folder, which then are one recording."""


class ScanError(ValueError):
    """A folder cannot be searched, or a manifest cannot be extended. The message says why and what to do."""


@dataclass(frozen=True)
class RecordingOnDisk:
    """A recording that was detected on disk.

    Attributes:
        animal: key of the animal in the manifest.
        session: key of the session in the manifest.
        path: folder or file.
        inspection: what its files are and tell.
        files: patterns of its files, if not all files of the folder belong to it.
        exclude: patterns of files that do not belong to it.
        of_animal: fields of the manifest that the path tells of the animal.
        of_session: fields that the path tells of the session.
    """

    animal: str
    session: str
    path: Path
    inspection: Inspection
    files: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    of_animal: Mapping[str, Told] = field(default_factory=dict)
    of_session: Mapping[str, Told] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the recording in the manifest: `animal.session`."""
        return f"{self.animal}.{self.session}"

    @property
    def told(self) -> dict[str, Told]:
        """What path and files tell of the session, by the field of the manifest; files have precedence."""
        return {**self.of_session, **self.inspection.metadata}


@dataclass(frozen=True)
class Search:
    """What was found in a folder and its subfolders.

    Attributes:
        recordings: in natural order.
        ignored: files and folders that are no raw data, each with the reason.
    """

    recordings: tuple[RecordingOnDisk, ...]
    ignored: tuple[tuple[Path, str], ...] = ()


def find_recordings(
    root: Path,
    *,
    pattern: str | None = None,
    animal: str | None = None,
    each_file: bool = False,
    cache: ScanCache | None = None,
) -> Search:
    """Finds all recordings in a folder and its subfolders.

    Args:
        root: a folder, or one file.
        pattern: position of the names in the path below `root`, such as `{animal}/2p/{session}`; `*` stands for any
            characters but `/`. Recordings that do not match are left out. None takes the names of NeuroBlueprint where
            the path has them, else the first level as the animal and the others as the session.
        animal: name of the animal of all recordings; all levels of the path then name the session.
        each_file: whether each stack is a recording, even if it is a part of a movie by its name.
        cache: of earlier searches. None reads all headers.

    Returns:
        The recordings, and what was ignored. Links to folders are followed.

    Raises:
        ScanError: `root` does not exist, or the pattern contains neither `{animal}` nor `{session}`.
    """
    if not root.exists():
        raise ScanError(f"There is no file or folder {root}: give the folder that contains your recordings.")
    expression = _pattern(pattern) if pattern else None
    recordings, ignored = [], list[tuple[Path, str]]()
    for found in _search(root, each_file, cache or ScanCache(None), ignored):
        names = _names(found.path, root, expression, animal, found.files)
        if names:
            keys = manifest_key(names.animal), manifest_key(names.session)
            told = names.of_animal, names.of_session
            recordings.append(RecordingOnDisk(*keys, found.path, found.inspection, found.files, found.exclude, *told))
    return Search(tuple(recordings), tuple(ignored))


def _search(root: Path, each_file: bool, cache: ScanCache, ignored: list[tuple[Path, str]]) -> Iterator[Found]:
    """All recordings below a folder, or the one file."""
    if root.is_file():
        yield Found(root, Inspection.of(inspect_recording(root)))
        return
    for folder in _folders(root, ignored):
        search = partial(_recordings_in, folder, each_file, folder == root)
        found = cache.find(folder, f"each_file={each_file}, top={folder == root}", search)
        yield from found
        own = {one.path for one in found}
        paths = [path for path in folder.iterdir() if path not in own]
        ignored += [(path, "preview") for path in paths if _PREVIEW.fullmatch(path.name)]
        others = _CONTAINERS - {".raw"} if folder in own else _CONTAINERS  # a recording of ThorImage is its folder
        ignored += [(path, "no movie that can be read") for path in paths if path.suffix.lower() in others]
    cache.save()


def _folders(root: Path, ignored: list[tuple[Path, str]]) -> Iterator[Path]:
    """Folders that may hold recordings, each once: links are followed where they lead out of the folder searched."""
    top, seen = root.resolve(), set[Path]()
    for name, subfolders, _ in os.walk(root, followlinks=True):
        folder, kept = Path(name), list[str]()
        names, subfolders[:] = natsorted(subfolders), []
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        for sub in names:
            path = folder / sub
            if sub.startswith("."):
                continue
            target = path.resolve() if path.is_symlink() else None
            if target and (target.is_relative_to(top) or top.is_relative_to(target)):
                ignored.append((path, f"link to {target}, which is searched itself"))
            elif _RESULTS.fullmatch(sub):
                ignored.append((path, "reference images or results"))
            elif path.suffix.lower() not in _CONTAINERS:
                kept.append(sub)
        subfolders[:] = kept
        yield folder


def _recordings_in(folder: Path, each_file: bool, is_top: bool) -> list[Found]:
    """The recordings in one folder, without its subfolders."""
    names = sorted(path.name for path in folder.iterdir())
    if any(name.lower().endswith(_DESCRIPTIONS) for name in names):
        whole = Inspection.of(inspect_recording(folder))
        if (whole.n_frames or whole.problems) and not whole.format.startswith(_PLAIN_TIFF):
            return [Found(folder, whole)]
    others = [Found(path, Inspection.of(inspect_recording(path))) for path in recordings_in(folder)]
    return others if folder in (one.path for one in others) else others + _tiffs(folder, each_file, is_top)


def _tiffs(folder: Path, each_file: bool, is_top: bool) -> list[Found]:
    """The recordings among the TIFFs of a folder."""
    present = tiffs_in(folder)
    files = [file for file in present if not _PREVIEW.fullmatch(file.name)]
    exclude = tuple(file.name for file in present if _PREVIEW.fullmatch(file.name))
    if not files:
        return []
    groups = [[file] for file in files] if each_file else group_parts(files, _is_scanimage)
    of_one_folder = len(groups) == 1 and not (is_top and len(files) == 1) and not each_file
    if of_one_folder or not all(inspect_recording(file).n_frames > 1 for file in files):
        return [_found(folder, exclude=exclude)]
    found = []
    for group in groups:
        others = [file for file in present if file not in group]
        found.append(_found(group[0]) if len(group) == 1 else _found(folder, files=pattern_of(group, others)))
    return found


def _found(path: Path, files: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Found:
    raw = inspect_recording(path, layout=Layout(files=files, exclude=exclude))
    return Found(path, Inspection.of(raw), files, exclude)


def _is_scanimage(file: Path) -> bool:
    return inspect_recording(file).format.startswith("ScanImage")


def _pattern(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern, with groups for animal and session.

    Raises:
        ScanError: the pattern contains neither.
    """
    if "{animal}" not in pattern and "{session}" not in pattern:
        raise ScanError(
            f"The pattern '{pattern}' contains neither {{animal}} nor {{session}}; write, for example, "
            "'{animal}/{session}'."
        )
    text = re.escape(pattern.strip("/")).replace(r"\*", "[^/]*")
    return re.compile(re.sub(r"\\\{(animal|session)\\\}", r"(?P<\1>[^/]+)", text))


def _names(
    path: Path, root: Path, expression: re.Pattern[str] | None, animal: str | None, files: tuple[str, ...]
) -> Names | None:
    """Names of animal and session from a path; None if it does not match the expression."""
    named_path = path if path.is_dir() else path.with_name(stem_of(path))
    parts = named_path.relative_to(root).parts if path != root else ()
    if files:
        movie = files[0].partition("*")[0] if "*" in files[0] else stem_of(Path(files[0]))
        parts = (*parts, movie.rstrip("_-. ") or "movie")
    of_blueprint = None if expression or animal else names_in_neuroblueprint((*root.absolute().parts, *parts))
    if of_blueprint:
        return of_blueprint
    names: dict[str, str] = {}
    if expression:
        match = expression.fullmatch("/".join(parts))
        if not match:
            return None
        names = match.groupdict()
    elif animal is None and parts:
        names, parts = {"animal": parts[0]}, parts[1:]
    session = names.get("session") or ("_".join(parts) if parts and not expression else "session_1")
    top = root.resolve()
    return Names(animal or names.get("animal") or (top.name if top.is_dir() else top.stem), session)


def new_recordings(
    recordings: Iterable[RecordingOnDisk], manifest: Mapping[str, Mapping[str, Any]], project: Path
) -> list[RecordingOnDisk]:
    """Selects the recordings that the manifest does not contain yet.

    Args:
        recordings: recordings on disk.
        manifest: {animal: {session: entry}}; a recording is known if an entry has its path, or has files of it.
        project: folder that relative paths of the manifest start from.

    Returns:
        The new recordings. A session whose key is taken gets a number: `day_7_2`.
    """
    known, taken = set[Path](), set[tuple[str, str]]()  # paths of folders and files
    for animal, sessions in manifest.items():
        for session, entry in (sessions or {}).items():
            taken.add((animal, session))
            if isinstance(entry, Mapping) and entry.get("path"):
                known |= _files_of((project / str(entry["path"])).resolve(), entry)
    folders = {path.parent for path in known if path.is_file()}
    new = []
    for recording in recordings:
        path = recording.path.resolve()
        own = {path, path.parent} if path.is_file() else {path, *_files_of(path, {"files": recording.files})}
        if not known & own and (recording.files or path not in folders):
            session, number = recording.session, 2
            while (recording.animal, session) in taken:
                session, number = f"{recording.session}_{number}", number + 1
            taken.add((recording.animal, session))
            new.append(replace(recording, session=session))
    return new


def _files_of(path: Path, entry: Mapping[str, Any]) -> set[Path]:
    """What identifies the data of an entry: its files if it has patterns, else its path."""
    patterns = Layout(files=as_patterns(entry.get("files")), exclude=as_patterns(entry.get("exclude")))
    return set(select_files(path, (), patterns)) if patterns.files and path.is_dir() else {path}
