"""How far somebody has read: the mark never goes back, belongs to its reader, and is told to nobody else."""

import asyncio
import random
from uuid import UUID

import asyncpg
import pytest

from tests.person import Person
from tests.races import connected, until_somebody_waits
from tests.site import Site


async def unread(person: Person, conversation: str) -> tuple[int, list[int]]:
    """Return what the conversation and its threads count as unread for a person, threads by age."""
    item = (await person.get(f"/api/conversations/{conversation}")).json()
    listed = (await person.get("/api/conversations")).json()["items"]
    assert [each["unread"] for each in listed if each["id"] == conversation] == [item["unread"]]
    threads = (await person.get(f"/api/conversations/{conversation}/threads")).json()["items"]
    return item["unread"], [thread["unread"] for thread in sorted(threads, key=lambda thread: thread["created_at"])]


async def test_unread_counts_what_others_said(ada: Person, bob: Person) -> None:
    """What one says oneself is read, and with it what stood before it in that thread; replies of the assistant count too."""
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob)
    first, second = await ada.say(conversation, "One"), await ada.say(conversation, "Two")
    await ada.say(conversation, "One more", parent_id=first["message_id"])
    assert await unread(ada, conversation) == (0, [0, 0])
    assert await unread(bob, conversation) == (3, [2, 1])
    await bob.say(conversation, "Aha", parent_id=first["message_id"])
    assert await unread(bob, conversation) == (1, [0, 1])
    assert await unread(ada, conversation) == (1, [1, 0])
    async with bob.stream(f"/api/stream/conversations/{conversation}") as stream:
        await bob.say(conversation, "@assistant count to 2", parent_id=second["message_id"])
        await stream.until_type("message.done")
    assert await unread(bob, conversation) == (1, [0, 1])
    assert await unread(ada, conversation) == (3, [1, 2])


async def test_mark_moves_forward_only(ada: Person, bob: Person) -> None:
    """By ordinal or by message; past the end is the end; an older mark changes nothing and is told to nobody."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    root = (await ada.say(conversation, "1"))["message_id"]
    third = [await ada.say(conversation, str(n), parent_id=root) for n in (2, 3, 4)][1]["message_id"]
    path = f"/api/threads/{root}/read"
    async with bob.stream("/api/stream") as stream, ada.stream("/api/stream") as others:
        await stream.until_type("stream.ready")
        await others.until_type("stream.ready")
        for body, mark in (
            ({"ordinal": 0}, 0),
            ({"ordinal": 2}, 2),
            ({"ordinal": 1}, 2),
            ({"message_id": root}, 2),
            ({"message_id": third}, 3),
            ({"ordinal": 3}, 3),
            ({"ordinal": 2_147_483_647}, 4),
            ({"ordinal": 0}, 4),
        ):
            answer = await bob.post(path, body)
            assert (answer.status_code, answer.json()) == (200, {"root_id": root, "unread": 4 - mark, "read_ordinal": mark}), body
        await ada.say(conversation, "5", parent_id=root)
        for reader in (stream, others):
            await reader.until_type("message.created")
    told = [event.payload for event in stream.events if event.type == "unread.update"]
    assert told == [{"root_id": root, "unread": 4 - mark, "read_ordinal": mark} for mark in (2, 3, 4)]
    assert [event.type for event in others.logged] == ["message.created", "thread.activity"]
    assert await unread(bob, conversation) == (1, [1])


async def test_twenty_marks_at_once(ada: Person, bob: Person) -> None:
    """Marks that race end at the highest, and what is told never goes back."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    root = (await ada.say(conversation, "1"))["message_id"]
    for number in range(2, 21):
        await ada.say(conversation, str(number), parent_id=root)
    async with bob.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
        await asyncio.gather(*(bob.post(f"/api/threads/{root}/read", {"ordinal": 1 + n * 7 % 20}) for n in range(20)))
        await stream.until(lambda r: any(e.type == "unread.update" and e.payload["unread"] == 0 for e in r.events))
    marks = [event.payload["read_ordinal"] for event in stream.events if event.type == "unread.update"]
    assert marks == sorted(set(marks))
    assert await unread(bob, conversation) == (0, [0])


async def test_mark_that_races_with_a_post(ada: Person, bob: Person, owner: asyncpg.Connection, dsn: str) -> None:
    """What is told after a message counts that message: the event's unread is true at the event's position."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    root = (await ada.say(conversation, "1"))["message_id"]
    async with bob.stream("/api/stream") as stream, connected(dsn) as poster:
        await stream.until_type("stream.ready")
        async with asyncio.TaskGroup() as group, poster.transaction():
            await poster.execute(
                "select rustygpt_api.post_message($1, null, $2, '2', null, null, null)", UUID(ada.id), UUID(root)
            )
            marking = group.create_task(bob.post(f"/api/threads/{root}/read", {"ordinal": 1}))
            await until_somebody_waits(owner)
        told = await stream.until_type("unread.update")
        posted = await stream.until_type("message.created")
    before = told.position < posted.position
    expected = {"root_id": root, "unread": 0 if before else 1, "read_ordinal": 1}
    assert (told.payload, marking.result().json()) == (expected, expected)


@pytest.mark.parametrize("by", ["ordinal", "message_id"])
async def test_mark_that_races_with_removal(
    site: Site, ada: Person, bob: Person, owner: asyncpg.Connection, dsn: str, by: str
) -> None:
    """After the event that removes a member nothing of the conversation reaches them, their own mark included."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    root = (await ada.say(conversation, "1"))["message_id"]
    async with connected(dsn) as remover, asyncio.TaskGroup() as group, remover.transaction():
        position = await remover.fetchval(
            "select rustygpt_api.remove_participant($1, $2, $3)", UUID(ada.id), UUID(conversation), UUID(bob.id)
        )
        marking = group.create_task(bob.post(f"/api/threads/{root}/read", {by: 1 if by == "ordinal" else root}))
        await until_somebody_waits(owner)
    assert marking.result().status_code == 404
    late = "select count(*) from rustygpt.event_log where audience_user_id = $1 and position > $2"
    assert await owner.fetchval(late, UUID(bob.id), position) == 0


async def test_writing_in_a_thread_tells_the_own_tabs(ada: Person, bob: Person) -> None:
    """Who answers has read what stood before: told to that user alone, true at its position, and only where something was unread."""
    conversation = await ada.make_conversation(assistant_mode="mention")
    await ada.add(conversation, bob)
    root = (await ada.say(conversation, "1"))["message_id"]
    await ada.say(conversation, "2", parent_id=root)
    async with bob.stream("/api/stream") as stream, ada.stream("/api/stream") as others:
        await stream.until_type("stream.ready")
        await others.until_type("stream.ready")
        await bob.say(conversation, "@assistant count to 2", parent_id=root)
        await bob.say(conversation, "a thread of my own")
        await stream.until(
            lambda r: any(e.type == "message.done" for e in r.events) and any(e.type == "thread.new" for e in r.events)
        )
        await others.until(lambda r: any(e.type == "thread.new" for e in r.events))
    told = [event for event in stream.logged if event.type == "unread.update"]
    assert [event.payload for event in told] == [{"root_id": root, "unread": 0, "read_ordinal": 3}]
    created = [event.position for event in stream.logged if event.type == "message.created"]
    assert created[0] < told[0].position < created[1], "between what was said and the reply, which is unread"
    assert not any(event.type == "unread.update" for event in others.logged)
    assert await unread(bob, conversation) == (1, [1, 0])


async def test_count_agrees_with_the_threads(ada: Person, bob: Person, owner: asyncpg.Connection) -> None:
    """Whatever is said, read, joined and left, at once: a conversation's count is the sum over its threads, for everybody."""
    rng = random.Random(7)
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    roots = [(await ada.say(conversation, "a thread"))["message_id"] for _ in range(3)]

    async def act(person: Person) -> None:
        root = rng.choice(roots)
        match rng.randrange(3):
            case 0:
                await person.say(conversation, "something", parent_id=root)
            case 1:
                await person.post(f"/api/threads/{root}/read", {"ordinal": rng.randint(1, 20)})
            case 2:
                roots.append((await person.say(conversation, "another thread"))["message_id"])

    for number in range(6):
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(act(ada))
                group.create_task(act(bob))
        if number == 3:
            path = f"/api/conversations/{conversation}/participants/{bob.id}"
            assert (await ada.request("DELETE", path)).status_code == 204
            await ada.say(conversation, "not for Bob", parent_id=roots[0])
            await ada.add(conversation, bob)
            assert await unread(bob, conversation) == (0, [0] * len(roots))
        if number == 4:
            await owner.execute("update rustygpt.members set read_total = null")  # as before the count was kept
        for person in (ada, bob):
            total, threads = await unread(person, conversation)
            assert total == sum(threads)


async def test_list_looks_at_no_thread(ada: Person, bob: Person, dsn: str) -> None:
    """The list of conversations does not grow slower with the threads in them: it is answered while nobody may read threads."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    await ada.say(conversation, "1")
    async with connected(dsn) as other, other.transaction():
        await other.execute("lock table rustygpt.threads, rustygpt.read_marks in access exclusive mode")
        listed = (await bob.get("/api/conversations")).json()["items"]
    assert [item["unread"] for item in listed] == [1]
