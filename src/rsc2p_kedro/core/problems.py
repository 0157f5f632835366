"""Problems of many recordings: each kind is told once, with the recordings that it concerns."""

import re
from collections.abc import Mapping, Sequence

_LISTED = 3
"""Number of recordings up to which a message names each of them."""

_PARTICULAR = re.compile(r"'[^']*'|\S*[\d/\\]\S*")
"""Parts of a message that differ between problems of the same kind: values in quotes, numbers and paths."""


def name_recordings(names: Sequence[str]) -> str:
    """Names recordings for a message.

    Args:
        names: `animal.session` of each, in the order of the manifest.

    Returns:
        All names if they are few, else the first, the last and their number: `animal_1.day_1 ... day_7 (7 recordings)`.
    """
    if len(names) <= _LISTED:
        return ", ".join(names)
    animal, _, session = names[-1].partition(".")
    last = session if all(name.partition(".")[0] == animal for name in names) else names[-1]
    return f"{names[0]} ... {last} ({len(names)} recordings)"


def group_problems(problems: Mapping[str, Sequence[str]], *, each: bool = False) -> list[str]:
    """Tells problems of many recordings in few lines.

    Args:
        problems: problems by the name of the recording; "" for those that belong to none.
        each: whether problems that differ in values and file names only are told one by one.

    Returns:
        One line for each kind of problem: the first problem of this kind, and the recordings that have one.
    """
    kinds: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for name, lines in problems.items():
        for line in lines:
            kind = line if each else _PARTICULAR.sub("#", line)
            kinds.setdefault((kind, bool(name)), []).append((line, name))
    return [_describe(found) for found in kinds.values()]


def _describe(found: Sequence[tuple[str, str]]) -> str:
    """Line of one kind, from its problems and their recordings."""
    line, name = found[0]
    differ = len({text for text, _ in found}) > 1
    if not name:
        return line + (f" (and {len(found) - 1} more of this kind)" if len(found) > 1 else "")
    names = list(dict.fromkeys(name for _, name in found))
    number = f", {len(found)} of this kind in all" if differ and len(found) > len(names) else ""
    similar = ", or similarly" if differ else ""
    return f"{line} [{name_recordings(names)}{similar}{number}]"
