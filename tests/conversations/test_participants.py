"""Members over HTTP: by address or id, roles, leaving, coming back, and that somebody always owns the place."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.person import Person
from tests.site import Site


@pytest.fixture
async def carol(site: Site, bob: Person) -> AsyncIterator[Person]:
    """A third user."""
    async with Person(site.url) as person:
        yield await person.register("Carol")


async def members(person: Person, conversation: str) -> dict[str, str]:
    """Return name -> role in the order of joining."""
    answer = await person.get(f"/api/conversations/{conversation}/participants")
    assert answer.status_code == 200, answer.text
    return {item["display_name"]: item["role"] for item in answer.json()["items"]}


async def set_role(person: Person, conversation: str, other: Person, role: str) -> tuple[int, str | None]:
    """Change a role; return the status and the error's code."""
    answer = await person.request("PATCH", f"/api/conversations/{conversation}/participants/{other.id}", json={"role": role})
    return answer.status_code, answer.json().get("code")


async def remove(person: Person, conversation: str, other: Person) -> tuple[int, str | None]:
    """Take somebody out; return the status and the error's code."""
    answer = await person.request("DELETE", f"/api/conversations/{conversation}/participants/{other.id}")
    return answer.status_code, answer.json()["code"] if answer.content else None


async def test_people_are_added_by_id_and_by_address(ada: Person, bob: Person, carol: Person) -> None:
    """Either names a person, whatever the case of the address; the answer is the member as the list shows them."""
    conversation = await ada.make_conversation()
    path = f"/api/conversations/{conversation}/participants"
    by_id = await ada.post(path, {"user_id": bob.id})
    by_address = await ada.post(path, {"email": carol.email.upper(), "role": "viewer"})
    assert (by_id.status_code, by_address.status_code) == (201, 201)
    listed = (await carol.get(path)).json()["items"]
    assert listed[1:] == [by_id.json(), by_address.json()]
    assert [(item["user_id"], item["email"], item["role"]) for item in listed] == [
        (ada.id, ada.email, "owner"),
        (bob.id, bob.email, "member"),
        (carol.id, carol.email, "viewer"),
    ]
    assert (await bob.get(f"/api/conversations/{conversation}")).json()["member_count"] == 3


async def test_who_cannot_be_added(ada: Person, bob: Person, owner: asyncpg.Connection) -> None:
    """Strangers to the server are not found, members conflict, disabled accounts are not found; nothing is written."""
    conversation = await ada.make_conversation()
    path = f"/api/conversations/{conversation}/participants"
    nobody = str(UUID(int=7))
    await owner.execute("update rustygpt.users set status = 'disabled' where id = $1", UUID(bob.id))
    before = await owner.fetchval("select position from rustygpt.event_head")
    for body, status, code in (
        ({"user_id": nobody}, 404, "RGP.NOT_FOUND"),
        ({"email": "nobody@example.org"}, 404, "RGP.NOT_FOUND"),
        ({"user_id": bob.id}, 404, "RGP.NOT_FOUND"),
        ({"user_id": ada.id}, 409, "RGP.CONFLICT"),
    ):
        answer = await ada.post(path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    assert await owner.fetchval("select position from rustygpt.event_head") == before
    assert await members(ada, conversation) == {"Ada": "owner"}


async def test_last_owner_stays(ada: Person, bob: Person) -> None:
    """The last owner can neither leave nor step down (409); with a second one both work; ownership can be handed over."""
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob)
    assert await remove(ada, conversation, ada) == (409, "RGP.CONFLICT")
    assert await set_role(ada, conversation, ada, "member") == (409, "RGP.CONFLICT")
    assert await set_role(ada, conversation, bob, "owner") == (200, None)
    assert await set_role(ada, conversation, ada, "viewer") == (200, None)
    assert await set_role(ada, conversation, ada, "owner") == (403, "RGP.RBAC.FORBIDDEN")
    assert await members(ada, conversation) == {"Ada": "viewer", "Bob": "owner"}
    assert await remove(ada, conversation, ada) == (204, None)
    assert await remove(bob, conversation, bob) == (409, "RGP.CONFLICT")


async def test_two_owners_who_leave_at_once(ada: Person, bob: Person) -> None:
    """Of two owners who leave in the same moment one stays; so it is when each takes the other's ownership."""
    for _ in range(5):
        conversation = await ada.make_conversation()
        await ada.add(conversation, bob, "owner")
        left = await asyncio.gather(remove(ada, conversation, ada), remove(bob, conversation, bob))
        assert sorted(left) == [(204, None), (409, "RGP.CONFLICT")]
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob, "owner")
    taken = await asyncio.gather(set_role(ada, conversation, bob, "viewer"), set_role(bob, conversation, ada, "viewer"))
    assert sorted(status for status, _ in taken) == [200, 403]


async def test_leaving_and_coming_back(ada: Person, bob: Person) -> None:
    """Who left sees nothing; who is added again sees all, counts from now on, and their own stream skips what was said meanwhile."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    async with bob.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        cursor = stream.last_id
        assert await remove(bob, conversation, bob) == (204, None)
        await ada.say(conversation, "Is he gone?")
        for path in (f"/api/conversations/{conversation}", f"/api/conversations/{conversation}/messages"):
            assert (await bob.get(path)).status_code == 404
        assert (await bob.get("/api/conversations")).json()["items"] == []
        assert await remove(ada, conversation, bob) == (404, "RGP.NOT_FOUND")
        await ada.add(conversation, bob, "viewer")
        await ada.say(conversation, "Welcome back")
        await stream.until(lambda r: any(event.type == "thread.new" for event in r.events))
        live = [(event.id, event.type) for event in stream.logged]
    assert (await bob.get(f"/api/conversations/{conversation}")).json()["unread"] == 1
    messages = (await bob.get(f"/api/conversations/{conversation}/messages")).json()["items"]
    assert [message["content"] for message in messages] == ["Welcome back", "Is he gone?"]
    assert [kind for _, kind in live] == ["membership.changed", "membership.changed", "message.created", "thread.new"]
    async with bob.stream(f"/api/stream?last_event_id={cursor}") as stream:
        await stream.until(lambda r: len(r.logged) >= len(live))
        assert [(event.id, event.type) for event in stream.logged] == live


async def test_everybody_hears_who_came_and_went(ada: Person, bob: Person, carol: Person) -> None:
    """membership.changed names the person, the role, what happened, and what it does to the conversation."""
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob)
    async with bob.stream(f"/api/stream/conversations/{conversation}") as stream:
        await stream.until_type("stream.ready")
        await ada.add(conversation, carol, "viewer")
        await set_role(ada, conversation, carol, "admin")
        await remove(carol, conversation, carol)
        await stream.until(lambda r: len(r.logged) == 3)
    told = [event.payload for event in stream.logged]
    assert [(each["user_id"], each["role"], each["action"], each["member_count"]) for each in told] == [
        (carol.id, "viewer", "added", 3),
        (carol.id, "admin", "role_updated", 3),
        (carol.id, "admin", "removed", 2),
    ]
    assert all(each["user"] == {"id": carol.id, "display_name": "Carol"} for each in told)


async def test_twenty_equal_requests_add_once(ada: Person, bob: Person, owner: asyncpg.Connection) -> None:
    """Copies with one key get one answer and one event; without a key all but one conflict."""
    first, second = await ada.make_conversation(), await ada.make_conversation()
    headers = {"Idempotency-Key": "add-bob"}

    async def add(conversation: str, headers: dict[str, str] | None) -> Any:
        return await ada.post(f"/api/conversations/{conversation}/participants", {"user_id": bob.id}, headers=headers)

    answers = await asyncio.gather(*(add(first, headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert (await add(second, headers)).json()["code"] == "RGP.CONFLICT"
    answers = await asyncio.gather(*(add(second, None) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 19]
    assert await owner.fetchval("select count(*) from rustygpt.event_log") == 4
    assert await owner.fetchval("select array_agg(member_count) from rustygpt.conversations") == [2, 2]


async def test_members_come_in_pages(site: Site, ada: Person) -> None:
    """Pages of members add up to all of them, in the order of joining, each once."""
    conversation = await ada.make_conversation()
    for number in range(5):
        async with Person(site.url) as person:
            await ada.add(conversation, await person.register(f"Guest {number}"))
    names: list[str] = []
    cursor = None
    while cursor is not None or not names:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await ada.get(f"/api/conversations/{conversation}/participants", params=query)).json()
        names += [item["display_name"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert names == ["Ada", *(f"Guest {number}" for number in range(5))]
