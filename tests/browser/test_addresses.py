"""What the page says at an address at which it has nothing."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.site import Site


async def test_unknown_address_says_so_and_leads_home(site: Site, arrive: Arrive) -> None:
    """Instead of passing for the start page; the way home, and the way back by the browser, work."""
    ada = await arrive(site.url)
    page = ada.page
    await ada.set_up("Ada")
    answer = await page.goto(f"{site.url}/nonsense/x")
    assert answer is not None
    assert answer.status == 404
    missing = page.get_by_role("heading", name="There is nothing at this address")
    await expect(missing).to_be_visible()
    assert await ada.violations() == []
    await ada.screenshot("missing")
    await page.get_by_role("link", name="Back to the start").click()
    await expect(ada.composer).to_be_visible()
    await expect(page).to_have_url(f"{site.url}/")
    await page.go_back()
    await expect(missing).to_be_visible()


@pytest.mark.parametrize("path", ["/settings/", "/administration", "/login", "/index.html"])
async def test_known_addresses_have_their_pages(site: Site, arrive: Arrive, path: str) -> None:
    """A slash at the end makes no difference."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    answer = await ada.page.goto(f"{site.url}{path}")
    assert answer is not None
    assert answer.status == 200
    await expect(ada.page.get_by_role("heading", level=1)).to_be_visible()
    await expect(ada.page.get_by_role("heading", name="There is nothing at this address")).to_have_count(0)
