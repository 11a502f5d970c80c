"""Conversations over HTTP: create, list, read, change, archive, and page through many while others write."""

import asyncio
from typing import Any

import asyncpg

from tests.person import Person

FIELDS = {
    *("id", "title", "role", "is_group", "member_count", "created_at", "last_activity_at", "unread", "model"),
    *("system_prompt", "assistant_mode"),
}


async def _get(person: Person, conversation: str) -> dict[str, Any]:
    answer = await person.get(f"/api/conversations/{conversation}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_created_conversation_is_the_same_everywhere(ada: Person) -> None:
    """What POST answers is what GET and the list answer, with defaults where nothing was said."""
    answer = await ada.post("/api/conversations", {"title": "  Gardening \U0001f331 "})
    assert answer.status_code == 201
    created = answer.json()
    assert set(created) >= FIELDS
    assert (created["title"], created["role"], created["member_count"], created["unread"]) == (
        "Gardening \U0001f331",
        "owner",
        1,
        0,
    )
    assert (created["model"], created["system_prompt"], created["is_group"], created["assistant_mode"]) == (
        None,
        "",
        False,
        "always",
    )
    assert await _get(ada, created["id"]) == created
    listed = (await ada.get("/api/conversations")).json()
    assert listed["items"] == [created]
    assert listed["next_cursor"] is None
    assert listed["stream_cursor"].partition("-")[2] == "1"


async def test_everything_can_be_chosen(ada: Person) -> None:
    """Every field of the body is kept and answered; the title may be empty, but must be there."""
    body = {"title": "Plans", "is_group": True, "model": "demo", "system_prompt": "Be brief.\nAlways.", "assistant_mode": "off"}
    created = (await ada.post("/api/conversations", body)).json()
    assert {key: created[key] for key in body} == body
    assert (await ada.post("/api/conversations", {"title": ""})).json()["title"] == ""
    refused = await ada.post("/api/conversations", {})
    assert (refused.status_code, refused.json()["errors"]) == (422, [{"field": "title", "message": "is required"}])


async def test_unknown_model_is_refused(ada: Person) -> None:
    """A typo in a model's name is told when it is made, not by every reply that fails because of it."""
    conversation = await ada.make_conversation()
    for method, path, body in (
        ("POST", "/api/conversations", {"title": "x", "model": "gpt-99"}),
        ("PATCH", f"/api/conversations/{conversation}", {"model": "gpt-99"}),
        ("POST", f"/api/conversations/{conversation}/messages", {"content": "Hello", "model": "gpt-99"}),
    ):
        answer = await ada.request(method, path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "model")
    assert (await ada.get(f"/api/conversations/{conversation}/messages")).json()["items"] == []


async def test_change_touches_what_it_names(ada: Person, bob: Person) -> None:
    """PATCH changes the fields it names, tells members exactly those, and leaves the rest."""
    conversation = await ada.make_conversation(title="Old", model="demo", system_prompt="Be brief.")
    await ada.add(conversation, bob)
    before = await _get(bob, conversation)
    async with bob.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        answer = await ada.request("PATCH", f"/api/conversations/{conversation}", json={"title": "New", "model": None})
        told = await stream.until_type("conversation.updated")
    assert answer.status_code == 200
    assert told.payload == {"title": "New", "model": None}
    assert await _get(bob, conversation) == {**before, "title": "New", "model": None}
    assert answer.json() == await _get(ada, conversation)


async def test_archived_conversation_is_gone_for_everybody(ada: Person, bob: Person, owner: asyncpg.Connection) -> None:
    """DELETE hides a conversation from lists and answers 404 on every route, tells the members, and deletes nothing."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob, "admin")
    posted = await ada.say(conversation, "Keep me")
    path = f"/api/conversations/{conversation}"
    assert (await bob.request("DELETE", path)).status_code == 403  # archiving is for owners
    async with bob.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        answer = await ada.request("DELETE", path)
        told = await stream.until_type("conversation.updated")
    assert (answer.status_code, answer.content) == (204, b"")
    assert set(told.payload) == {"archived_at"}
    for person in (ada, bob):
        assert (await person.get("/api/conversations")).json()["items"] == []
        for method, where, body in (
            ("GET", path, None),
            ("PATCH", path, {"title": "x"}),
            ("DELETE", path, None),
            ("GET", f"{path}/messages", None),
            ("POST", f"{path}/messages", {"content": "x"}),
            ("GET", f"{path}/participants", None),
            ("DELETE", f"{path}/participants/{person.id}", None),
            ("GET", f"/api/messages/{posted['message_id']}", None),
            ("POST", f"/api/messages/{posted['message_id']}/reply", {"content": "x"}),
            ("GET", f"/api/threads/{posted['root_id']}/tree", None),
            ("POST", f"/api/threads/{posted['root_id']}/read", {"ordinal": 1}),
            ("GET", f"/api/stream/conversations/{conversation}", None),
        ):
            assert (await person.request(method, where, json=body)).status_code == 404, (method, where)
    assert await owner.fetchval("select count(*) from rustygpt.messages") == 1


async def test_twenty_equal_requests_make_one_conversation(ada: Person, owner: asyncpg.Connection) -> None:
    """Copies of a request with one key, all at once, get the same answer and write one row; another request with it is refused."""
    headers = {"Idempotency-Key": "a-key-of-the-client"}
    answers = await asyncio.gather(*(ada.post("/api/conversations", {"title": "Once"}, headers=headers) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    other = await ada.post("/api/conversations", {"title": "Twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "RGP.CONFLICT")
    counts = await owner.fetchrow(
        "select (select count(*) from rustygpt.conversations), (select count(*) from rustygpt.event_log)"
    )
    assert tuple(counts) == (1, 1)


async def test_client_id_is_a_key_too(ada: Person, bob: Person) -> None:
    """The body's client_id serves where a client cannot set headers: for conversations and participants as for messages."""
    first, second = [await ada.post("/api/conversations", {"title": "Once", "client_id": "c-1"}) for _ in range(2)]
    assert (first.status_code, second.json()) == (201, first.json())
    path = f"/api/conversations/{first.json()['id']}/participants"
    first, second = [await ada.post(path, {"email": bob.email, "client_id": "p-1"}) for _ in range(2)]
    assert (first.status_code, second.status_code, second.json()) == (201, 201, first.json())
    differing = await ada.post("/api/conversations", {"title": "Once", "client_id": "c-1"}, headers={"Idempotency-Key": "c-2"})
    assert (differing.status_code, differing.json()["code"]) == (400, "RGP.BAD_REQUEST")


async def test_keys_are_each_persons_own(ada: Person, bob: Person) -> None:
    """Two people who happen to use the same key do not get each other's answers."""
    headers = {"Idempotency-Key": "1"}
    hers = await ada.post("/api/conversations", {"title": "Hers"}, headers=headers)
    his = await bob.post("/api/conversations", {"title": "His"}, headers=headers)
    assert (hers.json()["title"], his.status_code, his.json()["title"]) == ("Hers", 201, "His")


async def test_paging_while_others_post(ada: Person, bob: Person) -> None:
    """Paging by last activity shows nothing twice; what moves to the front meanwhile is told by events after the first page's cursor."""
    conversations = [await ada.make_conversation(title=f"{number}", assistant_mode="off") for number in range(12)]
    for conversation in conversations[::3]:
        await ada.add(conversation, bob)
    seen: list[str] = []
    cursor, since = None, None
    posters = iter(conversations[::3])
    while True:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await ada.get("/api/conversations", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor, since = page["next_cursor"], since or page["stream_cursor"]
        if cursor is None:
            break
        for _ in range(2):
            if moved := next(posters, None):
                await bob.say(moved, "I am in front now")
    assert len(seen) == len(set(seen))
    async with ada.stream(f"/api/stream?last_event_id={since}") as stream:
        await stream.until(lambda r: len([e for e in r.events if e.type == "message.created"]) == 4)
        told = {event.body["conversation_id"] for event in stream.logged}
    assert set(seen) | told == set(conversations)
    ordered = (await ada.get("/api/conversations", params={"limit": "200"})).json()["items"]
    assert ordered == sorted(ordered, key=lambda item: (item["last_activity_at"], item["id"]), reverse=True)


async def test_pages_add_up(ada: Person) -> None:
    """Whatever the page size, the pages together are the list, in its order, and the last page has no cursor."""
    for number in range(5):
        await ada.make_conversation(title=f"{number}")
    whole = [item["title"] for item in (await ada.get("/api/conversations")).json()["items"]]
    assert whole == ["4", "3", "2", "1", "0"]
    for limit in (1, 4, 5, 200):
        pages, cursor = [], None
        while cursor is not None or not pages:
            query = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
            page = (await ada.get("/api/conversations", params=query)).json()
            pages.append([item["title"] for item in page["items"]])
            cursor = page["next_cursor"]
        assert [title for page in pages for title in page] == whole
        assert all(len(page) == limit for page in pages[:-1])
        assert 0 < len(pages[-1]) <= limit
