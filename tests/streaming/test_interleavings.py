"""I1–I4: whatever happens between two steps, every reader gets every position once, in commit order, and nothing before its commit."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from tests.person import Person
from tests.streaming.gated_database import Barrier, GatedDatabase
from tests.streaming.random_cuts import PATHS, read_with_cuts

STEPS = ["before open", "after open", "before page", "after page"]
PROCEDURES = {
    "user": ("open_user_stream", "read_log"),
    "newcomer": ("open_user_stream", "read_user_events"),
    "conversation": ("open_conversation_stream", "read_conversation_events"),
}
"""What opens each kind of stream, and what reads its pages."""


@pytest.mark.parametrize("kind", ["user", "newcomer", "conversation"])
@pytest.mark.parametrize("step", STEPS)
async def test_publish_during_each_step_of_connect(carol: Person, gate: GatedDatabase, kind: str, step: str) -> None:
    """What is committed while a reader is between two steps of connecting reaches it once (fault 14)."""
    conversation = await carol.make_conversation(assistant_mode="off")
    path = PATHS["user" if kind == "newcomer" else kind].format(conversation)
    opening, paging = PROCEDURES[kind]
    async with carol.stream(path) as first:
        start = (await first.until_type("stream.ready")).payload["cursor"]
    if kind == "newcomer":  # somewhere since the cursor: then only the database knows what to show
        await carol.make_conversation(assistant_mode="off")
    for number in range(8):  # more than the ring holds, so that a page is read
        await carol.say(conversation, f"early {number}")
    moment, _, which = step.partition(" ")
    hooks = gate.before if moment == "before" else gate.after
    barrier = hooks[opening if which == "open" else paging] = Barrier()
    async with asyncio.TaskGroup() as group:

        async def publish() -> None:
            await barrier.reached()
            hooks.clear()
            for number in range(8):
                await carol.say(conversation, f"late {number}")
            barrier.go_on.set()

        group.create_task(publish())
        async with carol.stream(path, headers={"Last-Event-ID": start}) as reader:
            await reader.until(lambda r: "late 7" in str([e.payload for e in r.logged[-3:]]))
            await reader.until(lambda r: r.logged[-1].type in ("thread.new", "thread.activity"))
    positions = [event.position for event in reader.logged]
    assert positions == list(range(positions[0], positions[-1] + 1)), "16 messages with thread.new each, all once"
    assert len([event for event in reader.logged if event.type == "message.created"]) == 16
    assert str(positions[0] - 1) == start.rpartition("-")[2]


async def test_nothing_is_sent_before_its_commit(carol: Person, gate: GatedDatabase) -> None:
    """I2: while a commit is held back no reader sees its deltas, and afterwards all do."""
    conversation = await carol.make_conversation()
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        barrier = gate.before["append_deltas"] = Barrier()
        posted = await carol.say(conversation, "count to 50")
        await barrier.reached()
        await reader.until(lambda r: len(r.comments) > 3)  # heartbeats go on meanwhile
        assert not [event for event in reader.events if event.type == "message.delta"]
        gate.before.clear()
        barrier.go_on.set()
        await reader.until_type("message.done")
        assert reader.text_of(posted["generation"]["message_id"]).split() == [str(n) for n in range(1, 51)]


async def test_commit_of_unknown_outcome_is_stored_once(
    carol: Person, gate: GatedDatabase, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """When the answers of commits are lost, the repeated calls store nothing twice and readers miss nothing."""
    conversation = await carol.make_conversation()
    gate.lose_answers["append_deltas"] = 3
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        posted = await carol.say(conversation, "count to 400")
        reply = posted["generation"]["message_id"]
        await reader.until(lambda r: r.events[-1].type == "thread.activity" and any(e.type == "message.done" for e in r.events))
        assert reader.text_of(reply).split() == [str(n) for n in range(1, 401)]
    rows = await owner.fetch(
        "select idx from rustygpt.event_log where message_id = $1 and idx is not null order by position", reply
    )
    assert [row["idx"] for row in rows] == list(range(len(rows)))
    assert gate.lose_answers["append_deltas"] == 0


async def test_database_away_for_a_while_loses_nothing(carol: Person, gate: GatedDatabase) -> None:
    """Heartbeats go on, nothing is shown that was not stored, and the reply is whole when the database is back."""
    conversation = await carol.make_conversation()
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")

        async def go_away() -> None:
            gate.is_away = True

        gate.after["append_deltas"] = go_away  # after the first commit, and before anybody could ask for another
        posted = await carol.say(conversation, "count to 20000")
        await reader.until_type("message.delta")
        gate.after.clear()
        seen = len(reader.comments)
        await reader.until(lambda r: len(r.comments) > seen + 3)
        assert (await carol.get("/readyz")).status_code == 503
        assert not [event for event in reader.events if event.type == "message.done"]
        gate.is_away = False
        await reader.until_type("message.done")
        reply = posted["generation"]["message_id"]
        assert reader.text_of(reply) == " ".join(str(n) for n in range(1, 20_001))


async def test_positions_are_dense_and_in_commit_order(
    carol: Person, dave: Person, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """I1: eight writers at once leave dense positions, a true `prev` chain per conversation and times that never fall."""
    conversations = [await carol.make_conversation(assistant_mode=mode) for mode in ("off", "always", "always", "off")]
    for conversation in conversations:
        await carol.add(conversation, dave)
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")

        async def write(person: Person, conversation: str) -> None:
            for number in range(10):
                await person.say(conversation, f"count to {number * 20 + 1}")

        async with asyncio.TaskGroup() as group:
            for conversation in conversations:
                group.create_task(write(carol, conversation))
                group.create_task(write(dave, conversation))
        await reader.until(lambda r: Counter(e.type for e in r.events)["message.done"] == 40)
        last = reader.logged[-1].position
        await reader.until(lambda r: r.logged[-1].type == "thread.activity")
    rows = await owner.fetch("select position, prev, conversation_id, created_at from rustygpt.event_log order by position")
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= last
    chain: dict[object, int] = {}
    for row in rows:
        assert row["prev"] == chain.get(row["conversation_id"], 0)
        chain[row["conversation_id"]] = row["position"]
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)


@pytest.mark.parametrize("seed", range(4))
async def test_reader_that_is_cut_and_resumes_gets_every_event_once(carol: Person, dave: Person, seed: int) -> None:
    """I3: over random cuts and resumes, by header or query, the parts of what a reader got make the log, nothing twice."""
    conversation = await carol.make_conversation(assistant_mode="always")
    await carol.add(conversation, dave)
    await read_with_cuts(carol, dave, conversation, seed)
