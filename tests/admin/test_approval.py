"""Accounts that wait for approval: signed in, told so, and kept out of everything else until an administrator lets them in."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from rustygpt.settings import AuthSettings
from tests.person import Person
from tests.site import Site, serving, settings_for

PENDING = (403, "RGP.AUTH.PENDING")


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site where who registers must wait."""
    async with serving(settings_for(data_dir, auth={"require_approval": True}), dsn) as served:
        yield served


async def test_newcomer_waits_and_is_let_in(site: Site, ada: Person, bob: Person) -> None:
    """Registration signs in as pending; me and logout work, nothing else does; the administrator's word opens the same session."""
    me = await bob.get("/api/auth/me")
    assert (me.status_code, me.json()["user"]["status"]) == (200, "pending")
    for method, path, body in (
        ("GET", "/api/conversations", None),
        ("POST", "/api/conversations", {"title": "Hello"}),
        ("GET", "/api/stream", None),
        ("GET", "/api/auth/sessions", None),
        ("POST", "/api/auth/refresh", None),
        ("POST", "/api/auth/password", {"current_password": "correct horse battery", "new_password": "battery horse"}),
        ("POST", "/api/keys", {"name": "Key", "scopes": ["chat"]}),
        ("GET", "/api/admin/users", None),
    ):
        assert refusal(await bob.request(method, path, json=body)) == PENDING, path
    waiting = (await ada.get("/api/admin/users?status=pending")).json()["items"]
    assert [user["id"] for user in waiting] == [bob.id]
    let_in = await ada.request("PATCH", f"/api/admin/users/{bob.id}", json={"status": "active"})
    assert let_in.json()["status"] == "active"
    await bob.make_conversation()


async def test_who_waits_signs_in_and_out(site: Site, ada: Person, bob: Person) -> None:
    """The password opens a session that waits; signing out ends it; without the CSRF token signing out is refused."""
    async with Person(site.url) as again:
        body = {"email": bob.email, "password": "correct horse battery"}
        answer = await again.post("/api/auth/login", body)
        assert (answer.status_code, answer.json()["user"]["status"]) == (200, "pending")
        forged = await again.post("/api/auth/logout", headers={"X-CSRF-TOKEN": "wrong"})
        assert refusal(forged) == (403, "RGP.AUTH.CSRF")
        assert (await again.post("/api/auth/logout")).status_code == 204
    assert (await bob.get("/api/auth/me")).status_code == 200
    assert (await bob.get("/api/setup")).json()["is_setup"]


async def test_who_waits_cannot_be_added(ada: Person, bob: Person) -> None:
    """They are no member of anything before somebody has let them in."""
    conversation = await ada.make_conversation()
    answer = await ada.post(f"/api/conversations/{conversation}/participants", {"email": bob.email})
    assert refusal(answer) == (404, "RGP.NOT_FOUND")


async def test_sent_back_to_wait(ada: Person, bob: Person) -> None:
    """An active user made pending keeps the session and can do nothing with it, nor with a key; refused and let in again both are audited."""
    path = f"/api/admin/users/{bob.id}"
    await ada.request("PATCH", path, json={"status": "active"})
    key = (await bob.post("/api/keys", {"name": "Key", "scopes": ["chat"]})).json()["key"]
    await ada.request("PATCH", path, json={"status": "pending"})
    assert refusal(await bob.get("/api/conversations")) == PENDING
    async with Person(str(bob.client.base_url)) as program:
        program.client.headers["Authorization"] = f"Bearer {key}"
        for address in ("/api/conversations", "/api/auth/me"):
            assert refusal(await program.get(address)) == PENDING
    await ada.request("PATCH", path, json={"status": "active"})
    assert (await bob.get("/api/conversations")).status_code == 200
    entries = (await ada.get("/api/admin/audit")).json()["items"]
    assert [entry["details"]["to"] for entry in entries[:-1]] == ["active", "pending", "active"]


async def test_first_administrator_and_made_accounts_do_not_wait(site: Site, ada: Person) -> None:
    """Set-up and POST /api/admin/users make active accounts whatever the setting."""
    assert (await ada.get("/api/auth/me")).json()["user"]["status"] == "active"
    body = {"email": "carol@example.org", "password": "correct horse battery", "display_name": "Carol"}
    assert (await ada.post("/api/admin/users", body)).json()["status"] == "active"


@pytest.mark.parametrize(
    ("auth", "role", "status"),
    [
        ({}, "user", "active"),
        ({"default_role": "user"}, "user", "active"),
        ({"default_role": "pending"}, "user", "pending"),
        ({"default_role": "admin"}, "admin", "active"),
        ({"default_role": "admin", "require_approval": True}, "admin", "pending"),
        ({"default_role": "pending", "require_approval": False}, "user", "pending"),
    ],
)
def test_default_role_says_what_newcomers_become(auth: dict[str, Any], role: str, status: str) -> None:
    """`pending` is a user who waits; approval holds for administrators by default too."""
    settings = AuthSettings(**auth)
    assert (settings.new_role, settings.new_status) == (role, status)


async def test_default_role_admin_closes_the_set_up(dsn: str, data_dir: Path, owner: asyncpg.Connection) -> None:
    """Where everybody becomes an administrator, the first to register is one, and nobody can set up afterwards."""
    async with (
        serving(settings_for(data_dir, auth={"default_role": "admin"}), dsn) as site,
        await Person(site.url).register("Bob") as bob,
    ):
        assert (await bob.get("/api/admin/users")).status_code == 200
        assert (await bob.get("/api/setup")).json()["is_setup"] is True
        body = {"email": "eve@example.org", "password": "correct horse battery", "display_name": "Eve"}
        async with Person(site.url) as eve:
            assert refusal(await eve.post("/api/setup", body)) == (409, "RGP.CONFLICT")
