"""What a newcomer by a provider becomes is a setting's to say, an invite lets them in, and a disabled account stays shut however one comes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from rustygpt.auth.procedures_oauth import use_identity
from rustygpt.database.pool import Database
from rustygpt.tokens import token_hash
from tests.auth.oauth.conftest import rows
from tests.auth.oauth.provider import TinyProvider
from tests.auth.oauth.traveller import Traveller, reached, refused
from tests.person import Person
from tests.site import Site, serving, settings_for


@pytest.fixture
async def careful(dsn: str, data_dir: Path, provider: TinyProvider) -> AsyncIterator[Site]:
    """The application with both providers, where newcomers wait."""
    settings = settings_for(data_dir, oauth=provider.settings(), auth={"default_role": "pending"})
    async with serving(settings, dsn) as served:
        yield served


@pytest.mark.parametrize("name", ["github", "apple"])
async def test_newcomer_waits_for_approval(careful: Site, provider: TinyProvider, name: str) -> None:
    """They are signed in and pending, may sign in again meanwhile, link nothing, and go on once let in; disabled, the provider's word opens nothing."""
    async with await Person(careful.url).set_up("Ada") as ada, Traveller(careful.url, provider) as bob:
        await bob.sign_in(name)
        assert (await bob.me())["status"] == "pending"
        assert (await bob.get("/api/auth/identities")).status_code == 403
        await bob.sign_in(name)
        assert (await bob.me())["status"] == "pending"
        path = f"/api/admin/users/{bob.id}"
        assert (await ada.request("PATCH", path, json={"status": "active"})).status_code == 200
        assert len((await bob.get("/api/auth/identities")).json()["items"]) == 1
        assert (await ada.request("PATCH", path, json={"status": "disabled"})).status_code == 200
        assert refused(await bob.travel(name)) == "account_disabled"


@pytest.fixture
async def closed(dsn: str, data_dir: Path, provider: TinyProvider) -> AsyncIterator[Site]:
    """The application with both providers and without sign-up, where newcomers would be administrators."""
    settings = settings_for(data_dir, oauth=provider.settings(), auth={"signup": False, "default_role": "admin"})
    async with serving(settings, dsn) as served:
        yield served


@pytest.fixture
async def host(closed: Site) -> AsyncIterator[Person]:
    """Ada, who invites."""
    async with await Person(closed.url).set_up("Ada") as ada:
        yield ada


async def invite(host: Person, **fields: Any) -> tuple[str, str]:
    """Make a conversation with an invite; return both."""
    conversation = await host.make_conversation()
    made = await host.post(f"/api/conversations/{conversation}/invites", fields)
    assert made.status_code == 201, made.text
    return conversation, str(made.json()["token"])


async def travel_with(person: Traveller, name: str, token: str) -> httpx2.Response:
    """Go to the provider with an invite, and come back."""
    there = await person.go(name, invite_token=token, redirect_to=f"/invite/{token}")
    code, state = person.provider.consent(there)
    return await person.come_back(name, {"code": code, "state": state})


@pytest.mark.parametrize("name", ["github", "apple"])
async def test_invite_lets_a_newcomer_in(closed: Site, host: Person, provider: TinyProvider, name: str) -> None:
    """Though sign-up is off they have an account, an ordinary one, and are in the conversation, of which its members hear at once."""
    conversation, token = await invite(host, role="viewer")
    async with Traveller(closed.url, provider) as bob, host.stream(f"/api/stream/conversations/{conversation}") as stream:
        assert refused(await bob.travel(name)) == "signup_disabled"
        path, query = reached(await travel_with(bob, name, token))
        assert (path, query["redirect_to"]) == ("/auth/success", f"/invite/{token}")
        assert (await bob.me())["role"] == "user"
        event = await stream.until_type("membership.changed")
        told = {name: event.payload[name] for name in ("user_id", "role", "action")}
        assert told == {"user_id": query["user_id"], "role": "viewer", "action": "added"}
        joined = await bob.post("/api/invites/accept", {"token": token})
        assert (joined.status_code, joined.json()["joined"], joined.json()["conversation_id"]) == (200, False, conversation)
        await bob.sign_in(name)


@pytest.mark.parametrize("wrong", ["used", "revoked", "expired", "another address", "archived", "unknown", "no token"])
async def test_invite_that_is_no_good_makes_nothing(
    closed: Site, host: Person, provider: TinyProvider, owner: asyncpg.Connection, wrong: str
) -> None:
    """The word says that it is the invite, the page comes back to it, and there is neither account nor session."""
    conversation, token = await invite(host, **({"email": "somebody.else@example.org"} if wrong == "another address" else {}))
    match wrong:
        case "used":
            await owner.execute("update rustygpt.invites set uses = max_uses")
        case "revoked":
            await owner.execute("update rustygpt.invites set revoked_at = now()")
        case "expired":
            await owner.execute("update rustygpt.invites set expires_at = now()")
        case "archived":
            assert (await host.request("DELETE", f"/api/conversations/{conversation}")).status_code == 204
        case "unknown":
            token = token[::-1]
    before = await rows(owner)
    async with Traveller(closed.url, provider) as bob:
        if wrong == "no token":
            answer = await bob.get("/api/oauth/github", params={"invite_token": "x" * 10}, headers={"Accept": "text/html"})
            assert refused(answer) == "invite_refused"
            return
        answer = await travel_with(bob, "github", token)
        assert refused(answer) == "invite_refused"
        assert reached(answer)[1]["redirect_to"] == f"/invite/{token}"
    assert await rows(owner) == before


async def test_last_use_is_given_once(host: Person, database: Database, owner: asyncpg.Connection) -> None:
    """Of several newcomers who come back at once with one use left, one gets in; the others have nothing."""
    _, token = await invite(host, max_uses=1)
    before = await rows(owner)
    newcomer: dict[str, Any] = {"provider": "github", "is_private_email": False, "display_name": "New", "session": None}
    newcomer |= {"may_create": False, "new_role": "user", "new_status": "active", "invite_hash": token_hash(token)}
    used = await asyncio.gather(
        *(use_identity(database, subject=f"{n}", email=f"new{n}@example.org", **newcomer) for n in range(5))
    )
    assert sorted(each.outcome for each in used) == ["created", *["invite_refused"] * 4]
    assert await rows(owner) == {**before, "users": before["users"] + 1, "identities": 1}


async def test_invite_of_somebody_known_is_not_used(closed: Site, host: Person, provider: TinyProvider) -> None:
    """Who has an account signs in, whatever has become of the invite; they join by its page."""
    conversation, token = await invite(host, max_uses=2)
    async with Traveller(closed.url, provider) as bob:
        await travel_with(bob, "github", token)
        _, other = await invite(host)
        assert reached(await travel_with(bob, "github", other))[0] == "/auth/success"
        assert (await bob.post("/api/invites/accept", {"token": other})).json()["joined"] is True
    items = (await host.get(f"/api/conversations/{conversation}/invites")).json()["items"]
    assert [each["uses"] for each in items] == [1]
