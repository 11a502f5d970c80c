"""Pruning: what is old goes in batches, what is still needed stays, and who asks for what went is told."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from rustygpt.database.pool import Database
from rustygpt.streaming.procedures import prune_events, stream_head
from tests.person import Person
from tests.site import serving, settings_for
from tests.streaming.gated_database import Barrier, GatedDatabase
from tests.streaming.random_cuts import PATHS

HOUR = 3_600.0


async def _age(owner: "asyncpg.Connection[asyncpg.Record]", below: int) -> None:
    """Make the events below a position two days old."""
    await owner.execute("update rustygpt.event_log set created_at = created_at - interval '2 days' where position < $1", below)


async def test_old_events_go_and_cursors_before_them_get_a_gap(
    ada: Person, database: Database, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Only events beyond the retention go, positions stay dense, messages stay whole, and a cursor from before is a gap."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as reader:
        await reader.until_type("stream.ready")
        reply = (await ada.say(conversation, "count to 30"))["generation"]["message_id"]
        await reader.until(lambda r: any(e.type == "message.done" for e in r.events) and r.events[-1].type == "thread.activity")
    done = next(event for event in reader.logged if event.type == "message.done")
    await _age(owner, done.position)
    deleted = 0
    while batch := await prune_events(database, retention_seconds=24 * HOUR, keep=None, limit=2):
        assert batch <= 2
        deleted += batch
    assert deleted == done.position - 1
    assert (await stream_head(database)).first_position == done.position
    kept = [row["position"] for row in await owner.fetch("select position from rustygpt.event_log order by position")]
    assert kept == list(range(done.position, kept[-1] + 1))
    path = f"/api/stream/conversations/{conversation}"
    async with ada.stream(path, headers={"Last-Event-ID": reader.logged[1].id or ""}) as again:
        gap = await again.until_type("stream.gap")
        assert gap.payload["reason"] == "history_pruned"
        message = (await ada.get(f"/api/messages/{reply}")).json()
        assert message["content"] == " ".join(str(n) for n in range(1, 31))
    just_before = f"{(done.id or '').partition('-')[0]}-{done.position - 1}"
    async with ada.stream(path, headers={"Last-Event-ID": just_before}) as again:
        await again.until(lambda r: any(e.type == "message.done" for e in r.events))


async def test_text_of_a_reply_under_way_stays(
    dsn: str, data_dir: Path, database: Database, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """However old, the deltas of a reply that is not finished are kept: they are its only copy."""
    async with serving(settings_for(data_dir), dsn) as site, Person(site.url) as ada:
        await ada.set_up("Ada")
        conversation = await ada.make_conversation(assistant_mode="always")
        async with ada.stream("/api/stream") as reader:
            await reader.until_type("stream.ready")
            reply = (await ada.say(conversation, "count to 10"))["generation"]["message_id"]
            await reader.until_type("message.done")
    # No server runs any more, which would close the reply that is made to look unfinished.
    first = next(event.position for event in reader.logged if event.type == "message.delta")
    await _age(owner, 1_000_000)
    await owner.execute("update rustygpt.event_head set last_at = last_at - interval '2 days'")
    await owner.execute(
        "update rustygpt.generations set state = 'running', kept_idx = 0, lease_until = now() + interval '1 h' where message_id = $1",
        reply,
    )
    while await prune_events(database, retention_seconds=24 * HOUR, keep=None, limit=1_000):
        pass
    assert (await stream_head(database)).first_position == first


@pytest.mark.parametrize("kind", ["user", "conversation"])
async def test_reader_whose_next_page_goes_is_told(carol: Person, gate: GatedDatabase, database: Database, kind: str) -> None:
    """What is pruned between the opening of a stream and its first page ends the stream, and the resume gets a gap: never a silent hole."""
    conversation = await carol.make_conversation(assistant_mode="off")
    path = PATHS[kind].format(conversation)
    async with carol.stream(path) as first:
        start = {"Last-Event-ID": (await first.until_type("stream.ready")).payload["cursor"]}
    for number in range(8):  # more than the ring holds, so that a page is read
        await carol.say(conversation, f"early {number}")
    barrier = gate.after[f"open_{kind}_stream"] = Barrier()
    async with asyncio.TaskGroup() as group:

        async def prune() -> None:
            await barrier.reached()
            gate.after.clear()
            assert await prune_events(database, retention_seconds=HOUR, keep=3, limit=1_000) > 0
            barrier.go_on.set()

        group.create_task(prune())
        async with carol.stream(path, headers=start) as reader:
            await reader.until_closed()
    assert reader.logged == []
    async with carol.stream(path, headers=start) as again:
        assert (await again.until_type("stream.gap")).payload["reason"] == "history_pruned"
