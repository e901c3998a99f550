"""A headless Chromium for the tests marked `browser`; they are skipped by name without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for the whole session."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, with all messages of its console and all its requests."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self._context = browser.new_context(
            **{"viewport": {"width": 1400, "height": 1000}} | options
        )
        self._context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self._context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, address: str) -> Any:
        """Open an address and wait until all of it is drawn."""
        self.page.goto(address)
        self.page.wait_for_selector("html[data-ready=all]", timeout=20_000)
        return self.page

    def close(self) -> None:
        self._context.close()


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    """A separate page; its console must stay empty."""
    found = Watched(chromium)
    yield found
    found.close()
    assert found.said == []
