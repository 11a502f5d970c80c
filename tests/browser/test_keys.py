"""API keys on the page: made, shown once, copied, used by a program, revoked."""

import re
from typing import Literal

import httpx2
import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Arrive
from tests.browser.visitor import Visitor
from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site

PHONE = {"width": 390, "height": 844}


async def _make(visitor: Visitor, name: str, *scopes: str, end: str = "") -> str:
    """Make a key on the settings page; return it as it is shown."""
    form = visitor.page.get_by_role("form", name="Make a key")
    await form.get_by_label("Name of the key").fill(name)
    for scope in scopes:
        await form.get_by_role("checkbox", name=f"({scope})").check()
    await form.get_by_label("Valid until").fill(end)
    await form.get_by_role("button", name="Make a key").click()
    await expect(visitor.page.get_by_text(f"The key {name} is made.")).to_be_visible()
    return await visitor.page.get_by_label("The key", exact=True).input_value()


def _keys(page: Page) -> Locator:
    return page.get_by_role("list", name="API keys").get_by_role("listitem")


async def test_key_is_made_copied_used_and_revoked(site: Site, arrive: Arrive) -> None:
    """It is shown this once and opens the API within its scope; the list tells what it is; revoked, it opens nothing."""
    ada = await arrive(site.url, permissions=["clipboard-read", "clipboard-write"])
    page = ada.page
    await ada.set_up("Ada")
    await page.goto(f"{site.url}/settings")
    make = page.get_by_role("form", name="Make a key").get_by_role("button")
    await expect(make).to_be_disabled()
    key = await _make(ada, "My program", "chat", end="2999-12-31")
    await expect(page.get_by_text("it is not shown again")).to_be_visible()
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == key
    item = _keys(page)
    await expect(item).to_contain_text(re.compile(r"My program.*sk-.{5}….*conversations.*never used.*ends .*2999", re.DOTALL))
    async with httpx2.AsyncClient(
        base_url=site.url, headers={"Authorization": f"Bearer {key}"}, timeout=DEADLINE_SECONDS
    ) as program:
        assert (await program.get("/api/conversations")).status_code == 200
        assert (await program.get("/v1/models")).status_code == 403
        await page.reload()
        await expect(item).to_contain_text("last used")
        await expect(page.get_by_label("The key", exact=True)).to_have_count(0)
        await page.get_by_role("button", name="Revoke My program").click()
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await expect(item).to_have_count(1)
        await page.get_by_role("button", name="Revoke My program").click()
        await page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
        await expect(item).to_have_count(0)
        await expect(page.get_by_role("heading", name="API keys")).to_be_focused()
        assert (await program.get("/api/conversations")).status_code == 401


async def test_users_are_not_offered_the_administrators_scope(site: Site, arrive: Arrive) -> None:
    """Who does not administer cannot choose it, and a refusal of the server is said in words."""
    async with Person(site.url) as ada:
        await ada.set_up("Ada")
    bob = await arrive(site.url)
    page = bob.page
    await bob.register("Bob")
    await page.goto(f"{site.url}/settings")
    form = page.get_by_role("form", name="Make a key")
    await expect(form.get_by_role("checkbox")).to_have_count(2)
    await form.get_by_label("Name of the key").fill("   ")
    await form.get_by_role("checkbox").first.check()
    await form.get_by_role("button", name="Make a key").click()
    await expect(page.get_by_role("alert").get_by_text("name")).to_be_visible()
    await expect(_keys(page)).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_keys_have_no_violation(site: Site, arrive: Arrive, theme: Literal["light", "dark"]) -> None:
    """With keys, one just made, and the question before revoking; wide and on a phone."""
    ada = await arrive(site.url, color_scheme=theme)
    page = ada.page
    await ada.set_up("Ada")
    await page.goto(f"{site.url}/settings")
    await _make(ada, "Backup", "admin", "v1")
    await _make(ada, "A program whose name is somewhat long", "chat", end="2999-12-31")
    await expect(_keys(page)).to_have_count(2)
    found = await ada.violations()
    await page.get_by_role("heading", name="API keys").scroll_into_view_if_needed()
    await ada.screenshot(f"keys-{theme}")
    await page.set_viewport_size(PHONE)
    found += await ada.violations()
    await page.get_by_role("heading", name="API keys").scroll_into_view_if_needed()
    await ada.screenshot(f"keys-phone-{theme}")
    await page.get_by_role("button", name="Revoke Backup").click()
    found += await ada.violations()
    assert found == []
