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
def chromium_page(*, self_contained: bool = True) -> Iterator["Page"]:
    """A page in a new browser.

    Args:
        self_contained: whether the page must report no error and request nothing but local files, which is checked when
            the context ends without an exception.

    Yields:
        The page, 1400 px wide.
    """
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        try:
            yield page
        finally:
            browser.close()
    elsewhere = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert not self_contained or not errors + elsewhere, f"The page reported {errors} and requested {elsewhere}."
