"""What a wheel holds. Tests run from the source tree, where a file that no pattern declares is there all the same."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_file_beside_the_code_is_declared_and_every_pattern_has_one() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["*"]
    beside = {
        path.name
        for path in (ROOT / "src" / "rsc2p_kedro").rglob("*")
        if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__" and path.name[0] != "."
    }
    assert "classifier.json" in beside
    undeclared = {name for name in beside if not any(fnmatch(name, pattern) for pattern in patterns)}
    assert not undeclared, f"a wheel would not hold {undeclared}: declare them in pyproject.toml, tool.setuptools"
    idle = {pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in beside)}
    assert not idle


def test_every_folder_of_code_is_a_package_that_setuptools_finds() -> None:
    folders = {path.parent for path in (ROOT / "src" / "rsc2p_kedro").rglob("*.py")}
    assert {folder.name for folder in folders if not (folder / "__init__.py").exists()} == set()
