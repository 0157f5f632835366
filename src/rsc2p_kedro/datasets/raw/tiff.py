"""TIFFs without a format of their own: a folder of files with one or many images each, or a single file."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from natsort import natsorted

from rsc2p_kedro.datasets.raw.numbering import numbering_problems
from rsc2p_kedro.datasets.raw.recording import Layout, RawRecording, arrange, common_problems, first_few
from rsc2p_kedro.datasets.raw.tiff_file import inspect_file

SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf8"})
_THREADS = 8
"""Headers that are read in parallel. Most of the time is spent waiting for the disk or a network drive. Not tuned."""


def read(path: Path, layout: Layout) -> RawRecording:
    """Inspects the TIFFs of a recording, reading their headers only.

    Args:
        path: a folder of TIFFs or one TIFF.
        layout: what the user says of the order of the images; the files tell nothing.

    Returns:
        The recording, with all its problems: no files, gaps or duplicates in the numbering, files that are truncated,
        of another shape or dtype than most, in colour or of several channels.
    """
    paths, problems = find_files(path)
    with ThreadPoolExecutor(_THREADS) as pool:
        files = tuple(pool.map(inspect_file, paths))
    problems = [*problems, *numbering_problems([file.name for file in paths]), *common_problems(files)]
    order, notes = arrange(sum(file.n_images for file in files), layout)
    channels = tuple(str(number + 1) for number in range(layout.n_channels or 1))
    return RawRecording(path, "TIFF", files, order, channels, problems=tuple(problems), notes=tuple(notes))


def find_files(path: Path) -> tuple[list[Path], list[str]]:
    """Finds the TIFFs of a recording.

    Args:
        path: a folder of TIFFs or one TIFF.

    Returns:
        The files in natural order (`frame_2` before `frame_10`), and a problem if there are none.
    """
    if path.is_dir():
        files = tiffs_in(path)
        if files:
            return files, []
        inside = sorted({str(file.parent.relative_to(path)) for file in path.glob("*/**/*") if _is_tiff(file)})
        hint = f"there are TIFFs in {first_few(inside)}, give one of these folders" if inside else "correct `path`"
        return [], [f"there is no TIFF (.tif, .tiff) in this folder: {hint}"]
    if not path.exists():
        return [], ["there is no such file or folder: correct `path`, or copy the data there"]
    if not _is_tiff(path):
        return [], [f"a TIFF (.tif, .tiff) or a folder of them is expected, this is a {path.suffix or 'plain'} file"]
    return [path], []


def tiffs_in(folder: Path) -> list[Path]:
    """Lists the TIFFs in a folder, without those in its subfolders and hidden files.

    Args:
        folder: to search.

    Returns:
        The files in natural order.
    """
    return natsorted((file for file in folder.iterdir() if _is_tiff(file)), key=lambda file: file.name)


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
