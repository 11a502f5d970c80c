"""One's own use of the models, on the settings page."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Arrive
from tests.site import serving, settings_for


async def _expect_shares(page: Page, answers: str, tokens: str) -> None:
    use = page.get_by_role("region", name="Your use")
    await expect(use.get_by_role("definition").filter(has_text=answers)).to_be_visible()
    await expect(use.get_by_role("definition").filter(has_text=tokens)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_own_use_is_shown(dsn: str, data_dir: Path, arrive: Arrive, theme: Literal["light", "dark"]) -> None:
    """How much of which quota is used, or that there is none, and when it begins anew."""
    async with serving(settings_for(data_dir, limits={"quota_generations": 2}), dsn) as site:
        ada = await arrive(site.url, color_scheme=theme)
        page = ada.page
        await ada.set_up("Ada")
        await page.get_by_role("link", name="Settings").click()
        await expect(page.get_by_text("hours from your next question on")).to_be_visible()
        await _expect_shares(page, "0 of 2 used", "0 used, no limit")
        await ada.start("Hello")
        await expect(ada.answer_is("complete")).to_be_visible()
        await page.get_by_role("link", name="Settings").click()
        await expect(page.get_by_text("then it begins anew")).to_be_visible()
        await _expect_shares(page, "1 of 2 used", "used, no limit")
        assert await ada.violations() == []
        await page.get_by_role("heading", name="Your use").scroll_into_view_if_needed()
        await ada.screenshot(f"use-{theme}")
