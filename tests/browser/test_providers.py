"""Signing in with GitHub and Apple as a person does it, in a real Chromium, with an emulator for the providers."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.auth.oauth.emulated import Emulated, emulate, emulated, playing
from tests.browser.conftest import Arrive
from tests.browser.visitor import Visitor
from tests.site import Site, serving, settings_for

__all__ = ["emulate"]


@dataclass(frozen=True, slots=True)
class World:
    """The application, and the providers that know it."""

    site: Site
    providers: Emulated


@pytest.fixture
async def world(emulate: Path, dsn: str, data_dir: Path) -> AsyncIterator[World]:
    """Apple is another site than the application (localhost, not 127.0.0.1), whose cookies are Secure, as they are under https."""
    async with emulated(apple_host="localhost") as providers:
        settings = settings_for(data_dir, oauth=providers.settings(), security={"cookie": {"secure": "always"}})
        async with serving(settings, dsn) as site, playing(emulate, providers, site.url):
            yield World(site, providers)


async def _through(person: Visitor, provider: str, who: str) -> None:
    """Press our button, then the person's at the provider."""
    await person.page.get_by_role("link", name=provider).click()
    await person.page.get_by_role("button", name=re.compile(re.escape(who))).click()


async def _arrive_signed_out(world: World, arrive: Arrive) -> Visitor:
    """A server that is set up, and somebody at its sign-in page."""
    ada = await arrive(world.site.url)
    await ada.set_up("Ada")
    return await arrive(world.site.url)


async def test_github_from_the_sign_in_page(world: World, arrive: Arrive) -> None:
    """The button leads to GitHub and back over the page of success; the settings list the account, which cannot be unlinked yet."""
    octo = await _arrive_signed_out(world, arrive)
    assert await octo.violations() == []
    await octo.screenshot("sign-in")
    visited: list[str] = []
    octo.page.on("framenavigated", lambda frame: visited.append(frame.url))
    await _through(octo, "Continue with GitHub", "octo")
    await expect(octo.page.get_by_role("heading", name="What is on your mind, Octo?")).to_be_visible()
    assert any(url.startswith(f"{world.site.url}/auth/success?user_id=") for url in visited), visited
    await octo.page.get_by_role("link", name="Settings").first.click()
    await octo.page.get_by_role("button", name="Unlink GitHub").click()
    await expect(octo.page.get_by_role("alert").filter(has_text="last way to sign in")).to_be_visible()
    await octo.screenshot("linked-accounts")
    assert await octo.violations() == []
    await octo.page.get_by_label("New password", exact=True).fill("correct horse battery")
    await octo.page.get_by_role("button", name="Set a password").click()
    await expect(octo.page.get_by_role("button", name="Change password")).to_be_visible()
    await octo.page.get_by_role("button", name="Unlink GitHub").click()
    await expect(octo.page.get_by_role("link", name="Link GitHub")).to_be_visible()


async def test_apple_posts_from_another_site(world: World, arrive: Arrive) -> None:
    """Chromium sends the cookie of the sign-in along with Apple's cross-site form, and whoever wanted a page gets there."""
    assert urlsplit(world.providers.apple).hostname != urlsplit(world.site.url).hostname
    anna = await _arrive_signed_out(world, arrive)
    await anna.page.goto(f"{world.site.url}/settings")
    await _through(anna, "Continue with Apple", "anna@example.org")
    await anna.page.wait_for_url("**/settings")
    await expect(anna.page.get_by_role("button", name="Unlink Apple")).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in await anna.context.cookies([f"{world.site.url}/api/oauth/apple/callback"])}
    state = cookies["OAUTH_STATE"]
    assert (state["sameSite"], state["secure"], state["httpOnly"]) == ("None", True, True)
    assert cookies["SESSION_ID"]["sameSite"] == "Lax"


async def test_linking_from_the_settings(world: World, arrive: Arrive) -> None:
    """Who is signed in links both; the session's cookie does not come with Apple's form, and the account is linked all the same."""
    ada = await arrive(world.site.url)
    await ada.set_up("Ada")
    await ada.page.get_by_role("link", name="Settings").first.click()
    for provider, who in (("GitHub", "octo"), ("Apple", "anna@example.org")):
        await _through(ada, f"Link {provider}", who)
        await expect(ada.page.get_by_role("button", name=f"Unlink {provider}")).to_be_visible()
    await expect(ada.page.get_by_text("ada@example.org")).to_be_visible()


async def test_failures_are_told_in_words(world: World, arrive: Arrive) -> None:
    """The address's word is a sentence on the page, signed out and signed in; an unknown word is one too."""
    ada = await arrive(world.site.url)
    await ada.set_up("Ada")
    stranger = await arrive(f"{world.site.url}/login?error=email_taken")
    await expect(
        stranger.page.get_by_role("alert").filter(has_text="There is an account with your e-mail address already")
    ).to_be_visible()
    assert await stranger.violations() == []
    await stranger.page.goto(f"{world.site.url}/login?error=<script>")
    await expect(stranger.page.get_by_role("alert").filter(has_text="did not succeed")).to_be_visible()
    await ada.page.goto(f"{world.site.url}/login?error=identity_taken")
    await expect(ada.page.get_by_role("alert").filter(has_text="linked to somebody else")).to_be_visible()
    await expect(ada.page.get_by_role("heading", name="Linked accounts")).to_be_visible()
