"""Fingerprints of results: what a result was made of, as parts that can be read and compared, and their hash.

A result is fresh if its fingerprint is the one that it would get if it were made now. The fingerprint covers the
function, its version, the parameters that it uses and the fingerprints of its inputs, and thus the whole way from the
raw data. It does not cover time, paths and anything else of the machine.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable)

_USES = "__uses__"


def uses(**groups: str) -> Callable[[Function], Function]:
    """Declares which fields of its parameters the function of a node uses.

    A function without this decorator uses all fields of all its parameters. A field that is used but not declared would
    leave old results in place, so a test runs all functions and compares what they read with what they declare.

    Args:
        **groups: for a group of parameters (`evaluation`, or `recording` for facts of the recording), the names of the
            fields, separated by spaces; `dff_*` stands for all that begin with `dff_`, and `!engine` for all but that.
            Groups that are not named are used as a whole.

    Returns:
        A decorator that stores the declaration and returns the function itself.
    """

    def declare(function: Function) -> Function:
        setattr(function, _USES, {group: tuple(names.split()) for group, names in groups.items()})
        return function

    return declare


def uses_field(function: Callable, group: str, name: str) -> bool:
    """Whether a function declares that it uses a field.

    Args:
        function: function of a node.
        group: group of parameters.
        name: field of the group.

    Returns:
        True if it does, or declares nothing about the group.
    """
    declared = getattr(function, _USES, {}).get(group)
    if declared is None:
        return True
    excluded = [pattern[1:] for pattern in declared if pattern.startswith("!")]
    included = [pattern for pattern in declared if not pattern.startswith("!")] or (["*"] if excluded else [])
    return _matches(name, included) and not _matches(name, excluded)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Making:
    """What a result is made of.

    Attributes:
        function: name of the function, with what it is bound to.
        version: version of the algorithm.
        parameters: values of the fields that the function uses, by `group.field`; an engine with its version.
        inputs: by the name of the dataset, the fingerprint of a result, or the description of files of the user.
    """

    function: str
    version: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """`sha256:` and the hash of all parts."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def changes_since(self, earlier: "Making") -> list[str]:
        """Describes what has changed, apart from inputs that are results themselves.

        Args:
            earlier: what an existing result was made of.

        Returns:
            Phrases such as `merge_threshold 0.85 -> 0.8`; none if only results have changed that it was made of.
        """
        changes = []
        if self.function != earlier.function:
            changes.append(f"function {earlier.function} -> {self.function}")
        if self.version != earlier.version:
            changes.append(f"version of the algorithm {earlier.version} -> {self.version}")
        changes += _changed_values(earlier.parameters, self.parameters)
        for name in _different(earlier.inputs, self.inputs):
            old, new = earlier.inputs.get(name), self.inputs.get(name)
            if old is None or new is None:
                changes.append(f"{name} {'removed' if new is None else 'added'}")
            elif isinstance(new, Mapping):
                changes.append(_changed_files(name, old, new))
        return changes


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    missing = object()
    return [name for name in sorted({*old, *new}) if old.get(name, missing) != new.get(name, missing)]


def _changed_values(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Values that have changed; fields that only the old or only the new function uses are not listed one by one."""
    different = _different(old, new)
    both = [name for name in different if name in old and name in new]
    lines = [f"{name.partition('.')[2] or name} {_shown(old[name])} -> {_shown(new[name])}" for name in both]
    if len(lines) > _MOST_SHOWN:
        lines = [*lines[:_MOST_SHOWN], f"{len(lines) - _MOST_SHOWN} more parameters"]
    return lines + (["it uses other parameters than before"] if len(both) < len(different) else [])


_MOST_SHOWN = 4


def _shown(value: Any) -> str:
    """A value as short text."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _changed_files(name: str, old: Any, new: Mapping[str, Any]) -> str:
    """What has changed in files of the user."""
    if not isinstance(old, Mapping):
        return f"{name} are other files now"
    if "missing" in new:
        return f"{name} missing"
    numbers = [f"{old.get(key)} -> {new.get(key)} {key}" for key in ("files", "bytes") if old.get(key) != new.get(key)]
    return f"{name} changed" + (f" ({', '.join(numbers)})" if numbers else "")


def flat_fields(values: Mapping[str, Any], group: str, names: Iterable[str]) -> dict[str, Any]:
    """Values of some fields of a group of parameters, nested ones in dotted form.

    Args:
        values: the group as plain values.
        group: its name.
        names: the fields.

    Returns:
        The values by `group.field`.
    """
    flat: dict[str, Any] = {}
    for name in names:
        value = values[name]
        if isinstance(value, Mapping) and value:
            flat |= flat_fields(value, f"{group}.{name}", value)
        else:
            flat[f"{group}.{name}"] = value
    return flat
