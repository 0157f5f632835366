"""Debian's Chromium, driven by Playwright, for tests of the pages."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next((path for path in map(shutil.which, NAMES) if path), None)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

needs_chromium = pytest.mark.skipif(
    EXECUTABLE is None or importlib.util.find_spec("playwright") is None,
    reason="needs Playwright (pip install playwright) and a Chromium or Chrome on the PATH",
)


@contextmanager
def chromium_page(*, width: int = 1400, height: int = 1000) -> Iterator["Page"]:
    """A page in a new browser.

    When the context ends without an exception, the page must have reported no error and must have requested nothing
    but local addresses.
    """
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        try:
            yield page
        finally:
            browser.close()
    assert errors == []
    local = ("file:", "data:", "blob:", "http://127.0.0.1:")
    assert [url for url in requests if not url.startswith(local)] == []
