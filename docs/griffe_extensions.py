"""Griffe extensions for the API pages: Sphinx's roles in docstrings as Markdown, and descriptions of table columns."""

import ast
import re
from typing import Any

from griffe import Attribute, Docstring, Extension, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|obj|exc):`(~?)([\w.]+)`")


def as_markdown(text: str) -> str:
    """Rewrites Sphinx's roles and double colons to the syntax of mkdocstrings, and protects brackets in formulas.

    Args:
        text: A docstring.

    Returns:
        The docstring; full paths of this project are links, all other names are code.
    """

    def link(role: re.Match[str]) -> str:
        path = role[2].lstrip(".")
        shown = path.rsplit(".", 1)[-1] if role[1] else path
        return f"[`{shown}`][{path}]" if path.startswith("rsc2p_kedro.") else f"`{shown}`"

    text = re.sub(r"::$", ":", _ROLE.sub(link, text).replace("``", "`"), flags=re.MULTILINE)
    # "[A, B] [C; D]" is a matrix times a vector, not a link. Code is left as it is.
    return re.sub(r"^(?! {4}).*$", lambda line: line[0].replace("] [", "] \\["), text, flags=re.MULTILINE)


class SphinxRoles(Extension):
    """Applies [`as_markdown`][] to the docstring of each object that Griffe reads."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrites the docstring of an object in place.

        Args:
            obj: A module, class, function or attribute.
            **kwargs: What else Griffe passes; unused.
        """
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


class ColumnDescriptions(Extension):
    """Takes the docstring of a column in a pandera model from the description in its `pa.Field`."""

    def on_attribute_instance(self, *, attr: Attribute, **kwargs: Any) -> None:
        """Gives an attribute without docstring the description of its field, and hides its value.

        Args:
            attr: An attribute.
            **kwargs: What else Griffe passes; unused.
        """
        value = str(attr.value or "")
        if attr.docstring is None and value.startswith("pa.Field("):
            call = ast.parse(value, mode="eval").body
            assert isinstance(call, ast.Call)
            texts = [ast.literal_eval(k.value) for k in call.keywords if k.arg == "description"]
            attr.docstring = Docstring(texts[0] if texts else "Column.", parent=attr)
            attr.value = None
