"""A Griffe extension: Sphinx's roles in docstrings (``:class:`~package.Name` ``) as Markdown, for the API pages."""

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|obj|exc):`(~?)([\w.]+)`")


def as_markdown(text: str) -> str:
    """Rewrites Sphinx's cross-references to the syntax of mkdocstrings.

    Args:
        text: A docstring.

    Returns:
        The docstring; full paths of this project are links, all other names are code.
    """

    def link(role: re.Match[str]) -> str:
        path = role[2]
        shown = path.rsplit(".", 1)[-1] if role[1] else path
        return f"[`{shown}`][{path}]" if path.startswith("rsc2p_kedro.") else f"`{shown}`"

    return _ROLE.sub(link, text).replace("``", "`")


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
