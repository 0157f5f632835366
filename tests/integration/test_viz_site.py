"""The site that `kedro viz build --include-previews` makes, opened in a browser."""

import base64
import functools
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.chromium import chromium_page, needs_chromium
from tests.integration.conftest import Project, simulated

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("kedro_viz") is None, reason="kedro-viz is not installed"),
    needs_chromium,
]
FIGURE = "mouse.day_1.correction_figure"


@pytest.fixture(scope="module")
def project(make_project) -> Project:
    """A small recording, run up to its first figure."""
    small = simulated("frames/1", n_frames=60, height_px=48, width_px=64, n_neurons=3)
    project = make_project({"mouse": {"day_1": small}})
    project.run(to_outputs=[FIGURE])
    return project


@pytest.fixture(scope="module")
def site(project: Project) -> Path:
    """The folder that the documented command makes."""
    done = subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build", "--include-previews"],
        cwd=project.path, env={**os.environ, "KEDRO_ENV": "local", "KEDRO_DISABLE_TELEMETRY": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return project.path / "build"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Logs no requests."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Address at which the site is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_site_shows_the_pipeline_and_the_figure_that_was_made(project, site, address):
    nodes = json.loads((site / "api" / "main").read_text(encoding="utf-8"))["nodes"]
    figure = next(node["id"] for node in nodes if node["name"] == FIGURE)
    with chromium_page(self_contained=False) as page:
        page.goto(f"{address}/?pid=__default__&sid={figure}")
        page.wait_for_function("document.querySelector('.pipeline-metadata img')?.naturalWidth > 0")
        shown = page.locator(".pipeline-node__text").all_text_contents()
        assert "mouse" in shown, "the animal, as a box"
        assert "recordings_table" in shown, "a dataset over all recordings"
        assert page.locator(".pipeline-metadata__title").text_content() == FIGURE
        source = page.locator(".pipeline-metadata img").get_attribute("src")
    (saved,) = (project.path / "data/08_reporting/mouse/day_1/figures/correction.png").glob("*/correction.png")
    assert base64.b64decode(source.partition(",")[2]) == saved.read_bytes()
