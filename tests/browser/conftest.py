"""A real Chromium, and visitors that leave no fault behind."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from rustygpt.app import WEB_FOLDER
from tests.browser.visitor import Visitor
from tests.person import DEADLINE_SECONDS
from tests.site import Site, serving, settings_for

CHROMIUM_VARIABLE = "RUSTYGPT_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
TOKENS_PER_SECOND = 60

expect.set_options(timeout=DEADLINE_SECONDS * 1_000)

Arrive = Callable[..., Awaitable[Visitor]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser to drive. Skips where there is none, fails where the page is not built."""
    path = os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium: install Debian's package chromium, or set {CHROMIUM_VARIABLE}")
    if not (WEB_FOLDER / "index.html").is_file():
        pytest.fail("the page is not built: `just ui`")
    return path


@pytest.fixture
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    """One Chromium for one test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def arrive(browser: Browser) -> AsyncIterator[Arrive]:
    """A function that opens a browser context at a URL; afterwards, none of its pages may have had a fault."""
    visitors: list[Visitor] = []

    async def arrive(url: str, **context: Any) -> Visitor:
        visitors.append(await Visitor.arrive(browser, url, **context))
        return visitors[-1]

    yield arrive
    faults = [fault for visitor in visitors for fault in visitor.faults]
    for visitor in visitors:
        await visitor.context.close()
    assert faults == []


@pytest.fixture
async def slow_site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The application with a demo model that writes no faster than one can read."""
    settings = settings_for(data_dir, assistant={"demo": {"tokens_per_second": TOKENS_PER_SECOND}})
    async with serving(settings, dsn) as served:
        yield served
