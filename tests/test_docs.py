"""The documentation agrees with the project, and its links lead somewhere."""

import re
import tomllib
from pathlib import Path
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
