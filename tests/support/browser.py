"""A Chromium of this machine, driven by Playwright: for tests of pages, and to photograph them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# it runs as root, draws without a graphics card and asks nothing of other hosts
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def why_not() -> str | None:
    """Why there can be no browser here, or None if there can."""
    return None if any(map(shutil.which, PROGRAMS)) else "Chromium is not installed: apt-get install chromium"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Call `why_not` first."""
    executable = next(filter(None, map(shutil.which, PROGRAMS)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def wait_until(page: Page, expression: str, seconds: float = 10.0) -> None:
    """Until the JavaScript `expression` is true; Playwright's own wait evaluates texts, which strict pages forbid."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"not true after {seconds:g} s: {expression}"
        page.wait_for_timeout(20)
