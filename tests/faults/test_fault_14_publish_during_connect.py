"""Fault 14: what is published during each step of connecting is delivered once.

The steps themselves are held open by barriers in tests/streaming/test_interleavings.py, whose test is run here too; beside it, against a real
process, readers come at any moment of a running reply.
"""

import asyncio

import asyncpg

from tests.assistant.exchange import ask
from tests.faults.conftest import MakeServer, People
from tests.faults.recorder import Recorder, assert_recorded, recording_one
from tests.streaming.conftest import carol, gate, gated_site, gates
from tests.streaming.test_interleavings import test_publish_during_each_step_of_connect as test_fault_14_at_each_barrier

__all__ = ["carol", "gate", "gated_site", "gates", "test_fault_14_at_each_barrier"]

READERS = 40
LAST = 600


async def test_fault_14_readers_come_while_a_reply_runs(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection
) -> None:
    """Forty readers of both kinds come at forty moments and read from the beginning: every one has each position once."""
    server = make_server("one", dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=400, SSE__FLUSH_MS=0, SSE__RING_EVENTS=16)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    paths = (f"/api/stream/conversations/{conversation}", "/api/stream")
    async with recording_one(ada, paths[0]) as witness, asyncio.TaskGroup() as group:
        start = witness.last_id
        reply = await ask(ada, conversation, f"count to {LAST}")

        async def come(number: int) -> Recorder:
            await witness.until(lambda r: len(r.logged) > number * 5)
            async with recording_one(ada, paths[number % 2], start) as recorder:
                await recorder.until(lambda r: r.done(reply))
                return recorder

        readers = [group.create_task(come(number)) for number in range(READERS)]
        await witness.until(lambda r: r.done(reply))
    for reader in readers:
        recorder = reader.result()
        assert recorder.text_of(reply) == " ".join(str(number) for number in range(1, LAST + 1))
        assert recorder.logged[0].position == int((start or "").rpartition("-")[2]) + 1
        await assert_recorded(recorder, owner, conversation)
