"""Posting: roots, replies and depth; dense ordinals under concurrency; a key's answer again; nobody speaks as the assistant."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg

from tests.person import Person

MESSAGE_FIELDS = {
    *(
        "id",
        "conversation_id",
        "root_id",
        "parent_id",
        "ordinal",
        "depth",
        "author",
        "role",
        "content",
        "status",
        "finish_reason",
    ),
    *("usage", "next_idx", "model", "error", "created_at", "edited_at", "deleted_at"),
}


async def tree(person: Person, root: str, **query: str) -> list[dict[str, Any]]:
    """Return a thread's messages by ordinal, at most 200."""
    answer = await person.get(f"/api/threads/{root}/tree", params={"limit": "200", **query})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_root_and_replies(ada: Person, bob: Person) -> None:
    """A root starts a thread at depth 0; a reply stands one deeper than what it answers, at the thread's end."""
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob)
    root = await ada.say(conversation, "Root \U0001f331")
    assert root == {
        "conversation_id": conversation,
        "message_id": root["message_id"],
        "root_id": root["message_id"],
        "parent_id": None,
        "depth": 0,
        "generation": None,
    }
    first = (await bob.post(f"/api/messages/{root['message_id']}/reply", {"content": "First"})).json()
    second = await ada.say(conversation, "Second", parent_id=first["message_id"])
    aside = await bob.say(conversation, "Aside", parent_id=root["message_id"])
    other = (await bob.post(f"/api/threads/{conversation}/root", {"content": "Another thread"})).json()
    assert other["root_id"] == other["message_id"] != root["root_id"]
    messages = await tree(bob, root["root_id"])
    assert [(m["content"], m["ordinal"], m["depth"], m["parent_id"]) for m in messages] == [
        ("Root \U0001f331", 1, 0, None),
        ("First", 2, 1, root["message_id"]),
        ("Second", 3, 2, first["message_id"]),
        ("Aside", 4, 1, aside["parent_id"]),
    ]
    assert second["root_id"] == aside["root_id"] == root["root_id"]
    assert all(set(message) >= MESSAGE_FIELDS for message in messages)
    assert [message["author"]["display_name"] for message in messages] == ["Ada", "Bob", "Ada", "Bob"]
    assert {(m["role"], m["status"], m["next_idx"], m["finish_reason"]) for m in messages} == {("user", "complete", 0, None)}


async def test_message_is_the_same_everywhere(ada: Person) -> None:
    """List, tree, single read and message.created agree on every field."""
    conversation = await ada.make_conversation(assistant_mode="off")
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        await stream.until_type("stream.ready")
        posted = await ada.say(conversation, "line one\r\nline two \u2028 \U0001f469\u200d\U0001f680 \u202e")
        created = (await stream.until_type("message.created")).payload["message"]
    single = (await ada.get(f"/api/messages/{posted['message_id']}")).json()
    cursor = single.pop("stream_cursor")
    listed = (await ada.get(f"/api/conversations/{conversation}/messages")).json()
    assert created == single == listed["items"][0] == (await tree(ada, posted["root_id"]))[0]
    assert created["content"] == "line one\r\nline two \u2028 \U0001f469\u200d\U0001f680 \u202e"
    assert listed["stream_cursor"] == cursor


async def test_reply_follows_its_question(ada: Person) -> None:
    """The assistant's reply is a child of the question, next in order, with what it took to write it."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        posted = await ada.say(conversation, "count to 3")
        await stream.until_type("message.done")
    question, reply = await tree(ada, posted["root_id"])
    assert posted["generation"] == {"message_id": reply["id"], "state": "queued"}
    assert (reply["parent_id"], reply["ordinal"], reply["depth"]) == (question["id"], 2, 1)
    assert (reply["author"], reply["role"], reply["content"], reply["model"]) == (None, "assistant", "1 2 3", "demo")
    assert (reply["status"], reply["finish_reason"], reply["usage"]["completion_tokens"]) == ("complete", "stop", 3)
    chunks = (await ada.get(f"/api/messages/{reply['id']}/chunks")).json()
    assert "".join(chunk["content"] for chunk in chunks["items"]) == "1 2 3"
    assert [chunk["idx"] for chunk in chunks["items"]] == list(range(reply["next_idx"]))
    assert chunks["next_cursor"] is None


async def test_twenty_at_once_get_dense_ordinals(ada: Person, bob: Person, owner: asyncpg.Connection) -> None:
    """Twenty posters in one thread, and twenty that start threads, leave no hole and no double: ordinals, sequence, counters."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    root = (await ada.say(conversation, "Root"))["message_id"]
    people = (ada, bob)
    answers = await asyncio.gather(
        *(people[n % 2].say(conversation, f"Reply {n}", parent_id=root) for n in range(20)),
        *(people[n % 2].say(conversation, f"Thread {n}") for n in range(20)),
    )
    assert len({answer["message_id"] for answer in answers}) == 40
    assert [message["ordinal"] for message in await tree(ada, root)] == list(range(1, 22))
    seqs = await owner.fetchval("select array_agg(seq order by seq) from rustygpt.messages")
    assert seqs == list(range(1, 42))
    thread = await owner.fetchrow("select message_count, last_ordinal from rustygpt.threads where root_id = $1", UUID(root))
    assert tuple(thread) == (21, 21)
    positions = await owner.fetchval("select array_agg(position order by position) from rustygpt.event_log")
    assert positions == list(range(1, len(positions) + 1))


async def test_twenty_equal_posts_are_one(ada: Person, owner: asyncpg.Connection) -> None:
    """Copies with one client_id get one answer, one message and one reply; the header is the same key; another text conflicts."""
    conversation = await ada.make_conversation()
    path = f"/api/conversations/{conversation}/messages"
    body = {"content": "count to 2", "client_id": "tab-1/7"}
    answers = await asyncio.gather(*(ada.post(path, body) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    by_header = await ada.post(path, {"content": "count to 2"}, headers={"Idempotency-Key": "tab-1/7"})
    assert (by_header.status_code, by_header.json()) == (201, answers[0].json())
    by_root = await ada.post(f"/api/threads/{conversation}/root", body)
    assert by_root.json() == answers[0].json()
    for changed in ({"content": "count to 3"}, {"model": "demo"}, {"parent_id": answers[0].json()["message_id"]}):
        refused = await ada.post(path, {**body, **changed})
        assert (changed, refused.status_code, refused.json()["code"]) == (changed, 409, "RGP.CONFLICT")
    counts = "select (select count(*) from rustygpt.messages), (select count(*) from rustygpt.generations)"
    assert tuple(await owner.fetchrow(counts)) == (2, 1)


async def test_different_posts_racing_for_one_key(ada: Person, owner: asyncpg.Connection) -> None:
    """Of different texts that race with one key exactly one is posted; the others conflict."""
    conversation = await ada.make_conversation(assistant_mode="off")
    path = f"/api/conversations/{conversation}/messages"
    answers = await asyncio.gather(*(ada.post(path, {"content": f"{n}", "client_id": "k"}) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 19]
    assert await owner.fetchval("select count(*) from rustygpt.messages") == 1


async def test_refused_post_leaves_its_key_free(ada: Person, bob: Person) -> None:
    """A key that was refused for want of a role serves once the role is there."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob, "viewer")
    path, body = f"/api/conversations/{conversation}/messages", {"content": "Hello", "client_id": "k"}
    assert (await bob.post(path, body)).status_code == 403
    await ada.request("PATCH", f"/api/conversations/{conversation}/participants/{bob.id}", json={"role": "member"})
    assert (await bob.post(path, body)).status_code == 201


async def test_longest_message_and_longest_path(ada: Person, owner: asyncpg.Connection) -> None:
    """200 000 characters of four bytes are kept whole; a thread may be hundreds of levels deep."""
    conversation = await ada.make_conversation(assistant_mode="off")
    text = "\U0001f980" * 200_000
    posted = await ada.say(conversation, text)
    assert (await ada.get(f"/api/messages/{posted['message_id']}")).json()["content"] == text
    parent = (await ada.say(conversation, "0"))["message_id"]
    for _ in range(300):  # the procedure itself, for its speed
        parent = await owner.fetchval(
            "select answer ->> 'message_id' from rustygpt_api.post_message($1, null, $2, 'x', null, null, null)",
            UUID(ada.id),
            UUID(parent),
        )
    assert (await ada.say(conversation, "deep", parent_id=parent))["depth"] == 301
