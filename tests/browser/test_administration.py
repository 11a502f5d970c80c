"""Administrators run the server from the page: accounts, who may come in, rate limits, the audit log; nobody else sees it."""

from typing import Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Arrive
from tests.browser.visitor import PASSWORD
from tests.person import Person
from tests.site import Site

PHONE = {"width": 390, "height": 844}


async def _administer(page: Page, url: str) -> None:
    await page.goto(f"{url}/settings")
    await page.get_by_role("link", name="Open the administration").click()
    await expect(page.get_by_role("heading", name="Administration", level=1)).to_be_visible()


async def test_accounts_are_made_found_and_changed(site: Site, arrive: Arrive) -> None:
    """An administrator makes somebody, finds them by name, makes them wait and lets them in again; the audit log shows each act."""
    ada = await arrive(site.url)
    page = ada.page
    await ada.set_up("Ada")
    await _administer(page, site.url)
    await page.get_by_text("Make an account", exact=True).click()
    await page.get_by_label("Name", exact=True).fill("Bob")
    await page.get_by_label("E-mail").fill("bob@example.org")
    await page.get_by_role("textbox", name="First password").fill(PASSWORD)
    await page.get_by_role("button", name="Make the account").click()
    await expect(page.get_by_text("Bob can sign in now.")).to_be_visible()
    await page.get_by_label("Name or address").fill("bob@")
    accounts = page.get_by_role("list", name="Accounts").get_by_role("listitem")
    await expect(accounts).to_have_count(1)
    await page.get_by_label("Status of Bob").select_option("pending")
    await page.get_by_role("button", name="Let Bob in").click()
    await expect(page.get_by_label("Status of Bob")).to_have_value("active")
    acts = page.get_by_role("table").locator("tbody code")
    await expect(acts).to_have_text(["user.status_changed", "user.status_changed", "user.created", "installation.set_up"])
    await page.get_by_label("Role of Bob").select_option("admin")
    await expect(acts.first).to_have_text("user.role_changed")
    async with Person(site.url) as bob:
        signed_in = await bob.post("/api/auth/login", {"email": "bob@example.org", "password": PASSWORD})
        assert signed_in.json()["user"]["role"] == "admin"


async def test_last_administrator_cannot_step_down(site: Site, arrive: Arrive) -> None:
    """The refusal is said in words, and the choice goes back to what is so."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await _administer(ada.page, site.url)
    await ada.page.get_by_label("Role of Ada").select_option("user")
    await expect(ada.page.get_by_role("alert").get_by_text("last")).to_be_visible()
    await expect(ada.page.get_by_label("Role of Ada")).to_have_value("admin")


async def test_entry_and_limits_change_while_one_looks(site: Site, arrive: Arrive) -> None:
    """Sign-up is closed, quotas are set, a rate limit is made and holds somewhere: all of it for the server, not only for the page."""
    ada = await arrive(site.url)
    page = ada.page
    await ada.set_up("Ada")
    await _administer(page, site.url)
    await page.get_by_label("Strangers may make themselves an account").uncheck()
    await expect(page.get_by_text("In force.")).to_be_visible()
    await page.get_by_label("Answers for each person").fill("3")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Changed by ada@example.org").last).to_be_visible()
    async with Person(site.url) as stranger:
        assert (await stranger.get("/api/setup")).json()["signup"] is False
    await page.get_by_label("Name of the profile").fill("slow")
    await page.get_by_label("Requests").fill("5")
    await page.get_by_role("button", name="New profile").click()
    profiles = page.get_by_role("list", name="Profiles")
    await expect(profiles.get_by_text("5 in 60 s on average, 60 at once")).to_be_visible()
    await page.get_by_label("Route").fill("/api/models")
    await page.get_by_label("Profile", exact=True).select_option("slow")
    await page.get_by_role("button", name="Let it hold").click()
    await expect(page.get_by_role("list", name="Where they hold").get_by_text("/api/models")).to_be_visible()
    await page.get_by_role("button", name="Delete slow").click()
    await expect(page.get_by_role("alert").get_by_text("assigned")).to_be_visible()
    await ada.start("How many may I have?")
    for word in ("two", "three"):
        await expect(ada.answer_is("complete")).to_be_visible()
        await ada.say(word)
    await expect(ada.messages).to_have_count(6)
    await expect(ada.answer_is("complete")).to_be_visible()
    await ada.say("four")
    await expect(page.get_by_text("Your quota of 3 answers is used up.")).to_be_visible()


async def test_others_see_no_administration(site: Site, arrive: Arrive) -> None:
    """A user's settings do not offer it, and its address shows the settings."""
    async with Person(site.url) as ada:
        await ada.set_up("Ada")
    bob = await arrive(site.url)
    await bob.register("Bob")
    await bob.page.goto(f"{site.url}/administration")
    await expect(bob.page.get_by_role("heading", name="Settings", level=1)).to_be_visible()
    await expect(bob.page.get_by_role("link", name="Open the administration")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_administration_has_no_violation(site: Site, arrive: Arrive, theme: Literal["light", "dark"]) -> None:
    """Wide and on a phone, with people who wait and forms that are open."""
    ada = await arrive(site.url, color_scheme=theme)
    page = ada.page
    await ada.set_up("Ada")
    async with Person(site.url) as bob:
        await bob.register("Bob")
    await _administer(page, site.url)
    await page.get_by_label("Status of Bob").select_option("pending")
    await expect(page.get_by_role("button", name="Let Bob in")).to_be_visible()
    await page.get_by_text("Make an account", exact=True).click()
    await expect(page.get_by_label("Answers for each person")).to_be_visible()
    found = await ada.violations()
    await ada.screenshot(f"administration-{theme}")
    await page.set_viewport_size(PHONE)
    found += await ada.violations()
    await ada.screenshot(f"administration-phone-{theme}")
    await page.get_by_role("region", name="What was done").scroll_into_view_if_needed()
    await ada.screenshot(f"administration-audit-{theme}")
    assert found == []
