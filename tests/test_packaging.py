"""What a wheel holds, and whether the files that speak of versions agree.

Tests run from the source tree, where a file that no pattern declares is there all the same.
"""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rsc2p_kedro import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "rsc2p_kedro"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def files_of_the_package() -> set[Path]:
    """Every file below src/rsc2p_kedro, without what Python and the file system leave there."""
    return {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__" and path.name[0] != "."
    }


def test_every_file_beside_the_code_is_declared_and_every_pattern_has_one() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    beside = {path.name for path in files_of_the_package() if path.suffix != ".py"}
    assert {"classifier.json", "report.html"} <= beside
    undeclared = {name for name in beside if not any(fnmatch(name, pattern) for pattern in patterns)}
    assert not undeclared, f"a wheel would not hold {undeclared}: declare them in pyproject.toml, tool.setuptools"
    idle = {pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in beside)}
    assert not idle


def test_every_folder_of_code_is_a_package_that_setuptools_finds() -> None:
    folders = {path.parent for path in files_of_the_package()}
    with_code = {path.parent for path in files_of_the_package() if path.suffix == ".py"}
    assert {folder.name for folder in with_code if not (folder / "__init__.py").exists()} == set()
    # Folders of data alone are namespace packages to setuptools, which their name must allow.
    assert [folder.name for folder in folders if not folder.name.isidentifier()] == []


def test_a_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="building a wheel needs setuptools >= 77")
    # built from a copy: setuptools leaves folders where it builds, and takes what an earlier build left there
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"rsc2p_kedro-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert {path.relative_to(PACKAGE.parent).as_posix() for path in files_of_the_package()} <= inside
    assert {name.partition("/")[0] for name in inside} == {"rsc2p_kedro", f"rsc2p_kedro-{__version__}.dist-info"}


def test_the_citation_names_the_version_of_the_package() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == __version__


def test_the_pins_are_complete_and_within_the_ranges_of_the_project() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.fullmatch(r"([\w.-]+)==(\S+)", line).groups() for line in lines if line and line[0] != "#")
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    needed = list(PROJECT["project"]["dependencies"])
    for extra in ("viz", "test", "oracles", "lint"):  # what make installs
        needed += PROJECT["project"]["optional-dependencies"][extra]
    requirements = [Requirement(text) for text in needed]
    assert [r.name for r in requirements if canonicalize_name(r.name) not in pins] == []
    assert [str(r) for r in requirements if not r.specifier.contains(pins[canonicalize_name(r.name)])] == []
