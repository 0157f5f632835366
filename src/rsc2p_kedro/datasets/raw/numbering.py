"""Checks of the numbers in the names of the files of a recording."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rsc2p_kedro.datasets.raw.recording import first_few


def numbering_problems(names: Sequence[str]) -> list[str]:
    """Finds gaps and duplicates in the numbers of file names, and names that differ in pattern from the others.

    Names are split into text and numbers. The last number that differs between files counts the frames, separately for
    each value of the numbers before it (a cycle, for example). Equal steps larger than 1 are not gaps.

    Args:
        names: file names in natural order.

    Returns:
        One text for each problem.
    """
    patterns: dict[str, list[str]] = defaultdict(list)
    for name in names:
        patterns[re.sub(r"\d+", "#", name)].append(name)
    if len(patterns) == 2:
        names = _without_first_part(names, patterns)
        patterns = {pattern: found for pattern, found in patterns.items() if found[0] in names}
    if len(patterns) > 1:
        usual = max(patterns, key=lambda pattern: len(patterns[pattern]))
        others = [name for name in names if name not in set(patterns[usual])]
        return [f"most files are named like {usual}, but not {first_few(others)}: move these elsewhere or rename them"]
    numbers = np.array([[int(number) for number in re.findall(r"\d+", name)] for name in names], dtype=object)
    if len(names) < 2 or not numbers.size:
        return []
    varying = [column for column in range(numbers.shape[1]) if len(set(numbers[:, column])) > 1]
    if not varying:
        return [f"files have the same number: {first_few(names)}. Keep one of each"]
    return _gaps_and_duplicates(names, numbers, varying[-1])


def _without_first_part(names: Sequence[str], patterns: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Leaves the first part of a movie out of `m.tif`, `m_1.tif`, `m_2.tif`, since it has no number."""
    for pattern, found in patterns.items():
        numbered = set(patterns) - {pattern}
        first = {re.sub(r"[_ (-]+#\)?(?=(\.[A-Za-z]+)*$)", "", other) for other in numbered}
        if pattern in first and len(found) == 1:
            return [name for name in names if name != found[0]]
    return names


def _gaps_and_duplicates(names: Sequence[str], numbers: NDArray, counter: int) -> list[str]:
    """Problems of the column `counter` of the numbers (file, column), within equal values of all other columns."""
    counts: dict[tuple[int, ...], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, row in zip(names, numbers, strict=True):
        counts[tuple(np.delete(row, counter))][row[counter]].append(name)
    duplicates = [" and ".join(same) for count in counts.values() for same in count.values() if len(same) > 1]
    problems = [f"files have the same number: {first_few(duplicates)}. Keep one of each"] if duplicates else []
    missing = [gap for count in counts.values() for gap in _gaps(sorted(count))]
    if missing:
        problems.append(
            f"the numbering of the files has gaps, {first_few(missing)} missing: restore these frames or, if none "
            "is missing, number the files without gaps"
        )
    return problems


def _gaps(numbers: list[int]) -> list[str]:
    """Ranges that are missing in ascending numbers, whose smallest step is the regular one."""
    steps = np.diff(np.array(numbers, dtype=object))
    if len(set(steps)) <= 1:
        return []
    step = min(steps)
    holes = [(a + step, b - step) for a, b in pairwise(numbers) if b - a > step]
    return [f"{first}" if first == last else f"{first} to {last}" for first, last in holes]
