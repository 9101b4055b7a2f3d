"""Pages as a reader meets them: opened from disk in headless Chromium, with every request counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no Chromium is installed: pages are not opened (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="the group `browser` is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file at a width in a colour scheme; what it asks for, the file itself aside, is its ``requested``."""
    contexts = []

    def open_file(path: Path, width: int, scheme: str) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.requested = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto(path.as_uri())
        page.requested.remove(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
