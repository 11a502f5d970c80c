"""The runner: one generation is one process's, users take turns, what dead processes left is closed, memory stays bounded."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from rustygpt.assistant.procedures import claim_generation, finish_generation, reap_generations, renew_leases
from rustygpt.database.pool import Database
from rustygpt.streaming.procedures import append_deltas
from tests.assistant.conftest import scripted_settings
from tests.assistant.exchange import DEADLINE_SECONDS, ask, read, until, until_done, until_status
from tests.person import Person
from tests.races import connected, until_somebody_waits
from tests.scripted_openai import Call, ScriptedOpenAI
from tests.site import Site, serving

LEASE: dict[str, Any] = {"lease_seconds": 15.0, "deadline_seconds": 600.0}


async def _seed(owner: asyncpg.Connection, users: int, replies: int) -> list[UUID]:
    """Let *users* people ask *replies* questions each, one after the other, with no server running; return the people."""
    people = [
        await owner.fetchval(
            "select (rustygpt.insert_user($1, $2, 'x', 'user')).id", f"person{number}@example.org", f"Person {number}"
        )
        for number in range(users)
    ]
    for person in people:
        conversation = await owner.fetchval(
            "select conversation ->> 'id' from rustygpt_api.create_conversation($1, '', false, null, '', 'always', '{}', null)",
            person,
        )
        for number in range(replies):
            await owner.execute(
                "select rustygpt_api.post_message($1, $2, null, $3, null, null, null)",
                person,
                UUID(conversation),
                f"Question {number}",
            )
    return people


async def test_many_runners_never_claim_one_generation(owner: asyncpg.Connection, database: Database) -> None:
    """Eight owners that claim at once share sixty generations without a duplicate and without one left over."""
    await _seed(owner, users=3, replies=20)
    everybody_has_one = asyncio.Barrier(8)

    async def claim_all(name: str) -> list[UUID]:
        claimed: list[UUID] = []
        while (claim := await claim_generation(database, owner=name, **LEASE)) is not None:
            assert claim.fence == 1
            claimed.append(claim.message_id)
            if len(claimed) == 1:
                await everybody_has_one.wait()
        return claimed

    async with asyncio.timeout(DEADLINE_SECONDS):
        shares = await asyncio.gather(*(claim_all(f"owner-{number}") for number in range(8)))
    claimed = [message for share in shares for message in share]
    assert (len(claimed), len(set(claimed))) == (60, 60)
    assert all(shares)
    rows = await owner.fetch("select state, fence, count(distinct owner) as owners from rustygpt.generations group by 1, 2")
    assert [(row["state"], row["fence"]) for row in rows] == [("running", 1)]


async def test_users_take_turns(owner: asyncpg.Connection, database: Database) -> None:
    """The next claim is for whoever has the fewest running, the oldest question first; a long queue of one holds nobody up."""
    people = await _seed(owner, users=3, replies=4)
    claims = [await claim_generation(database, owner="a", **LEASE) for _ in range(12)]
    turns = [people.index(claim.requested_by) for claim in claims if claim]
    assert turns == [0, 1, 2] * 4


@pytest.mark.parametrize("assistant", [{"max_concurrency": 2}], indirect=True)
async def test_one_question_passes_a_long_queue(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """With two places and six questions of Ada's, Bob's one is asked as soon as a place is free."""
    hers, his = await ada.make_conversation(), await bob.make_conversation()
    for number in range(6):
        await ask(ada, hers, f"Ada {number}")
    first, second = await upstream.next_call("Ada 0"), await upstream.next_call("Ada 1")
    await ask(bob, his, "Bob 0")
    await first.answer("Yes.")
    third = await upstream.next_call()
    assert third.turns[-1][1] == "Bob 0"
    upstream.script = lambda call: call.answer("Yes.")
    await second.answer("Yes.")
    await third.answer("Yes.")


async def test_zombie_is_refused(owner: asyncpg.Connection, database: Database) -> None:
    """An owner that lost its generation can neither append nor finish nor renew; the message has one last word."""
    await _seed(owner, users=1, replies=1)
    claim = await claim_generation(database, owner="zombie", **LEASE)
    assert claim is not None
    chunk = {"messages": [claim.message_id], "fences": [claim.fence], "lease_seconds": 15.0}
    (row,) = await append_deltas(database, indexes=[0], contents=["Once"], **chunk)
    assert row.status == "appended"
    (again,) = await append_deltas(database, indexes=[0], contents=["Once"], **chunk)
    assert (again.status, again.position) == ("duplicate", row.position)

    await owner.execute("update rustygpt.generations set lease_until = clock_timestamp() - interval '1 second'")
    reaped = await asyncio.gather(*(reap_generations(database, running=[], is_alone=False, limit=10) for _ in range(4)))
    assert [each.message_id for share in reaped for each in share] == [claim.message_id]
    (late,) = await append_deltas(database, indexes=[1], contents=[" upon"], **chunk)
    assert (late.status, late.position) == ("refused", None)
    (lease,) = await renew_leases(database, messages=[claim.message_id], fences=[claim.fence], lease_seconds=15.0)
    assert lease.is_lost
    last_word = {"prompt_tokens": None, "completion_tokens": None, "error_code": None, "error_message": None}
    finished = await finish_generation(database, message=claim.message_id, fence=claim.fence, state="done", **last_word)
    assert finished.status == "refused"
    assert await owner.fetchval("select count(*) from rustygpt.event_log where type = 'message.done'") == 1
    assert await owner.fetchval("select content from rustygpt.messages where role = 'assistant'") == "Once"


async def test_finishing_twice_is_once(owner: asyncpg.Connection, database: Database) -> None:
    """A last word whose outcome was unknown may be written again: the same answer, one event."""
    await _seed(owner, users=1, replies=1)
    claim = await claim_generation(database, owner="a", **LEASE)
    assert claim is not None
    last_word: dict[str, Any] = {"prompt_tokens": 1, "completion_tokens": 0, "error_code": None, "error_message": None}
    twice = [
        await finish_generation(database, message=claim.message_id, fence=claim.fence, state="done", **last_word)
        for _ in range(2)
    ]
    assert [each.status for each in twice] == ["finished", "finished"]
    assert twice[0].position == twice[1].position
    assert await owner.fetchval("select count(*) from rustygpt.event_log where type = 'message.done'") == 1


async def test_live_leases_are_left_alone(owner: asyncpg.Connection, database: Database) -> None:
    """A reaper that is not alone closes only what ran out; one that is alone closes all but its own."""
    await _seed(owner, users=1, replies=3)
    claims = [await claim_generation(database, owner=name, **LEASE) for name in "abc"]
    first, second, third = [claim.message_id for claim in claims if claim]
    await owner.execute("update rustygpt.generations set lease_until = now() - interval '1 s' where message_id = $1", first)
    reaped = await reap_generations(database, running=[], is_alone=False, limit=10)
    assert [each.message_id for each in reaped] == [first]
    reaped = await reap_generations(database, running=[third], is_alone=True, limit=10)
    assert [each.message_id for each in reaped] == [second]
    assert await owner.fetchval("select state from rustygpt.generations where message_id = $1", third) == "running"


async def test_reaping_waits_for_nobody_in_a_circle(owner: asyncpg.Connection, database: Database, dsn: str) -> None:
    """Closing several conversations' replies takes every row's lock before the log's, as posting does: no deadlock."""
    await _seed(owner, users=2, replies=1)
    for name in "ab":
        assert await claim_generation(database, owner=name, **LEASE)
    last = await owner.fetchval("select conversation_id from rustygpt.generations order by message_id desc limit 1")
    async with connected(dsn) as poster:
        await poster.execute("set deadlock_timeout = '50 ms'")  # of the two in a circle, posting would be the one to fail

        async with asyncio.TaskGroup() as group, poster.transaction():
            await poster.execute("select from rustygpt.conversations where id = $1 for no key update", last)
            reaping = group.create_task(reap_generations(database, running=[], is_alone=True, limit=10))
            await until_somebody_waits(owner)
            await poster.execute("select rustygpt.append_event($1, null, 'conversation.updated', null, null, '{}')", last)
    assert len(reaping.result()) == 2


async def test_boot_closes_what_a_killed_process_left(
    dsn: str, data_dir: Path, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """At the start every orphaned reply ends as interrupted with its partial text and one last word; what was queued is answered."""
    settings = scripted_settings(data_dir, upstream)
    async with serving(settings, dsn) as site, Person(site.url) as ada:
        await ada.set_up("Ada")
        conversation = await ada.make_conversation()
        reply = await ask(ada, conversation, "Hello?")
        call = await upstream.next_call()
        await call.say("Once upon", " a time")
        await until_status(ada, reply, "streaming")
        await call.finish()
        before = await until_status(ada, reply, "complete")
        cookies = ada.client.cookies
    # The same rows as a `kill -9` leaves them: the chunks are there, the last word is not.
    await _forget_last_word(owner, UUID(reply))
    queued = await owner.fetchval(
        "select answer -> 'generation' ->> 'message_id' from rustygpt_api.post_message($1, $2, null, 'Still?', null, null, null)",
        UUID(ada.id),
        UUID(conversation),
    )
    upstream.script = lambda call: call.answer("Yes.")
    async with serving(settings, dsn) as site, Person(site.url) as again:
        again.client.cookies = cookies
        message = await read(again, reply)
        async with again.stream(f"/api/stream/conversations/{conversation}?last_event_id={before['stream_cursor']}") as stream:
            done, error = await until_done(stream, reply)
            await until_done(stream, queued)
        assert (await until_status(again, queued, "complete"))["content"] == "Yes."
    assert (message["status"], message["finish_reason"], message["content"]) == ("interrupted", "error", "Once upon a time")
    assert message["error"]["code"] == error[1]["code"] == "generation_interrupted"
    assert (done[1]["finish_reason"], done[1]["chunks"]) == ("error", message["next_idx"])
    ends = "select count(*) from rustygpt.event_log where type = 'message.done' and message_id = $1"
    assert await owner.fetchval(ends, UUID(reply)) == 1


async def _forget_last_word(owner: asyncpg.Connection, reply: UUID) -> None:
    async with owner.transaction():
        await owner.execute("delete from rustygpt.event_log where message_id = $1 and type in ('message.done', 'error')", reply)
        await owner.execute("update rustygpt.messages set content = '' where id = $1", reply)
        await owner.execute(
            """update rustygpt.generations set state = 'running', kept_idx = 0, owner = 'a process that was killed', finished_at = null,
               prompt_tokens = null, completion_tokens = null, lease_until = clock_timestamp() + interval '1 hour'
               where message_id = $1""",
            reply,
        )


async def test_shutdown_gives_grace_then_closes(
    dsn: str, data_dir: Path, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """A reply that ends within the grace is complete; one that does not ends as interrupted with its text; a queued one waits for the next start."""
    settings = scripted_settings(data_dir, upstream, max_concurrency=2, shutdown_grace_seconds=3)
    async with serving(settings, dsn) as site:
        ada = await Person(site.url).set_up("Ada")
        conversation = await ada.make_conversation()
        replies = [await ask(ada, conversation, f"Question {number}") for number in range(3)]
        quick, slow = await upstream.next_call("Question 0"), await upstream.next_call("Question 1")
        await slow.say("Once upon")
        await until_status(ada, replies[1], "streaming")
        await ada.close()
        site.application.begin_drain()
        await quick.answer("Yes.")
    await slow.until_gone()
    rows = await owner.fetch(
        "select g.state, g.error_code, m.content from rustygpt.generations g join rustygpt.messages m on m.id = g.message_id order by m.seq"
    )
    assert [tuple(row) for row in rows] == [
        ("done", None, "Yes."),
        ("interrupted", "generation_interrupted", "Once upon"),
        ("queued", None, ""),
    ]
    assert len(upstream.calls) == 2
    assert await owner.fetchval("select count(*) from rustygpt.event_log where type = 'message.done'") == 2


async def test_boot_closes_more_than_one_batch(
    dsn: str, data_dir: Path, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """However many replies a killed process left, none is still open when the first request is answered."""
    await _seed(owner, users=2, replies=120)
    await owner.execute("update rustygpt.generations set state = 'running', owner = 'killed', fence = 1, lease_until = now()")
    async with serving(scripted_settings(data_dir, upstream), dsn):
        states = await owner.fetch("select state, count(*) as count from rustygpt.generations group by state")
        assert [(row["state"], row["count"]) for row in states] == [("interrupted", 240)]


@pytest.mark.parametrize("assistant", [{"max_reply_bytes": 33_554_432, "sse": {"flush_ms": 0}}], indirect=True)
async def test_model_faster_than_the_database_waits(
    site: Site, ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection, dsn: str
) -> None:
    """While nothing can be committed, only the outbox's 256 KiB and the sockets' buffers are filled; then all of it arrives."""
    size, piece = 4_194_304, "0123456789abcdef" * 512
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Tell me everything.")
    call = await upstream.next_call()
    await call.say("Now: ")
    await until_status(ada, reply, "streaming")

    async def pour() -> None:
        for _ in range(size // len(piece)):
            await call.say(piece)
        await call.finish()

    async with connected(dsn) as blocker, asyncio.TaskGroup() as group:
        async with blocker.transaction():
            await blocker.execute("select from rustygpt.event_head for update")
            pouring = group.create_task(pour())
            await _until_nothing_moves(site, UUID(reply), call)
            held = call.written_bytes
            assert not pouring.done()
        await pouring
    assert held < 1_500_000, f"{held} bytes were taken from the model while none could be stored"

    async def is_over() -> bool:
        return bool(await owner.fetchval("select count(*) from rustygpt.generations where finished_at is not null"))

    await until(is_over)
    message = await read(ada, reply)
    assert (message["status"], len(message["content"])) == ("complete", len("Now: ") + size)
    assert message["content"] == "Now: " + piece * (size // len(piece))


async def _until_nothing_moves(site: Site, reply: UUID, call: Call) -> None:
    """Wait until the outbox is full, so that nobody reads the provider's answer, and the upstream's socket takes no more."""
    outbox = site.application._parts.event_log._replies[reply].outbox

    async def is_stuck() -> bool:
        return outbox._pending_bytes > outbox._max_bytes and call.is_blocked

    await until(is_stuck)
