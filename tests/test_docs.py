"""The documentation agrees with the project, and its links lead somewhere."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files_of_the_repository(page: Path) -> None:
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_figure_of_the_layers_shows_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    arrays_only = next(contract for contract in contracts if contract["type"] == "forbidden")["source_modules"]
    svg = ElementTree.parse(ROOT / "docs" / "images" / "layers.svg")
    groups = [g for g in svg.iter("{http://www.w3.org/2000/svg}g") if g.get("id", "").startswith("layer-")]

    def packages(group: ElementTree.Element) -> list[str]:
        return [text.text or "" for text in group if text.get("class") == "package"]

    def dashed(group: ElementTree.Element) -> list[str]:
        boxes = [box for box in group if box.tag.endswith("rect")]
        return [
            name for name, box in zip(packages(group), boxes, strict=True) if box.get("stroke-dasharray") is not None
        ]

    assert [packages(group) for group in groups] == [layer.split(" | ") for layer in layers]
    assert {f"rsc2p_kedro.{name}" for group in groups for name in dashed(group)} == set(arrays_only)


def _module(name: str, requirement: str) -> ModuleType:
    pytest.importorskip(requirement)
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _hooks() -> ModuleType:
    return _module("site_hooks", "mkdocs")


def test_links_of_the_repository_become_links_of_the_site() -> None:
    links = _hooks().with_links_of_the_site
    assert links("[a](../README.md#x) [b](engines.md) [c](../benchmarks)", "docs") == (
        "[a](get_started.md#x) [b](engines.md) [c](benchmarks.md)"
    )
    assert links("[a](docs/engines.md) ![b](docs/images/view.png) [c](https://x.y/docs/z)", "") == (
        "[a](engines.md) ![b](images/view.png) [c](https://x.y/docs/z)"
    )
    assert links("[a](benchmarks/extraction.py)", "") == "[a](benchmarks.md#extractionpy)"


def test_lists_as_on_github_are_indented_for_mkdocs() -> None:
    page = """Text:
1. one
   goes on

   - inner
     more

   ```yaml
   - not an item
   ```

End

    - code
"""
    expected = """Text:

1. one
    goes on

    - inner
        more

    ```yaml
    - not an item
    ```

End

    - code
"""
    assert _hooks().with_lists_of_mkdocs(page) == expected


def test_every_public_module_has_a_page_in_the_navigation() -> None:
    hooks = _hooks()
    modules = hooks.public_modules()
    listed = str(hooks.api_navigation(modules[0], modules))
    assert ("rsc2p_kedro", "core", "results") in modules
    assert all(repr(hooks.api_page(module)) in listed for module in modules)


def test_roles_of_sphinx_become_links_and_code() -> None:
    as_markdown = _module("griffe_extensions", "griffe").as_markdown
    assert as_markdown("See :class:`~rsc2p_kedro.core.results.Components`, :func:`.other` and ``x``::") == (
        "See [`Components`][rsc2p_kedro.core.results.Components], `other` and `x`:"
    )
    assert as_markdown("[A, B] [C; D]\n\n    [A, B] [C; D]") == "[A, B] \\[C; D]\n\n    [A, B] [C; D]"
