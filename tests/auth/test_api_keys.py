"""API keys: shown once, good for their scopes, for nothing that would let a leaked one stay, and over at once when revoked."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.person import Person
from tests.site import Site, serving, settings_for

Owner = asyncpg.Connection


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The whole application on a real socket."""
    async with serving(settings_for(data_dir, sse={"heartbeat_seconds": 1, "session_poll_seconds": 1}), dsn) as served:
        yield served


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Person]:
    """The administrator, signed in."""
    person = await Person(site.url).set_up("Ada")
    yield person
    await person.close()


async def _make(person: Person, *scopes: str, **fields: Any) -> dict[str, Any]:
    answer = await person.post("/api/keys", {"name": "A program", "scopes": scopes or ("chat",), **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def _program(person: Person, key: str) -> Person:
    """A program with a key and nothing else."""
    program = Person(str(person.client.base_url))
    program.client.headers["Authorization"] = f"Bearer {key}"
    return program


def _refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_key_is_shown_once_and_stored_as_a_hash(ada: Person, owner: Owner) -> None:
    """The answer to the POST holds the key; the list and the database do not."""
    made = await _make(ada, "chat", "v1")
    key = made.pop("key")
    assert key.startswith("sk-")
    assert len(key) == 46
    assert (made["name"], made["scopes"], made["hint"]) == ("A program", ["chat", "v1"], key[:8])
    assert (made["expires_at"], made["last_used_at"]) == (None, None)
    assert (await ada.get("/api/keys")).json() == {"items": [made], "next_cursor": None}
    row = await owner.fetchrow("select key_hash, k::text as dump from rustygpt.api_keys k")
    assert row["key_hash"] == hashlib.sha256(key.encode()).digest()
    assert key[8:] not in row["dump"]


async def test_program_converses_with_a_key(ada: Person, owner: Owner) -> None:
    """With scope chat a program posts without cookie or CSRF token, reads the stream, and is its user; its use is noted."""
    made = await _make(ada, "chat")
    program = _program(ada, made["key"])
    me = (await program.get("/api/auth/me")).json()
    assert (me["user"]["id"], me["session"]) == (ada.id, None)
    conversation = await program.make_conversation()
    async with program.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        await program.say(conversation, "count to 3")
        await stream.until_type("message.done")
    assert (await ada.get("/api/keys")).json()["items"][0]["last_used_at"] is not None
    await program.close()


async def test_scope_decides_what_a_key_opens(ada: Person) -> None:
    """A key without the scope of a path is 403 there, a GET and a stream included."""
    program = _program(ada, (await _make(ada, "v1"))["key"])
    for answer in (
        await program.get("/api/conversations"),
        await program.get("/api/stream"),
        await program.post("/api/conversations", {"title": "No"}),
        await program.get("/api/auth/me"),
    ):
        assert _refusal(answer) == (403, "RGP.RBAC.FORBIDDEN")
    assert (await ada.get("/api/conversations")).json()["items"] == []
    await program.close()


async def test_leaked_key_cannot_dig_itself_in(ada: Person) -> None:
    """Whatever its scopes, a key makes, lists and revokes no keys, and touches neither sessions nor password."""
    made = await _make(ada, "chat", "v1", "admin")
    program = _program(ada, made["key"])
    passwords = {"current_password": "correct horse battery", "new_password": "battery horse correct"}
    session = (await ada.get("/api/auth/me")).json()["session"]["id"]
    for answer in (
        await program.get("/api/keys"),
        await program.post("/api/keys", {"name": "Successor", "scopes": ["chat"]}),
        await program.request("DELETE", f"/api/keys/{made['id']}"),
        await program.get("/api/auth/sessions"),
        await program.request("DELETE", f"/api/auth/sessions/{session}"),
        await program.post("/api/auth/password", passwords),
        await program.post("/api/auth/refresh"),
        await program.post("/api/auth/logout"),
    ):
        assert _refusal(answer) == (403, "RGP.RBAC.FORBIDDEN")
    assert len((await ada.get("/api/keys")).json()["items"]) == 1
    await program.close()


async def test_revoked_key_is_over_at_once(ada: Person) -> None:
    """Its stream ends with the reason, its next request is 401, it is gone from the list, and revoking again is 404."""
    made = await _make(ada)
    program = _program(ada, made["key"])
    async with program.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        assert (await ada.request("DELETE", f"/api/keys/{made['id']}")).status_code == 204
        assert (await stream.until_type("error")).payload["code"] == "RGP.AUTH.KEY_REVOKED"
        await stream.until_closed()
    assert _refusal(await program.get("/api/auth/me")) == (401, "RGP.AUTH.KEY_REVOKED")
    assert (await ada.get("/api/keys")).json()["items"] == []
    assert _refusal(await ada.request("DELETE", f"/api/keys/{made['id']}")) == (404, "RGP.NOT_FOUND")
    await program.close()


async def test_expired_key_is_over(ada: Person, owner: Owner) -> None:
    """After expires_at a key is 401, and a stream that it opened ends when the sweeper looks."""
    made = await _make(ada, expires_at="2999-01-01T00:00:00Z")
    program = _program(ada, made["key"])
    async with program.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        await owner.execute("update rustygpt.api_keys set expires_at = now() - interval '1 second'")
        assert (await stream.until_type("error")).payload["code"] == "RGP.AUTH.KEY_REVOKED"
        await stream.until_closed()
    assert _refusal(await program.get("/api/auth/me")) == (401, "RGP.AUTH.KEY_REVOKED")
    await program.close()


async def test_key_of_a_disabled_user_is_refused(ada: Person, owner: Owner) -> None:
    """Disabling the account disables its keys: 423."""
    program = _program(ada, (await _make(ada))["key"])
    await owner.execute("update rustygpt.users set status = 'disabled'")
    assert _refusal(await program.get("/api/auth/me")) == (423, "RGP.AUTH.DISABLED")
    await program.close()


@pytest.mark.parametrize("key", ["?", "sk-", "sk-123", "sk-" + "A" * 43, "sk-" + "~" * 43, "pk-" + "A" * 43, "sk-" + "A" * 5_000])
async def test_unknown_key_is_refused_and_no_cookie_stands_in(ada: Person, key: str) -> None:
    """What is no key of ours is 401, also beside a good session cookie; nothing is shown of it."""
    answer = await ada.get("/api/auth/me", headers={"Authorization": f"Bearer {key}"})
    assert _refusal(answer) == (401, "RGP.AUTH.INVALID_CREDENTIALS")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "AAAA" not in answer.text


async def test_only_administrators_make_admin_keys(site: Site, ada: Person) -> None:
    """The scope admin is 403 for an ordinary user."""
    bob = await Person(site.url).register("Bob")
    answer = await bob.post("/api/keys", {"name": "Up", "scopes": ["admin"]})
    assert _refusal(answer) == (403, "RGP.RBAC.FORBIDDEN")
    assert (await bob.get("/api/keys")).json()["items"] == []
    theirs = await _make(ada, "admin")
    assert _refusal(await bob.request("DELETE", f"/api/keys/{theirs['id']}")) == (404, "RGP.NOT_FOUND")
    await bob.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": "chat"},
        {"name": ""},
        {"name": "x" * 81},
        {"name": None},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "2999-01-01T00:00:00"},
        {"expires_at": "soon"},
        {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"unknown": 1},
    ],
)
async def test_bad_requests_make_no_key(ada: Person, fields: dict[str, Any]) -> None:
    """Unknown scopes, empty or endless names, times that passed or lack a zone: 422."""
    answer = await ada.post("/api/keys", {"name": "A program", "scopes": ["chat"], **fields})
    assert _refusal(answer) == (422, "RGP.VALIDATION")
    assert (await ada.get("/api/keys")).json()["items"] == []


async def test_repeated_request_makes_one_key(ada: Person) -> None:
    """With the same Idempotency-Key the second request is 409: the key is shown once, so the same answer cannot be given again."""
    headers = {"Idempotency-Key": "once"}
    body = {"name": "A program", "scopes": ["chat"]}
    assert (await ada.post("/api/keys", body, headers=headers)).status_code == 201
    for other in (body, {**body, "name": "Another"}):
        assert _refusal(await ada.post("/api/keys", other, headers=headers)) == (409, "RGP.CONFLICT")
    assert len((await ada.get("/api/keys")).json()["items"]) == 1


async def test_hundred_keys_are_enough(ada: Person, owner: Owner) -> None:
    """The hundred-and-first live key is 409; pages of the list hold each key once."""
    await owner.execute(
        """insert into rustygpt.api_keys (user_id, name, key_hash, hint, scopes)
           select $1, 'Key ' || n, sha256(n::text::bytea), 'sk-', array['chat'] from generate_series(1, 99) as n""",
        ada.id,
    )
    await _make(ada)
    assert _refusal(await ada.post("/api/keys", {"name": "One more", "scopes": ["chat"]})) == (409, "RGP.CONFLICT")
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ada.get("/api/keys", params={"limit": "40", **cursor})).json()
        names += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(names) == len(set(names)) == 100
