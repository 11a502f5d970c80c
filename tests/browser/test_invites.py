"""Invites and approval as people meet them: a link that is copied, a stranger who comes by it, and somebody who has to wait."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.site import Site, serving, settings_for


@pytest.fixture
async def closed(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site without sign-up."""
    async with serving(settings_for(data_dir, auth={"signup": False}), dsn) as served:
        yield served


@pytest.fixture
async def careful(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site where who registers must wait."""
    async with serving(settings_for(data_dir, auth={"require_approval": True}), dsn) as served:
        yield served


async def test_link_lets_a_stranger_in_and_is_revoked(closed: Site, arrive: Arrive) -> None:
    """Ada copies a link; Bob, who has no account and could make none, registers by it and is in the conversation; then it is revoked."""
    ada = await arrive(closed.url)
    await ada.set_up("Ada")
    await ada.start("Some thoughts.", title="Thoughts")
    await ada.show_details()
    details = ada.page.get_by_role("complementary")
    await details.get_by_role("button", name="Copy invite link").click()
    link = await details.get_by_label("Invite link").input_value()
    assert link.startswith(f"{closed.url}/invite/")
    assert await ada.violations() == []

    bob = await arrive(link)
    await expect(bob.page.get_by_text("You are invited to a conversation.")).to_be_visible()
    assert await bob.violations() == []
    await bob.fill_account("Bob")
    await bob.page.get_by_role("button", name="Create account", exact=True).click()
    await expect(bob.page.get_by_role("heading", name="Thoughts")).to_be_visible()
    await expect(bob.messages.first).to_contain_text("Some thoughts.")
    assert "/c/" in bob.page.url
    await bob.say("I am here.")
    await expect(ada.messages.last).to_contain_text("I am here.")
    await expect(details.get_by_role("listitem").filter(has_text="Bob")).to_be_visible()

    await details.get_by_role("button", name="Revoke this invite").click()
    await expect(details.get_by_role("button", name="Revoke this invite")).to_have_count(0)
    eve = await arrive(link)
    await eve.fill_account("Eve")
    await eve.page.get_by_role("button", name="Create account", exact=True).click()
    await expect(eve.page.get_by_role("alert").first).to_contain_text("This invite was revoked.")


async def test_link_asks_who_is_signed_in(site: Site, arrive: Arrive) -> None:
    """Somebody with an account signs in by the link and is in; somebody who is signed in already joins by a click, or not."""
    ada, bob = await arrive(site.url), await arrive(site.url)
    await ada.set_up("Ada")
    await bob.page.reload()
    await bob.register("Bob")
    await ada.start("Some thoughts.", title="Thoughts")
    await ada.show_details()
    await ada.page.get_by_role("button", name="Copy invite link").click()
    link = await ada.page.get_by_label("Invite link").input_value()

    await bob.page.goto(link)
    await bob.page.get_by_role("button", name="Not now").click()
    await expect(bob.composer).to_be_visible()
    await expect(bob.page.get_by_role("navigation").get_by_text("Thoughts")).to_have_count(0)
    await bob.page.goto(link)
    await bob.page.get_by_role("button", name="Join the conversation").click()
    await expect(bob.page.get_by_role("heading", name="Thoughts")).to_be_visible()

    phone = await arrive(link)
    await phone.page.get_by_role("button", name="Have an account already?").click()
    await phone.page.get_by_label("E-mail").fill("bob@example.org")
    await phone.page.get_by_label("Password", exact=True).fill("correct horse battery")
    await phone.page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(phone.page.get_by_role("heading", name="Thoughts")).to_be_visible()


async def test_newcomer_waits_and_is_let_in(careful: Site, arrive: Arrive) -> None:
    """The page says that somebody else has to act, and goes on when they have, without another sign-in."""
    ada = await arrive(careful.url)
    await ada.set_up("Ada")
    bob = await arrive(careful.url)
    await bob.page.get_by_role("button", name="New here?").click()
    await bob.fill_account("Bob")
    await bob.page.get_by_role("button", name="Create account", exact=True).click()
    await expect(bob.page.get_by_text("An administrator of this server has to let you in")).to_be_visible()
    assert await bob.violations() == []
    script = """async () => {
      const { items } = await (await fetch("/api/admin/users?status=pending")).json();
      const token = document.cookie.match(/CSRF-TOKEN=([^;]+)/)[1];
      const headers = { "Content-Type": "application/json", "X-CSRF-TOKEN": token };
      const body = JSON.stringify({ status: "active" });
      return (await fetch(`/api/admin/users/${items[0].id}`, { method: "PATCH", headers, body })).status;
    }"""
    assert await ada.page.evaluate(script) == 200
    await bob.page.get_by_role("button", name="Look again").click()
    await expect(bob.composer).to_be_visible()
