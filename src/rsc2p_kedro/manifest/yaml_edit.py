"""Changes of single values in a YAML text; all other lines, comments and the layout stay as they are."""

from collections.abc import Mapping
from typing import Any

import yaml

from rsc2p_kedro.manifest.manifest_file import yaml_inline

Keys = tuple[str, ...]
"""Keys of nested mappings, from the outermost one on."""


class LayoutError(ValueError):
    """A value cannot be changed where it stands: it is not in a mapping, or belongs to an alias."""


def set_values(text: str, values: Mapping[Keys, Any]) -> str:
    """Sets values in a YAML text.

    Args:
        text: the text.
        values: new values, by their keys. Mappings that do not exist are added.

    Returns:
        The text with these values.

    Raises:
        LayoutError: a mapping on the way is not a mapping, or is an alias of another one.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    text += newline if text and not text.endswith("\n") else ""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[tuple[int, int, int, str]] = []  # start, depth, end, new text
    added: dict[int, tuple[yaml.Node, int, dict[str, Any]]] = {}
    for keys, value in values.items():
        node, rest = _deepest(root, keys)
        if rest:
            _nest(added.setdefault(id(node), (node, len(keys) - len(rest), {}))[2], rest, value)
        else:
            edits.append((node.start_mark.index, 0, node.end_mark.index, _replacement(node, value, text)))
    for node, depth, new in added.values():
        if isinstance(node, yaml.MappingNode):
            edits.append(_insertion(node, depth, new, text, newline))
        elif isinstance(node, yaml.ScalarNode) and node.value in ("", "~", "null"):
            edits.append((node.start_mark.index, depth, node.end_mark.index, _replacement(node, new, text)))
        else:
            raise LayoutError(f"{node.value!r} stands where {', '.join(new)} should be added: correct it first.")
    for start, _, end, replacement in sorted(edits, key=lambda edit: (edit[0], -edit[1]))[::-1]:
        text = text[:start] + replacement + text[end:]
    return text


def _deepest(root: yaml.Node | None, keys: Keys) -> tuple[yaml.Node, Keys]:
    """The node that the first keys lead to, and the keys for which there is none.

    Raises:
        LayoutError: the text is empty, or a mapping on the way is an alias.
    """
    if root is None:
        raise LayoutError("there is no mapping in this file.")
    node = root
    for depth, key in enumerate(keys):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        name, found = next((pair for pair in pairs if pair[0].value == key), (None, None))
        if name is None or found is None:
            return node, keys[depth:]
        if found.start_mark.index < name.end_mark.index:
            raise LayoutError(f"{'.'.join(keys[: depth + 1])} is an alias: write its values out.")
        node = found
    return node, ()


def _nest(mapping: dict[str, Any], keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        mapping = mapping.setdefault(key, {})
    mapping[keys[-1]] = value


def _replacement(node: yaml.Node, value: Any, text: str) -> str:
    """Text of a value in the place of another one, or of none."""
    start = node.start_mark.index
    is_empty = start == node.end_mark.index
    return (" " if is_empty and text[start - 1] == ":" else "") + yaml_inline(value)


def _insertion(
    node: yaml.MappingNode, depth: int, new: Mapping[str, Any], text: str, newline: str
) -> tuple[int, int, int, str]:
    """The edit that adds keys at the end of a mapping."""
    if node.flow_style:
        place = node.end_mark.index - 1
        lines = ", ".join(f"{yaml_inline(key)}: {yaml_inline(value)}" for key, value in new.items())
        return place, depth, place, (", " if node.value else "") + lines
    place = _end_of(node)
    place = text.index("\n", place - (text[place - 1] == "\n")) + 1
    indent = " " * node.start_mark.column
    return place, depth, place, "".join(f"{indent}{line}{newline}" for line in _block(new))


def _end_of(node: yaml.Node) -> int:
    """Where the last value of nested block collections ends; their own end is at the next key, after comments."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    return node.end_mark.index


def _block(mapping: Mapping[str, Any]) -> list[str]:
    """Lines of a mapping in block style."""
    lines = []
    for key, value in mapping.items():
        nested = _block(value) if isinstance(value, Mapping) else []
        lines += [f"{yaml_inline(key)}:", *(f"  {line}" for line in nested)] if nested else []
        lines += [] if nested else [f"{yaml_inline(key)}: {yaml_inline(value)}"]
    return lines
