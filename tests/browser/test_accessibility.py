"""axe-core finds nothing on any page, in either theme, wide or narrow."""

from typing import Literal

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.browser.test_reading import MARKDOWN
from tests.site import Site

PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_first_pages_have_no_violation(site: Site, arrive: Arrive, theme: Literal["light", "dark"]) -> None:
    """The steps of the set-up and the start page."""
    ada = await arrive(site.url, color_scheme=theme)
    page = ada.page
    found = await ada.violations()
    await ada.fill_account("Ada")
    await page.get_by_role("button", name="Create administrator").click()
    await expect(page.get_by_role("button", name="Continue")).to_be_visible()
    found += await ada.violations()
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_label("First message")).to_be_visible()
    found += await ada.violations()
    await page.get_by_role("button", name="Look around first").click()
    await page.get_by_text("Options").click()
    found += await ada.violations()
    await ada.screenshot(f"start-{theme}")
    assert found == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_inner_pages_have_no_violation(site: Site, arrive: Arrive, theme: Literal["light", "dark"]) -> None:
    """A conversation with its panel and its states, a phone's width, settings, sign-in and registration."""
    ada = await arrive(site.url, color_scheme=theme)
    page = ada.page
    await ada.set_up("Ada")
    await ada.start(MARKDOWN, title="Everything", people="nobody@example.org")
    await expect(ada.answer_is("complete")).to_be_visible()
    await page.get_by_role("button", name="New topic").click()
    await ada.say("Another topic")
    await expect(ada.messages).to_have_count(4)
    await ada.messages.first.get_by_role("button", name="Reply").click()
    await ada.show_details()
    found = await ada.violations()
    await ada.screenshot(f"conversation-{theme}")
    await page.get_by_role("button", name="Archive the conversation").click()
    found += await ada.violations()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await page.set_viewport_size(PHONE)
    found += await ada.violations()
    await page.get_by_role("complementary").get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Show the conversations").click()
    found += await ada.violations()
    await ada.screenshot(f"phone-{theme}")

    await page.goto(f"{site.url}/settings")
    await expect(page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    found += await ada.violations()
    await page.get_by_role("button", name="Sign out").last.click()
    await expect(page.get_by_role("heading", name="Welcome back")).to_be_visible()
    found += await ada.violations()
    await page.get_by_role("button", name="New here?").click()
    found += await ada.violations()
    assert found == []
