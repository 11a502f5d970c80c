"""The coordinator and the log's end: what it is told while it asks, and what is gone before it has read it."""

from pathlib import Path

import asyncpg

from tests.assistant.conftest import scripted_settings
from tests.assistant.exchange import ask
from tests.person import Person
from tests.scripted_openai import scripted_openai
from tests.site import serving
from tests.streaming.gated_database import Barrier, GatedDatabase


async def test_commit_while_the_end_is_asked_for_ends_no_stream(gates: list[GatedDatabase], dsn: str, data_dir: Path) -> None:
    """Deltas published between the question for the log's end and its answer do not look like another history."""
    async with (
        scripted_openai() as upstream,
        serving(scripted_settings(data_dir, upstream, sse={"heal_seconds": 0.2}), dsn) as site,
        Person(site.url) as person,
    ):
        await person.set_up("Eve")
        conversation = await person.make_conversation()
        async with person.stream(f"/api/stream/conversations/{conversation}") as reader:
            reply = await ask(person, conversation, "Hello?")
            call = await upstream.next_call()
            await call.say("Once")
            await reader.until(lambda r: r.text_of(reply) == "Once")
            answered = gates[0].after["stream_head"] = Barrier()
            await answered.reached()
            await call.say(" upon")
            await reader.until(lambda r: r.text_of(reply) == "Once upon")
            gates[0].after.clear()
            answered.go_on.set()
            await call.answer(" a time")
            await reader.until_type("message.done")
            assert reader.text_of(reply) == "Once upon a time"
            assert not reader.is_closed


async def test_process_that_slept_through_the_pruning(
    carol: Person, gate: GatedDatabase, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """When events were pruned before this process read them, its readers are sent away and get a gap at their return, then go on."""
    conversation = await carol.make_conversation(assistant_mode="off")
    path = f"/api/stream/conversations/{conversation}"
    async with carol.stream(path) as reader:
        await carol.say(conversation, "first")
        await reader.until(lambda r: len(r.logged) == 2)
        asleep = gate.before["read_events"] = Barrier()
        for number in range(3):
            await carol.say(conversation, f"unread {number}")
        await asleep.reached()
        first = reader.logged[-1].position + 4
        await owner.execute("delete from rustygpt.event_log where position < $1", first)
        await owner.execute("update rustygpt.event_head set first_position = $1", first)
        gate.before.clear()
        asleep.go_on.set()
        await reader.until_closed()
    async with carol.stream(path, headers={"Last-Event-ID": reader.last_id or ""}) as again:
        assert (await again.until_type("stream.gap")).payload["reason"] == "history_pruned"
        await carol.say(conversation, "awake")
        await again.until(lambda r: "awake" in r.raw.decode())
        assert (await carol.get("/readyz")).status_code == 200
