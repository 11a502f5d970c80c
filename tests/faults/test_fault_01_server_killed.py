"""Fault 1: kill -9 of the only server in the middle of an answer. With a real model this is in tests/acceptance/test_kill.py."""

from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from tests.assistant.exchange import ask, read
from tests.faults.conftest import MakeServer, People
from tests.faults.recorder import assert_recorded, assert_text, recording
from tests.person import Event


async def test_fault_01_only_server_killed_in_an_answer(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection
) -> None:
    """Readers resume at the next chunk; the reply ends as interrupted within 1 s of the boot; its text is its chunks."""
    server = make_server("only", dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=200)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    async with recording(ada, f"/api/stream/conversations/{conversation}", "/api/stream") as recorders:
        reply = await ask(ada, conversation, "count to 100000")
        for recorder in recorders:
            await recorder.until(lambda r: len(r.text_of(reply)) > 200)
        await server.kill()
        for recorder in recorders:
            await recorder.until(lambda r: r.readers[-1].is_closed)
        seen = [_chunks(recorder.logged)[-1] for recorder in recorders]
        await server.start()
        booted_at = await owner.fetchval("select clock_timestamp()")
        for recorder, last in zip(recorders, seen, strict=True):
            await recorder.until(lambda r: r.done(reply) and r.logged[-1].type == "thread.activity")
            replayed = _chunks(recorder.readers[-1].logged)
            assert replayed == list(range(last + 1, last + 1 + len(replayed))), "not from the next chunk on"
    finished_at = await owner.fetchval("select finished_at from rustygpt.generations where message_id = $1", reply)
    assert finished_at < booted_at + timedelta(seconds=1)
    for recorder in recorders:
        assert [event.type for event in recorder.logged[-3:]] == ["message.done", "error", "thread.activity"]
        assert recorder.logged[-2].payload["code"] == "generation_interrupted"
        assert len(recorder.readers) == 2
        await assert_recorded(recorder, owner, conversation)
        await assert_text(owner, reply, recorder.text_of(reply))
    assert (await read(ada, reply))["status"] == "interrupted"


def _chunks(events: Sequence[Event]) -> list[int]:
    return [event.payload["idx"] for event in events if event.type == "message.delta"]
