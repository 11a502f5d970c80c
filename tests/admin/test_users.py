"""Accounts in the hands of administrators: list, make, change; who is disabled is out at once, and one administrator always stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.person import Person
from tests.races import connected, until_somebody_waits
from tests.site import Site, serving, settings_for
from tests.streaming.bus.pair import at, until_ready

Owner = asyncpg.Connection
PASSWORD = "correct horse battery"
SECRET_KEY = "the same on every process, 32 characters"
LAST = (409, "RGP.CONFLICT")


async def change(person: Person, other: Person | str, **fields: Any) -> httpx2.Response:
    """PATCH an account."""
    user_id = other if isinstance(other, str) else other.id
    return await person.request("PATCH", f"/api/admin/users/{user_id}", json=fields)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def key_of(person: Person, *scopes: str) -> Person:
    """A program that acts for a person by a key."""
    made = await person.post("/api/keys", {"name": "A program", "scopes": scopes})
    assert made.status_code == 201, made.text
    program = Person(str(person.client.base_url))
    program.client.headers["Authorization"] = f"Bearer {made.json()['key']}"
    return program


async def test_administrator_makes_an_account_that_signs_in(site: Site, ada: Person) -> None:
    """The account is active with its role at once, the password is nowhere in the answer, and the address is taken afterwards."""
    body = {"email": "Carol@Example.org", "password": PASSWORD, "display_name": "Carol", "role": "admin"}
    made = await ada.post("/api/admin/users", body)
    assert made.status_code == 201, made.text
    account = made.json()
    shown = [account[key] for key in ("email", "display_name", "role", "status")]
    assert shown == ["Carol@Example.org", "Carol", "admin", "active"]
    assert PASSWORD not in made.text
    assert refusal(await ada.post("/api/admin/users", {**body, "email": "carol@example.org"})) == LAST
    async with Person(site.url) as carol:
        answer = await carol.post("/api/auth/login", {"email": "carol@example.org", "password": PASSWORD})
        assert answer.json()["user"] == account
        assert (await carol.get("/api/admin/users")).status_code == 200


async def test_repeated_request_makes_one_account(ada: Person) -> None:
    """The same Idempotency-Key gives the same answer; for another account it is a conflict."""
    headers = {"Idempotency-Key": "carol"}
    body = {"email": "carol@example.org", "password": PASSWORD, "display_name": "Carol"}
    first, second = [await ada.post("/api/admin/users", body, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code, second.content) == (201, 201, first.content)
    assert refusal(await ada.post("/api/admin/users", {**body, "email": "dan@example.org"}, headers=headers)) == LAST


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "carol"},
        {"password": "short"},
        {"display_name": ""},
        {"role": "owner"},
        {"role": "pending"},
        {"status": "active"},
        {"email": None},
    ],
)
async def test_bad_accounts_are_refused(ada: Person, fields: dict[str, Any]) -> None:
    """Each field is checked; nothing is made."""
    body = {"email": "carol@example.org", "password": PASSWORD, "display_name": "Carol", **fields}
    assert refusal(await ada.post("/api/admin/users", body)) == (422, "RGP.VALIDATION")
    assert len((await ada.get("/api/admin/users")).json()["items"]) == 1


@pytest.mark.parametrize("fields", [{}, {"role": "owner"}, {"status": "gone"}, {"status": True}, {"email": "x@example.org"}])
async def test_bad_changes_are_refused(ada: Person, bob: Person, fields: dict[str, Any]) -> None:
    """Nothing named, unknown words and other fields: 422. Unknown accounts are 404, malformed ids 400."""
    assert refusal(await change(ada, bob, **fields)) == (422, "RGP.VALIDATION")
    assert refusal(await change(ada, "00000000-0000-7000-8000-000000000000", role="user")) == (404, "RGP.NOT_FOUND")
    assert refusal(await change(ada, "bob", role="user")) == (400, "RGP.BAD_REQUEST")


async def test_accounts_are_found_by_part_and_status_in_pages(ada: Person, owner: Owner) -> None:
    """Newest first, each once; `query` is a part of name or address in any case and means itself; `status` narrows."""
    for number in range(7):
        name = f"100% Guest_{number}"
        await owner.execute("select rustygpt.insert_user($1, $2, null, 'user', $3)", f"g{number}@x.org", name, "pending")
    await owner.execute("select rustygpt.insert_user('other@x.org', 'Other', null, 'user', 'disabled')")
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        query = {"query": "0% guest_", "status": "pending", "limit": "3", **cursor}
        page = (await ada.get("/api/admin/users", params=query)).json()
        names += [item["display_name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    newest_first = "select display_name from rustygpt.users where display_name like '100%' order by id desc"
    assert names == [row["display_name"] for row in await owner.fetch(newest_first)]  # some are of one millisecond
    assert set(names) == {f"100% Guest_{number}" for number in range(7)}
    assert [item["email"] for item in (await ada.get("/api/admin/users?query=OTHER@x")).json()["items"]] == ["other@x.org"]
    assert len((await ada.get("/api/admin/users?query=")).json()["items"]) == 9
    for query in ("status=gone", f"query={'x' * 255}", "status=active&status=pending", "cursor=x"):
        assert refusal(await ada.get(f"/api/admin/users?{query}")) == (400, "RGP.BAD_REQUEST")


async def test_disabled_user_is_out(ada: Person, bob: Person) -> None:
    """Session and key answer 423, no sign-in, the audit log says so; made active again the key works and the session stays ended."""
    program = await key_of(bob, "chat")
    assert (await change(ada, bob, status="disabled")).json()["status"] == "disabled"
    for answer in (
        await bob.get("/api/auth/me"),
        await bob.get("/api/stream"),
        await program.get("/api/auth/me"),
        await bob.post("/api/auth/login", {"email": bob.email, "password": PASSWORD}),
    ):
        assert refusal(answer) == (423, "RGP.AUTH.DISABLED")
    assert (await change(ada, bob, status="active")).status_code == 200
    assert (await program.get("/api/auth/me")).status_code == 200
    assert refusal(await bob.get("/api/auth/me")) == (401, "RGP.AUTH.SESSION_EXPIRED")
    assert (await bob.post("/api/auth/login", {"email": bob.email, "password": PASSWORD})).status_code == 200
    await program.close()
    entries = (await ada.get("/api/admin/audit")).json()["items"][:-1]
    assert [(entry["action"], entry["details"], entry["subject"], entry["actor_id"]) for entry in entries] == [
        ("user.status_changed", {"from": "disabled", "to": "active"}, bob.id, ada.id),
        ("user.status_changed", {"from": "active", "to": "disabled"}, bob.id, ada.id),
    ]


async def test_change_to_the_same_changes_nothing(ada: Person, bob: Person) -> None:
    """The answer is the account; nothing is written in the audit log, and no session ends."""
    answer = await change(ada, bob, role="user", status="active")
    assert (answer.status_code, answer.json()["role"]) == (200, "user")
    acts = [entry["action"] for entry in (await ada.get("/api/admin/audit")).json()["items"]]
    assert acts == ["installation.set_up"]
    assert (await bob.get("/api/auth/me")).status_code == 200


async def test_one_administrator_stays(ada: Person, bob: Person) -> None:
    """The last one cannot step down, nobody changes their own status, a disabled administrator does not count; others may step down."""
    assert refusal(await change(ada, ada, role="user")) == LAST
    assert refusal(await change(ada, ada, status="disabled")) == LAST
    assert (await change(ada, bob, role="admin")).status_code == 200
    assert refusal(await change(ada, ada, status="disabled")) == LAST
    assert refusal(await change(ada, ada, status="pending", role="user")) == LAST
    assert (await change(ada, bob, status="disabled")).status_code == 200
    assert refusal(await change(ada, ada, role="user")) == LAST
    assert (await change(ada, bob, status="active")).status_code == 200
    assert (await change(ada, ada, role="user")).status_code == 200
    assert refusal(await change(ada, bob, role="user")) == (403, "RGP.RBAC.FORBIDDEN")


async def _race(dsn: str, owner: Owner, *requests: tuple[Person, Person]) -> list[int]:
    """Let all demotions wait for one lock, then let it go."""
    async with connected(dsn) as holder, asyncio.TaskGroup() as group:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("select from rustygpt.installation for update")
        tasks = [group.create_task(change(who, whom, role="user")) for who, whom in requests]
        await until_somebody_waits(owner)
        await transaction.commit()
    assert await owner.fetchval("select count(*) from rustygpt.users where role = 'admin' and status = 'active'") == 1
    return sorted(task.result().status_code for task in tasks)


async def test_two_administrators_who_step_down_at_once(ada: Person, bob: Person, dsn: str, owner: Owner) -> None:
    """One may, the other is the last; so it is when each takes the other's office: one then has no right to any more."""
    await change(ada, bob, role="admin")
    assert await _race(dsn, owner, (ada, ada), (bob, bob)) == [200, 409]
    await owner.execute("update rustygpt.users set role = 'admin'")
    assert await _race(dsn, owner, (ada, bob), (bob, ada)) == [200, 403]


@pytest.fixture
async def two_sites(dsn: str, data_dir: Path) -> AsyncIterator[list[Site]]:
    """Two processes on one database, whose streams hear of an end by the bus alone."""
    async with AsyncExitStack() as stack:
        sites = []
        for name in ("a", "b"):
            sse = {"session_poll_seconds": 600, "heal_seconds": 600}
            settings = settings_for(data_dir / name, bus={"kind": "postgres"}, secret_key=SECRET_KEY, sse=sse)
            sites.append(await stack.enter_async_context(serving(settings, dsn)))
        for each in sites:
            await until_ready(each.url)
        yield sites


@pytest.mark.parametrize("status", ["disabled", "pending"])
async def test_streams_end_on_every_process(two_sites: list[Site], status: str) -> None:
    """Whoever is kept out loses the streams of sessions and keys, here and on another process, without waiting for a poll."""
    here, there = two_sites
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(await Person(here.url).set_up("Ada"))
        bob = await stack.enter_async_context(await Person(here.url).register("Bob"))
        program = await stack.enter_async_context(await key_of(bob, "chat"))
        bob_there = await stack.enter_async_context(at(there.url, bob))
        readers = [await stack.enter_async_context(person.stream("/api/stream")) for person in (bob, bob_there, program, ada)]
        for reader in readers:
            await reader.until_type("stream.ready")
        assert (await change(ada, bob, status=status)).status_code == 200
        for reader in readers[:3]:
            assert (await reader.until_type("error")).payload["code"].startswith("RGP.AUTH.")
            await reader.until_closed()
        assert not readers[3].is_closed
        expected = (423, "RGP.AUTH.DISABLED") if status == "disabled" else (403, "RGP.AUTH.PENDING")
        for person in (bob, bob_there, program):
            assert refusal(await person.get("/api/stream")) == expected


async def test_missed_signal_is_made_good_by_the_database(dsn: str, data_dir: Path, owner: Owner) -> None:
    """A change that no signal told of, as by the command line, ends streams at the next poll."""
    settings = settings_for(data_dir, sse={"session_poll_seconds": 1, "heartbeat_seconds": 1})
    async with (
        serving(settings, dsn) as site,
        await Person(site.url).set_up("Ada"),
        await Person(site.url).register("Bob") as bob,
        bob.stream("/api/stream") as stream,
    ):
        await stream.until_type("stream.ready")
        await owner.fetch("select * from rustygpt_api.update_user_by_operator($1, null, 'disabled')", bob.email)
        await stream.until_closed()


async def test_demoted_administrator_keeps_no_power(ada: Person, bob: Person) -> None:
    """A key with scope admin and a session made as administrator answer 403 from the demotion on."""
    await change(ada, bob, role="admin")
    program = await key_of(bob, "admin", "chat")
    for person in (bob, program):
        assert (await person.get("/api/admin/users")).status_code == 200
    await change(ada, bob, role="user")
    for person in (bob, program):
        assert refusal(await person.get("/api/admin/users")) == (403, "RGP.RBAC.FORBIDDEN")
        assert (await person.get("/api/auth/me")).status_code == 200
    await program.close()


async def test_credentials_of_administrators_are_audited(ada: Person) -> None:
    """The set-up, and a key with the scope admin that is made or revoked, are in the log; other keys are nobody's business."""
    made = {}
    for scope in ("chat", "admin"):
        answer = await ada.post("/api/keys", {"name": "Key", "scopes": [scope]})
        made[scope] = answer.json()["id"]
        assert (await ada.request("DELETE", f"/api/keys/{made[scope]}")).status_code == 204
    items = (await ada.get("/api/admin/audit")).json()["items"]
    assert [(item["action"], item["subject"]) for item in items] == [
        ("key.revoked", made["admin"]),
        ("key.created", made["admin"]),
        ("installation.set_up", ada.id),
    ]
