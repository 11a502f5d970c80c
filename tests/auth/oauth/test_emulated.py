"""From our page to the provider's and back, by HTTP, against an emulator of GitHub and Apple that we did not write."""

import html
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt

from tests.auth.oauth.emulated import Emulated, emulate, emulated, playing
from tests.auth.oauth.provider import APPLE_CLIENT, APPLE_KEY_ID, APPLE_TEAM, challenge, split
from tests.auth.oauth.traveller import HTML, reached, refused
from tests.person import Person
from tests.site import Site, serving, settings_for

__all__ = ["emulate"]
ORIGIN = "https://chat.example.org"


@pytest.fixture
async def world(emulate: Path, dsn: str, data_dir: Path) -> AsyncIterator[tuple[Site, Emulated]]:
    """The application, and the emulator that knows it under its public address."""
    async with emulated() as providers, playing(emulate, providers, ORIGIN):
        settings = settings_for(
            data_dir,
            oauth={**providers.settings(), "manual_enabled": True},
            server={"public_url": ORIGIN},
            security={"cookie": {"secure": "never"}},
        )
        async with serving(settings, dsn) as site:
            yield site, providers


async def _choose(address: str, who: str) -> httpx2.Response:
    """Open the provider's page and press the button of a person."""
    async with httpx2.AsyncClient(follow_redirects=False, timeout=60) as browser:
        page = await browser.get(address)
        assert page.status_code == 200, page.text
        for form in re.findall(r"<form.*?</form>", page.text, re.DOTALL):
            fields = {html.unescape(n): html.unescape(v) for n, v in re.findall(r'name="([^"]*)" value="([^"]*)"', form)}
            if who in fields.values():
                action = re.search(r'action="([^"]*)"', form)
                assert action
                return await browser.post(str(page.url.join(html.unescape(action[1]))), data=fields)
        raise AssertionError(f"{who} is not on the page")


async def _github(person: Person, who: str) -> tuple[str, dict[str, str]]:
    """What GitHub sends *person* back with, and where they went first."""
    left = (await person.get("/api/oauth/github", headers=HTML)).headers["location"]
    back = await _choose(left, who)
    address, fields = split(back.headers["location"])
    assert address == f"{ORIGIN}/api/oauth/github/callback"
    return left, fields


async def _apple(person: Person, who: str) -> tuple[str, dict[str, str]]:
    """What Apple has the browser post, and where it went first."""
    left = (await person.get("/api/oauth/apple", headers=HTML)).headers["location"]
    page = await _choose(left, who)
    assert f'action="{ORIGIN}/api/oauth/apple/callback"' in html.unescape(page.text)
    return left, {html.unescape(n): html.unescape(v) for n, v in re.findall(r'name="([^"]*)" value="([^"]*)"', page.text)}


async def test_github_from_end_to_end(world: tuple[Site, Emulated]) -> None:
    """Account, session and address; the code is redeemed with the verifier of the challenge that the browser carried; it works once."""
    site, providers = world
    person = Person(site.url)
    left, fields = await _github(person, "octo")
    path, query = reached(await person.client.get("/api/oauth/github/callback", params=fields))
    me = (await person.get("/api/auth/me")).json()["user"]
    assert (path, query) == ("/auth/success", {"user_id": me["id"]})
    assert (me["display_name"], me["email"]) == ("Octo Cat", "octo@example.org")
    (form,) = providers.forms["/login/oauth/access_token"]
    assert challenge(form["code_verifier"]) == split(left)[1]["code_challenge"]
    assert form["redirect_uri"] == f"{ORIGIN}/api/oauth/github/callback"
    assert refused(await person.client.get("/api/oauth/github/callback", params=fields)) == "invalid_state"
    other = Person(site.url)
    _, begun = await _github(other, "hubot")
    used = {"code": fields["code"], "state": begun["state"]}
    assert refused(await other.client.get("/api/oauth/github/callback", params=used)) == "provider_error"
    await other.close()
    await person.close()


async def test_apple_from_end_to_end(world: tuple[Site, Emulated]) -> None:
    """A posted answer; a client secret that is our signed statement; the name at the first sign-in; a relay address for who is shy."""
    site, providers = world
    first, again, shy = (Person(site.url) for _ in range(3))
    left, fields = await _apple(first, "anna@example.org")
    assert split(left)[1]["response_mode"] == "form_post"
    assert "user" in fields
    assert reached(await first.client.post("/api/oauth/apple/callback", data=fields))[0] == "/auth/success"
    me = (await first.get("/api/auth/me")).json()["user"]
    assert (me["display_name"], me["email"]) == ("Anna Apfel", "anna@example.org")
    _, fields = await _apple(again, "anna@example.org")
    assert "user" not in fields
    assert reached(await again.client.post("/api/oauth/apple/callback", data=fields))[1] == {"user_id": me["id"]}
    _, fields = await _apple(shy, "shy@example.org")
    assert reached(await shy.client.post("/api/oauth/apple/callback", data=fields))[0] == "/auth/success"
    assert (await shy.get("/api/auth/me")).json()["user"]["email"].endswith("@privaterelay.appleid.com")
    _require_statement(providers, providers.forms["/auth/token"][0]["client_secret"])
    for person in (first, again, shy):
        await person.close()


def _require_statement(providers: Emulated, secret: str) -> None:
    """Apple's documentation: ES256 by the key of that id, team, client, audience Apple, six months at the most."""
    token = jwt.decode(secret, providers.client_key, algorithms=["ES256"])
    claims: dict[str, Any] = token.claims
    assert token.header == {"alg": "ES256", "kid": APPLE_KEY_ID}
    assert (claims["iss"], claims["sub"], claims["aud"]) == (APPLE_TEAM, APPLE_CLIENT, providers.apple)
    assert claims["iat"] <= time.time() < claims["exp"] <= claims["iat"] + 15_777_000


async def test_code_by_hand(world: tuple[Site, Emulated]) -> None:
    """A code of the emulator, redeemed through the routes for tests, signs in; a second time it is refused."""
    site, _ = world
    for name, who, leave in (("github", "hubot", _github), ("apple", "anna@example.org", _apple)):
        person = Person(site.url)
        _, fields = await leave(person, who)
        body = {"code": fields["code"], "redirect_uri": f"{ORIGIN}/api/oauth/{name}/callback"}
        answer = await person.post(f"/api/oauth/{name}/manual", body)
        assert answer.status_code == 200, answer.text
        assert (await person.get("/api/auth/me")).json()["user"]["id"] == answer.json()["user"]["id"]
        answer = await person.post(f"/api/oauth/{name}/manual", body)
        assert (answer.status_code, answer.json()["code"]) == (401, "RGP.AUTH.OAUTH_FAILED")
        await person.close()
