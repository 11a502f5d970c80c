"""Invites: shown once, good for so many, for so long and for whom they are; nobody gets in twice, or back in after a removal."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest

from tests.person import Person
from tests.races import connected, until_somebody_waits
from tests.site import Site, serving, settings_for

Owner = asyncpg.Connection
UNKNOWN = (404, "RGP.NOT_FOUND")
FORBIDDEN = (403, "RGP.RBAC.FORBIDDEN")
OVER = (409, "RGP.CONFLICT")
ACCOUNT = {"email": "carol@example.org", "password": "correct horse battery", "display_name": "Carol"}


@pytest.fixture
async def carol(site: Site, ada: Person) -> AsyncIterator[Person]:
    """A third user."""
    async with await Person(site.url).register("Carol") as person:
        yield person


@pytest.fixture
async def closed(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site without sign-up."""
    async with serving(settings_for(data_dir, auth={"signup": False}), dsn) as served:
        yield served


async def invite(person: Person, conversation: str, **fields: Any) -> dict[str, Any]:
    """Make an invite."""
    answer = await person.post(f"/api/conversations/{conversation}/invites", fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def accept(person: Person, token: str) -> httpx2.Response:
    return await person.post("/api/invites/accept", {"token": token})


async def open_ones(person: Person, conversation: str) -> list[dict[str, Any]]:
    answer = await person.get(f"/api/conversations/{conversation}/invites")
    return list(answer.json()["items"])


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_token_is_shown_once_and_stored_as_a_hash(site: Site, ada: Person, owner: Owner) -> None:
    """The answer has token and link; the list and the database do not; the end is ttl_seconds away."""
    conversation = await ada.make_conversation()
    made = await invite(ada, conversation, role="viewer", ttl_seconds=3_600, max_uses=3)
    token = made.pop("token")
    assert made.pop("url") == f"{site.url}/invite/{token}"
    assert await open_ones(ada, conversation) == [made]
    assert (made["role"], made["email"], made["uses"], made["max_uses"]) == ("viewer", None, 0, 3)
    assert made["created_by"] == {"id": ada.id, "display_name": "Ada"}
    lasts = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert round(lasts.total_seconds()) == 3_600
    row = await owner.fetchrow("select token_hash, i::text as dump from rustygpt.invites i")
    assert row["token_hash"] == hashlib.sha256(token.encode()).digest()
    assert token not in row["dump"]


async def test_link_has_the_public_address(dsn: str, data_dir: Path) -> None:
    """Where server.public_url is set, whatever Host a request names."""
    settings = settings_for(data_dir, server={"public_url": "http://chat.example.org"})
    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
        made = await invite(ada, await ada.make_conversation())
        assert made["url"] == f"http://chat.example.org/invite/{made['token']}"


async def test_accepting_joins_and_tells_everybody(ada: Person, bob: Person) -> None:
    """The newcomer gets the conversation and its role, everybody hears it, and what was said counts as read; again is the same."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.say(conversation, "Before.")
    made = await invite(ada, conversation, role="viewer")
    async with ada.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        answer = await accept(bob, made["token"])
        told = (await stream.until_type("membership.changed")).payload
    assert answer.status_code == 200, answer.text
    joined = answer.json()
    assert (joined["conversation_id"], joined["role"], joined["joined"]) == (conversation, "viewer", True)
    assert (joined["conversation"]["member_count"], joined["conversation"]["unread"]) == (2, 0)
    assert (told["user_id"], told["role"], told["action"], told["member_count"]) == (bob.id, "viewer", "added", 2)
    again = await accept(bob, made["token"])
    assert (again.status_code, again.json()) == (200, {**joined, "joined": False})
    assert await open_ones(ada, conversation) == [], "one use, and it is used"


async def test_member_stays_what_they_are(ada: Person, bob: Person) -> None:
    """An invite neither raises nor lowers a member's role, and none of its uses is spent."""
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob, "viewer")
    made = await invite(ada, conversation, role="admin")
    for person, role in ((bob, "viewer"), (ada, "owner")):
        assert (await accept(person, made["token"])).json()["role"] == role
    assert [each["uses"] for each in await open_ones(ada, conversation)] == [0]


async def test_who_may_make_list_and_revoke(ada: Person, bob: Person, carol: Person) -> None:
    """Owners everything, admins all but owners' invites; members and viewers nothing; for strangers there is no such thing."""
    conversation = await ada.make_conversation()
    path = f"/api/conversations/{conversation}/invites"
    made = await invite(ada, conversation, role="owner")
    revoke = f"/api/invites/{made['id']}/revoke"
    for answer in (await carol.get(path), await carol.post(path, {}), await carol.post(revoke)):
        assert refusal(answer) == UNKNOWN
    await ada.add(conversation, bob, "viewer")
    for role in ("viewer", "member"):
        await ada.request("PATCH", f"/api/conversations/{conversation}/participants/{bob.id}", json={"role": role})
        for answer in (await bob.get(path), await bob.post(path, {"role": "viewer"}), await bob.post(revoke)):
            assert refusal(answer) == FORBIDDEN
    await ada.request("PATCH", f"/api/conversations/{conversation}/participants/{bob.id}", json={"role": "admin"})
    assert refusal(await bob.post(path, {"role": "owner"})) == FORBIDDEN
    assert (await invite(bob, conversation, role="admin"))["role"] == "admin"
    assert len(await open_ones(bob, conversation)) == 2
    assert (await bob.post(revoke)).status_code == 204
    assert refusal(await bob.post(f"/api/invites/{UUID(int=7)}/revoke")) == UNKNOWN


async def test_what_ends_an_invite(ada: Person, bob: Person, owner: Owner) -> None:
    """Unknown: 404. Used, expired, revoked: 409, each in its own words. Revoking twice is once."""
    conversation = await ada.make_conversation()
    said = []
    for ending in ("uses = max_uses", "expires_at = now()", None):
        made = await invite(ada, conversation)
        if ending is None:
            statuses = [(await ada.post(f"/api/invites/{made['id']}/revoke")).status_code for _ in range(2)]
            assert statuses == [204, 204]
        else:
            await owner.execute(f"update rustygpt.invites set {ending} where id = $1", UUID(made["id"]))
        answer = await accept(bob, made["token"])
        assert refusal(answer) == OVER
        said.append(answer.json()["detail"])
    assert said == ["This invite has been used.", "This invite has expired.", "This invite was revoked."]
    for token in ("x", "A" * 43, "~" * 43, "A" * 256, made["token"][:-1], made["id"]):
        assert refusal(await accept(bob, token)) == UNKNOWN, token
    for token in ("", "A" * 257, None, 7):
        assert refusal(await accept(bob, token)) == (422, "RGP.VALIDATION"), token  # type: ignore[arg-type]
    assert await open_ones(ada, conversation) == []
    assert (await bob.get("/api/conversations")).json()["items"] == []


async def test_invite_for_one_address(ada: Person, bob: Person, carol: Person) -> None:
    """Only the account of that address may use it, in any spelling, and the refusal does not name it."""
    conversation = await ada.make_conversation()
    made = await invite(ada, conversation, email=bob.email.upper())
    refused = await accept(carol, made["token"])
    assert refusal(refused) == FORBIDDEN
    assert "bob" not in refused.text.lower()
    assert (await accept(bob, made["token"])).status_code == 200
    assert refusal(await accept(carol, made["token"])) == FORBIDDEN


async def test_maker_who_lost_the_right_lets_nobody_in(ada: Person, bob: Person, carol: Person, owner: Owner) -> None:
    """Demoted, removed or disabled, an admin's invites are worth nothing; back in office they are."""
    conversation = await ada.make_conversation()
    member = f"/api/conversations/{conversation}/participants/{bob.id}"
    await ada.add(conversation, bob, "admin")
    made = await invite(bob, conversation)
    await ada.request("PATCH", member, json={"role": "member"})
    assert refusal(await accept(carol, made["token"])) == OVER
    assert await open_ones(ada, conversation) == []
    await ada.request("PATCH", member, json={"role": "admin"})
    await owner.execute("update rustygpt.users set status = 'disabled' where id = $1", UUID(bob.id))
    assert refusal(await accept(carol, made["token"])) == OVER
    await owner.execute("update rustygpt.users set status = 'active' where id = $1", UUID(bob.id))
    await ada.request("DELETE", member)
    assert refusal(await accept(carol, made["token"])) == OVER
    await ada.add(conversation, bob, "admin")
    assert (await accept(carol, made["token"])).status_code == 200


async def test_removed_member_does_not_come_back_by_an_old_link(ada: Person, bob: Person) -> None:
    """Who was removed needs an invite made since; who left by themselves may use the old one."""
    conversation = await ada.make_conversation()
    old = await invite(ada, conversation, max_uses=10)
    member = f"/api/conversations/{conversation}/participants/{bob.id}"
    assert (await accept(bob, old["token"])).status_code == 200
    assert (await bob.request("DELETE", member)).status_code == 204
    assert (await accept(bob, old["token"])).status_code == 200
    assert (await ada.request("DELETE", member)).status_code == 204
    assert refusal(await accept(bob, old["token"])) == FORBIDDEN
    new = await invite(ada, conversation)
    assert (await accept(bob, new["token"])).status_code == 200
    assert [each["uses"] for each in await open_ones(ada, conversation)] == [2]


async def test_archived_conversation_lets_nobody_in(ada: Person, bob: Person) -> None:
    """Its invites are unknown, also to who was a member."""
    conversation = await ada.make_conversation()
    made = await invite(ada, conversation, max_uses=2)
    assert (await accept(bob, made["token"])).status_code == 200
    assert (await ada.request("DELETE", f"/api/conversations/{conversation}")).status_code == 204
    for person in (ada, bob):
        assert refusal(await accept(person, made["token"])) == UNKNOWN
    assert refusal(await ada.post(f"/api/invites/{made['id']}/revoke")) == UNKNOWN


async def test_more_people_than_uses_at_once(site: Site, ada: Person, dsn: str, owner: Owner) -> None:
    """Of seven who accept an invite for five in the same moment five join, each once, and the others are told that it is used."""
    conversation = await ada.make_conversation()
    made = await invite(ada, conversation, max_uses=5)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group, connected(dsn) as holder:
        guests = [await stack.enter_async_context(await Person(site.url).register(f"Guest {n}")) for n in range(7)]
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("select from rustygpt.conversations for update")
        tasks = [group.create_task(accept(guest, made["token"])) for guest in guests for _ in range(2)]
        await until_somebody_waits(owner)
        await transaction.commit()
        answers = await asyncio.gather(*tasks)
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [409] * 4
    assert sum(answer.json().get("joined", False) for answer in answers) == 5
    assert await owner.fetchval("select uses from rustygpt.invites") == 5
    assert await owner.fetchval("select member_count from rustygpt.conversations") == 6
    assert await owner.fetchval("select count(*) from rustygpt.members") == 6


async def test_twenty_people_of_one_address_register_at_once(closed: Site, owner: Owner) -> None:
    """One account is made, and one use is spent."""
    async with await Person(closed.url).set_up("Ada") as ada, AsyncExitStack() as stack:
        made = await invite(ada, await ada.make_conversation(), max_uses=20)
        people = [await stack.enter_async_context(Person(closed.url)) for _ in range(20)]
        body = {**ACCOUNT, "invite_token": made["token"]}
        answers = await asyncio.gather(*(person.post("/api/auth/register", body) for person in people))
        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 19]
        assert await owner.fetchval("select uses from rustygpt.invites") == 1


async def test_register_with_an_invite_though_sign_up_is_off(closed: Site, owner: Owner) -> None:
    """The account is made, signed in and a member, and its maker hears of it; without an invite, or with a bad one, nothing is made."""
    async with await Person(closed.url).set_up("Ada") as ada, Person(closed.url) as carol:
        conversation = await ada.make_conversation()
        made = await invite(ada, conversation, email="carol@example.org", role="member")
        others = await invite(ada, conversation, email="dan@example.org")
        gone = await invite(ada, conversation)
        await ada.post(f"/api/invites/{gone['id']}/revoke")
        for token, expected in ((None, FORBIDDEN), ("A" * 43, UNKNOWN), (others["token"], FORBIDDEN), (gone["token"], OVER)):
            assert refusal(await carol.post("/api/auth/register", {**ACCOUNT, "invite_token": token})) == expected
        assert await owner.fetchval("select count(*) from rustygpt.users") == 1
        async with ada.stream("/api/stream") as stream:
            await stream.until_type("stream.ready")
            answer = await carol.post("/api/auth/register", {**ACCOUNT, "invite_token": made["token"]})
            assert answer.status_code == 201, answer.text
            told = (await stream.until_type("membership.changed")).payload
        assert (told["user_id"], told["role"], told["action"]) == (answer.json()["id"], "member", "added")
        listed = (await carol.get("/api/conversations")).json()["items"]
        assert [(each["id"], each["role"]) for each in listed] == [(conversation, "member")]
        async with Person(closed.url) as another:
            assert refusal(await another.post("/api/auth/register", {**ACCOUNT, "invite_token": made["token"]})) == OVER


async def test_invited_newcomer_waits_for_approval_all_the_same(dsn: str, data_dir: Path) -> None:
    """An invite opens a conversation, not the server: the newcomer is pending, and finds the conversation once let in. Never an administrator."""
    settings = settings_for(data_dir, auth={"signup": False, "require_approval": True, "default_role": "admin"})
    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada, Person(site.url) as carol:
        made = await invite(ada, await ada.make_conversation())
        user = (await carol.post("/api/auth/register", {**ACCOUNT, "invite_token": made["token"]})).json()["user"]
        assert (user["status"], user["role"]) == ("pending", "user")
        assert refusal(await carol.get("/api/conversations")) == (403, "RGP.AUTH.PENDING")
        assert refusal(await accept(carol, made["token"])) == (403, "RGP.AUTH.PENDING")
        await ada.request("PATCH", f"/api/admin/users/{user['id']}", json={"status": "active"})
        assert len((await carol.get("/api/conversations")).json()["items"]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl_seconds": 59},
        {"ttl_seconds": 2_592_001},
        {"ttl_seconds": None},
        {"max_uses": 0},
        {"max_uses": 1_001},
        {"max_uses": 2, "email": "bob@example.org"},
        {"email": "bob"},
        {"email": ""},
        {"role": "king"},
        {"unknown": 1},
    ],
)
async def test_bad_invites_are_refused(ada: Person, fields: dict[str, Any]) -> None:
    """What is out of range or unknown is a 422, and nothing is made."""
    conversation = await ada.make_conversation()
    assert refusal(await ada.post(f"/api/conversations/{conversation}/invites", fields)) == (422, "RGP.VALIDATION")
    assert await open_ones(ada, conversation) == []


async def test_repeated_request_makes_one_invite(ada: Person) -> None:
    """The same Idempotency-Key is 409 the second time, as the link is shown once."""
    conversation = await ada.make_conversation()
    path, headers = f"/api/conversations/{conversation}/invites", {"Idempotency-Key": "once"}
    answers = [await ada.post(path, {"role": "viewer"}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 409]
    assert len(await open_ones(ada, conversation)) == 1


async def test_hundred_open_invites_are_enough(ada: Person, owner: Owner) -> None:
    """One more is 409; the list comes in pages, each invite once."""
    conversation = await ada.make_conversation()
    await owner.execute(
        """insert into rustygpt.invites (conversation_id, created_by, token_hash, role, max_uses, expires_at)
           select $1, $2, sha256(n::text::bytea), 'member', n, now() + interval '1 day' from generate_series(1, 99) as n""",
        UUID(conversation),
        UUID(ada.id),
    )
    await invite(ada, conversation)
    path = f"/api/conversations/{conversation}/invites"
    assert refusal(await ada.post(path, {})) == OVER
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ada.get(path, params={"limit": "40", **cursor})).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen)) == 100


async def test_old_invites_are_forgotten(ada: Person, bob: Person, owner: Owner) -> None:
    """A month after its end an invite is deleted, and its token unknown; later ones stay."""
    conversation = await ada.make_conversation()
    old, new = [await invite(ada, conversation) for _ in range(2)]
    await owner.execute("update rustygpt.invites set expires_at = now() - interval '31 days' where id = $1", UUID(old["id"]))
    assert await owner.fetchval("select rustygpt_api.prune_rows(1e9, 1e9, 1)") == 1
    assert await owner.fetchval("select rustygpt_api.prune_rows(1e9, 1e9, 1)") == 0
    assert refusal(await accept(bob, old["token"])) == UNKNOWN
    assert (await accept(bob, new["token"])).status_code == 200
