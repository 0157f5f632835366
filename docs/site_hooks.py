"""Hooks of MkDocs: pages of the site that are not files in docs/, and the links to them.

README, CONTRIBUTING and CHANGELOG stay where GitHub shows them. Their links, and those from docs/ to them, are relative
to the repository; here they are rewritten to the pages of the site. A page lists the benchmarks, and each public module
of the package gets a page that mkdocstrings fills from its docstrings. Lists are indented as GitHub wants them (to the
text of the item) and re-indented here as MkDocs wants them (by four spaces).
"""

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
PAGES = {"README.md": "get_started.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PLAIN_FILES = ("CITATION.cff", "LICENSE", "environment-caiman.yml")
_ITEM = re.compile(r"(?:[-*+]|\d{1,2}[.)]) +(?=\S)")
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def public_modules() -> list[tuple[str, ...]]:
    """Public modules of the package.

    Returns:
        The dotted path of each as a tuple of names, packages before their modules.
    """
    paths = [path.relative_to(SOURCES).with_suffix("") for path in sorted(SOURCES.rglob("*.py"))]
    modules = [path.parent.parts if path.name == "__init__" else path.parts for path in paths]
    return sorted(names for names in modules if not any(name.startswith("_") for name in names))


def api_page(module: tuple[str, ...]) -> str:
    """Where the page of a module is in the site.

    Args:
        module: The names of its dotted path.

    Returns:
        The path of the page's source, below docs/.
    """
    is_package = SOURCES.joinpath(*module).is_dir()
    below = "/".join(module[1:])
    return f"api/{below}/index.md".replace("//", "/") if is_package else f"api/{below}.md"


def api_navigation(package: tuple[str, ...], modules: list[tuple[str, ...]]) -> list[Any]:
    """The navigation below a package.

    Args:
        package: The names of its dotted path.
        modules: All public modules.

    Returns:
        The package's own page, then an entry for each of its modules and a list for each of its packages.
    """
    entries: list[Any] = [api_page(package)]
    for module in (m for m in modules if m[:-1] == package):
        is_package = SOURCES.joinpath(*module).is_dir()
        entries.append({module[-1]: api_navigation(module, modules) if is_package else api_page(module)})
    return entries


def benchmarks_page() -> str:
    """The page of the benchmarks.

    Returns:
        Markdown: the module docstring of each script in benchmarks/.
    """
    parts = [
        "# Benchmarks",
        "Each script is run by hand, from the root of the repository: `python benchmarks/<name>.py`.",
    ]
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        parts += [f"## {path.name}", text.replace("``", "`")]
    return "\n\n".join(parts) + "\n"


def with_links_of_the_site(text: str, folder: str) -> str:
    """Rewrites the links of a Markdown file of the repository.

    Args:
        text: Markdown.
        folder: The folder of the repository that the file is in, `docs` or the empty string.

    Returns:
        The same text; links to files that the site has lead to its pages.
    """

    def rewrite(match: re.Match[str]) -> str:
        target, anchor = match[1].rstrip("/"), match[2] or ""
        path = Path(folder, target).as_posix()
        while "/../" in f"/{path}":  # docs/../README.md
            path = re.sub(r"(^|/)[^/.][^/]*/\.\./", r"\1", path)
        if path in PAGES:
            return f"]({PAGES[path]}{anchor})"
        if path.split("/")[0] == "benchmarks":
            return f"](benchmarks.md{anchor or _anchor_of(path)})"
        return f"]({path.removeprefix('docs/')}{anchor})"

    return _LINK.sub(rewrite, text)


def with_lists_of_mkdocs(text: str) -> str:
    """Indents the contents of list items by four spaces per level, and puts a blank line before each list.

    Args:
        text: Markdown as GitHub reads it (CommonMark), where contents are aligned with the text of the item.

    Returns:
        The same text for Python-Markdown. Code keeps its indentation relative to the item it is in.
    """
    lines, columns, fence, previous = [], [], "", ""  # columns: where the text of each open item begins
    for line in text.splitlines():
        stripped, indent = line.lstrip(" "), len(line) - len(line.lstrip(" "))
        item = None if fence else _ITEM.match(stripped)
        lazy = previous.strip() and not item and not stripped.startswith("#")
        while not fence and stripped and columns and indent < columns[-1] and not lazy:
            columns.pop()
        base = columns[-1] if columns else 0
        if item and indent - base < 4:
            if previous.strip() and not columns and not _ITEM.match(previous):
                lines.append("")
            lines.append(" " * 4 * len(columns) + stripped)
            columns.append(indent + item.end())
        else:
            lines.append(" " * (4 * len(columns) + max(indent - base, 0)) + stripped if stripped else "")
        if stripped.startswith("```"):
            fence = "" if fence else "```"
        previous = line
    return "\n".join(lines) + "\n"


def _adapted(text: str, folder: str) -> str:
    """A Markdown file of a folder of the repository as a page of the site."""
    return with_lists_of_mkdocs(with_links_of_the_site(text, folder))


def _anchor_of(path: str) -> str:
    name = Path(path).name
    return f"#{name.replace('.', '')}" if name.endswith(".py") else ""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the API pages into the navigation.

    Args:
        config: The configuration of the site.

    Returns:
        The same, changed.
    """
    modules = public_modules()
    api = api_navigation(modules[0], modules)
    config.nav = [{"API": api} if entry == {"API": "api/"} else entry for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files in docs/.

    Args:
        files: The files of the site.
        config: Its configuration.

    Returns:
        The same files and the generated ones.
    """
    pages = {target: _adapted((ROOT / name).read_text("utf-8"), "") for name, target in PAGES.items()}
    pages |= {name: (ROOT / name).read_text("utf-8") for name in PLAIN_FILES}
    pages["benchmarks.md"] = benchmarks_page()
    pages |= {api_page(module): f"::: {'.'.join(module)}\n" for module in public_modules()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Rewrites the links of a page of docs/ that lead out of it.

    Args:
        markdown: The text of the page.
        page: The page.
        **kwargs: What else MkDocs passes; unused.

    Returns:
        The text with the links of the site.
    """
    return markdown if page.file.generated_by else _adapted(markdown, "docs")
