"""Continuing an answer that was stopped, and waiting for one: what the page offers and says."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.site import Site, serving, settings_for

COUNT = 900
"""A quarter of a minute at the speed of `slow_site`: long enough to press Stop in the middle, also on a busy machine."""


@pytest.fixture
async def narrow_site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The application with a slow demo that writes one answer at a time."""
    settings = settings_for(data_dir, assistant={"demo": {"tokens_per_second": 20}, "max_concurrency": 1})
    async with serving(settings, dsn) as served:
        yield served


async def test_stopped_answer_is_continued_to_its_end(slow_site: Site, arrive: Arrive) -> None:
    """Continue stands below what was stopped, takes the same message up again, and is gone when it is whole; a reload changes nothing."""
    ada = await arrive(slow_site.url)
    await ada.set_up("Ada")
    await ada.start(f"Please count to {COUNT}")
    await ada.text_grows_past(20)
    await ada.page.get_by_role("button", name="Stop the answer").last.click()
    await expect(ada.answer_is("cancelled")).to_contain_text("Stopped.")
    button = ada.answer.get_by_role("button", name="Continue")
    await ada.page.reload()
    await expect(button).to_be_visible()
    before, rows = await ada.text_of_answer(), await ada.messages.count()
    assert await ada.violations() == []
    await ada.screenshot("continue-stopped")
    await button.click()
    await expect(ada.answer_is("complete")).to_be_visible(timeout=90_000)
    text = await ada.text_of_answer()
    assert text.startswith(before)
    assert text == " ".join(str(number) for number in range(1, COUNT + 1))
    await expect(button).to_have_count(0)
    assert await ada.messages.count() == rows


async def test_waiting_answer_shows_its_place(narrow_site: Site, arrive: Arrive) -> None:
    """While another answer is being written the page says which place in the queue this one has, also after a reload."""
    ada = await arrive(narrow_site.url)
    await ada.set_up("Ada")
    await ada.start("Please count to 5000")
    await ada.text_grows_past(5)
    await ada.start("Please count to 3")
    waiting = ada.answer.get_by_text(re.compile("place 1 in the queue"))
    await expect(waiting).to_be_visible()
    await ada.page.reload()
    await expect(waiting).to_be_visible()
