"""The queue: bounded whoever posts where, fair by person, and everybody waiting is told their place."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from rustygpt.assistant.procedures import claim_generation, read_queue
from rustygpt.database.pool import Database
from tests.assistant.exchange import ask, stop, until, until_done, until_status
from tests.person import Person, StreamReader
from tests.scripted_openai import ScriptedOpenAI
from tests.site import serving
from tests.streaming.bus.pair import Pair, serving_pair, settings_of, until_ready

ONE_AT_A_TIME = {"max_concurrency": 1}


def places(reader: StreamReader, message: str) -> list[int]:
    """The places that a stream told of a reply, in order; one that is told again, as to all who connect, counts once."""
    told = [event.payload for event in reader.events if event.type == "generation.queued"]
    return [place for place, _ in itertools.groupby(each["position"] for each in told if each["message_id"] == message)]


async def queued(owner: asyncpg.Connection) -> int:
    return int(await owner.fetchval("select count(*) from rustygpt.generations where state = 'queued'"))


@pytest.mark.parametrize("assistant", [ONE_AT_A_TIME], indirect=True)
async def test_who_waits_is_told_the_place(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Behind one running reply the next is told place 1, then those behind move up; the frames have no id and are not in the log."""
    conversation = await ada.make_conversation()
    async with ada.stream("/api/stream") as stream, ada.stream(f"/api/stream/conversations/{conversation}") as other:
        first = await ask(ada, conversation, "First")
        call = await upstream.next_call("First")
        second, third = await ask(ada, conversation, "Second"), await ask(ada, conversation, "Third")
        for reader in (stream, other):
            await reader.until(lambda r: (places(r, second), places(r, third)) == ([1], [2]))
        await call.answer("Yes.")
        call = await upstream.next_call("Second")
        for reader in (stream, other):
            await reader.until(lambda r: places(r, third) == [2, 1])
            assert places(reader, first) == []
        event = next(event for event in stream.events if event.type == "generation.queued")
        assert (event.id, event.body["prev"], event.body["conversation_id"]) == (None, None, conversation)
        assert set(event.payload) == {"message_id", "position", "estimated_seconds"}
        upstream.script = lambda call: call.answer("Yes.")
        await call.answer("Yes.")
        await until_done(stream, third)
    async with ada.stream("/api/stream?since=0") as replay:
        await until_done(replay, third)
        assert not [event for event in replay.events if event.type == "generation.queued"]


@pytest.mark.parametrize("assistant", [ONE_AT_A_TIME], indirect=True)
async def test_who_connects_is_told_the_place(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A reader that connects while a question waits is told its place, though nothing moves; one call serves all who connect."""
    conversation = await ada.make_conversation()
    await ask(ada, conversation, "First")
    call = await upstream.next_call("First")
    async with ada.stream("/api/stream") as stream:
        second = await ask(ada, conversation, "Second")
        await stream.until(lambda r: places(r, second))
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(ada.stream("/api/stream")) for _ in range(5)]
        for reader in readers:
            await reader.until(lambda r: places(r, second) == [1])
    upstream.script = lambda call: call.answer("Yes.")
    await call.answer("Yes.")


@pytest.mark.parametrize("assistant", [ONE_AT_A_TIME], indirect=True)
async def test_place_of_a_stopped_question_is_free(ada: Person, upstream: ScriptedOpenAI) -> None:
    """When somebody stops a waiting reply, those behind it move up and are told."""
    conversation = await ada.make_conversation()
    await ask(ada, conversation, "First")
    call = await upstream.next_call("First")
    async with ada.stream("/api/stream") as stream:
        second, third = await ask(ada, conversation, "Second"), await ask(ada, conversation, "Third")
        await stream.until(lambda r: places(r, third) == [2])
        assert (await stop(ada, second))["status"] == "cancelled"
        await stream.until(lambda r: places(r, third) == [2, 1])
    upstream.script = lambda call: call.answer("Yes.")
    await call.answer("Yes.")


@pytest.mark.parametrize("assistant", [{**ONE_AT_A_TIME, "max_queued": 2}], indirect=True)
async def test_full_queue_refuses_and_stores_nothing(ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """One more than may wait is a 503 with Retry-After; no message is there, and the same client_id posts it later."""
    conversation = await ada.make_conversation()
    await ask(ada, conversation, "First")
    call = await upstream.next_call("First")
    replies = [await ask(ada, conversation, f"Waiting {number}") for number in range(2)]
    before = await owner.fetchval("select position from rustygpt.event_head")
    body = {"content": "Too much", "client_id": "mine"}
    answer = await ada.post(f"/api/conversations/{conversation}/messages", body)
    assert (answer.status_code, answer.json()["code"]) == (503, "RGP.UNAVAILABLE")
    assert 1 <= int(answer.headers["Retry-After"]) <= 120
    assert await owner.fetchval("select position from rustygpt.event_head") == before
    assert await owner.fetchval("select count(*) from rustygpt.messages where content = 'Too much'") == 0
    upstream.script = lambda call: call.answer("Yes.")
    await call.answer("Yes.")
    for reply in replies:
        await until_status(ada, reply, "complete")
    again = [await ada.post(f"/api/conversations/{conversation}/messages", body) for _ in range(2)]
    assert [answer.status_code for answer in again] == [201, 201]
    assert again[0].json() == again[1].json()
    await until_status(ada, again[0].json()["generation"]["message_id"], "complete")


@pytest.mark.parametrize("assistant", [{**ONE_AT_A_TIME, "max_queued_per_user": 1}], indirect=True)
async def test_one_person_may_not_fill_the_queue(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """Who has too many waiting gets a 429 with Retry-After; others post."""
    hers, his = await ada.make_conversation(), await bob.make_conversation()
    await ask(ada, hers, "First")
    call = await upstream.next_call("First")
    waiting = await ask(ada, hers, "Second")
    answer = await ada.post(f"/api/conversations/{hers}/messages", {"content": "Third"})
    assert (answer.status_code, answer.json()["code"]) == (429, "RGP.RATE_LIMITED")
    assert 1 <= int(answer.headers["Retry-After"]) <= 120
    reply = await ask(bob, his, "Mine")
    upstream.script = lambda call: call.answer("Yes.")
    await call.answer("Yes.")
    for person, message in ((ada, waiting), (bob, reply)):
        await until_status(person, message, "complete")


@pytest.fixture
async def full_pair(dsn: str, tmp_path: Path, upstream: ScriptedOpenAI) -> AsyncIterator[Pair]:
    """Two applications with one place for a running reply and ten for waiting ones."""
    bounds = {"max_concurrency": 1, "max_queued": 10, "max_queued_per_user": 100}
    async with serving_pair(dsn, tmp_path, {"kind": "postgres"}, upstream, assistant=bounds) as pair:
        yield pair


async def test_bound_holds_on_two_processes(full_pair: Pair, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """Of fifty posts at once on two processes exactly ten wait and the others store nothing."""
    conversation = await full_pair.ada.make_conversation()
    running = await ask(full_pair.ada, conversation, "Running")
    call = await upstream.next_call("Running")
    people = [full_pair.ada, full_pair.ada_at_b] * 25
    answers = await asyncio.gather(
        *(who.post(f"/api/conversations/{conversation}/messages", {"content": f"{n}"}) for n, who in enumerate(people))
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [503] * 40
    assert await queued(owner) == 10
    assert await owner.fetchval("select count(*) from rustygpt.messages where role = 'user'") == 11
    upstream.script = lambda call: call.answer("Yes.")
    await call.answer("Yes.")
    await until_status(full_pair.ada, running, "complete")

    async def is_empty() -> bool:
        return await queued(owner) == 0

    await until(is_empty)


async def test_flood_delays_another_person_by_one_place(
    dsn: str, tmp_path: Path, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """Two processes write one answer each; after twenty questions of Ada's, Bob's one is told place 1 and is asked next."""
    bus, bounds = {"kind": "postgres"}, {"max_concurrency": 1}
    async with AsyncExitStack() as stack:
        sites = [
            await stack.enter_async_context(serving(settings_of(tmp_path / name, bus, upstream, assistant=bounds), dsn))
            for name in "ab"
        ]
        for site in sites:
            await until_ready(site.url)
        ada, bob = await Person(sites[0].url).set_up("Ada"), await Person(sites[1].url).register("Bob")
        hers, his = await ada.make_conversation(), await bob.make_conversation()
        for number in range(20):
            await ask(ada, hers, f"Ada {number}")
        running = [await upstream.next_call("Ada 0"), await upstream.next_call("Ada 1")]
        async with bob.stream("/api/stream") as stream:
            mine = await ask(bob, his, "Bob")
            await stream.until(lambda r: places(r, mine) == [1])
        await running[0].answer("Yes.")
        call = await upstream.next_call()
        assert call.turns[-1][1] == "Bob"
        upstream.script = lambda call: call.answer("Yes.")
        for each in (running[1], call):
            await each.answer("Yes.")
        await until_status(bob, mine, "complete")

        async def is_empty() -> bool:
            return await queued(owner) == 0

        await until(is_empty)
        for person in (ada, bob):
            await person.close()


async def test_places_follow_the_order_of_the_claims(owner: asyncpg.Connection, database: Database) -> None:
    """What is told as the order is, reply by reply, the order in which they are then claimed; without an ended reply no time is told."""
    await seed(owner, [3, 1, 5, 2])
    await claim_generation(database, owner="a", lease_seconds=15, deadline_seconds=600)
    told = await read_queue(database, every_seconds=None)
    assert (len(told.messages), set(told.estimates)) == (10, {None})
    claims = [await claim_generation(database, owner="a", lease_seconds=15, deadline_seconds=600) for _ in range(10)]
    assert [claim.message_id for claim in claims if claim] == told.messages


async def test_queue_is_told_once_a_second(owner: asyncpg.Connection, database: Database) -> None:
    """Of many that would tell the queue at the same time one may; the others hear how long to wait."""
    await seed(owner, [2])
    answers = await asyncio.gather(*(read_queue(database, every_seconds=60) for _ in range(5)))
    assert sorted(len(answer.messages) for answer in answers) == [0, 0, 0, 0, 2]
    assert all(0 < answer.wait_seconds <= 60 for answer in answers if not answer.messages)
    assert len((await read_queue(database, every_seconds=None)).messages) == 2


async def test_estimate_follows_what_the_last_replies_took(owner: asyncpg.Connection, database: Database) -> None:
    """With replies of ten seconds and two running, a place costs five."""
    await seed(owner, [7])
    await owner.execute(
        """update rustygpt.generations set state = 'done', started_at = now() - interval '10 s', finished_at = now()
           where message_id in (select message_id from rustygpt.generations order by queued_at limit 2)"""
    )
    for _ in range(2):
        await claim_generation(database, owner="a", lease_seconds=15, deadline_seconds=600)
    assert (await read_queue(database, every_seconds=None)).estimates == [5, 10, 15]


async def seed(owner: asyncpg.Connection, questions: list[int]) -> None:
    """Let several people ask so many questions each, in turn, with no server running."""
    places = []
    for number, count in enumerate(questions):
        person = await owner.fetchval("select (rustygpt.insert_user($1, 'P', 'x', 'user')).id", f"p{number}@example.org")
        made = "select (conversation ->> 'id')::uuid from rustygpt_api.create_conversation($1, '', false, null, '', 'always', '{}', null)"
        places += [(person, await owner.fetchval(made, person))] * count
    for person, conversation in places[::2] + places[1::2]:
        post = "select rustygpt_api.post_message($1, $2, null, 'Hello?', null, null, null)"
        await owner.execute(post, person, conversation)
