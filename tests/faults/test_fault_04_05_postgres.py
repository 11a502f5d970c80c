"""Faults 4 and 5: PostgreSQL is restarted under running replies, or away for longer than they may wait."""

import asyncpg
import pytest

from tests.assistant.exchange import ask, read
from tests.faults.cluster import OwnPostgres
from tests.faults.conftest import MakeServer, Measured, People
from tests.faults.observe import logged, resident_bytes, until
from tests.faults.recorder import Recorder, assert_recorded, assert_text, recording
from tests.person import Person
from tests.races import connected
from tests.server_process import ServerProcess
from tests.streaming.bus.pair import missing, until_ready

LAST = 1_500
TEXT = " ".join(str(number) for number in range(1, LAST + 1))
HEARTBEAT_SECONDS = 0.5
FULL_BYTES = 32 * 1_048_576
"""Three outboxes of 256 KiB as Python keeps single words, and code that had not run before."""


async def until_heartbeats(recorder: Recorder, count: int) -> None:
    """Wait until the open connection has had so many more heartbeats."""
    known = recorder.heartbeats
    await recorder.until(lambda r: r.heartbeats >= known + count)


async def is_unready(url: str) -> bool:
    """Say whether /readyz misses something."""
    return bool(await missing(url))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_fault_04_postgres_restarted(
    make_server: MakeServer, people: People, own_postgres: OwnPostgres, own_dsn: str, mode: str
) -> None:
    """Under three replies: readyz 503 and heartbeats meanwhile, no reader cut, no id unpersisted, three whole texts."""
    server = make_server("one", own_dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=400, SSE__HEARTBEAT_SECONDS=HEARTBEAT_SECONDS)
    await server.start()
    ada = await people.set_up(server)
    conversations = [await ada.make_conversation() for _ in range(3)]
    async with recording(ada, "/api/stream", *(f"/api/stream/conversations/{each}" for each in conversations)) as recorders:
        replies = [await ask(ada, each, f"count to {LAST}") for each in conversations]
        await recorders[0].until(lambda r: all(len(r.text_of(reply)) > 500 for reply in replies))
        await own_postgres.stop(mode)
        try:
            await until(lambda: is_unready(server.url))
            assert not recorders[0].done(*replies), "the replies were done before the restart: make them longer"
            for recorder in recorders:
                await until_heartbeats(recorder, 2)
        finally:
            await own_postgres.start_again()
        await recorders[0].until(lambda r: r.done(*replies))
        for recorder, reply in zip(recorders[1:], replies, strict=True):
            await recorder.until(lambda r, reply=reply: r.done(reply))
        await until_ready(server.url)
    async with connected(own_dsn) as owner:
        for recorder, conversation in zip(recorders, [None, *conversations], strict=True):
            assert len(recorder.readers) == 1, "a reader was cut"
            await assert_recorded(recorder, owner, conversation)
        for recorder, reply in zip(recorders[1:], replies, strict=True):
            assert recorder.text_of(reply) == recorders[0].text_of(reply) == TEXT
            await assert_text(owner, reply, TEXT)


async def test_fault_05_postgres_away_past_the_deadline(
    make_server: MakeServer, people: People, own_postgres: OwnPostgres, own_dsn: str, measured: Measured
) -> None:
    """Away for longer than sse.persist_deadline_seconds: memory stays flat, and the replies end as errors afterwards."""
    settings = {"SSE__PERSIST_DEADLINE_SECONDS": 3, "SSE__HEARTBEAT_SECONDS": HEARTBEAT_SECONDS}
    server = make_server("one", own_dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=20_000, **settings)
    await server.start()
    ada = await people.set_up(server)
    conversations = [await ada.make_conversation() for _ in range(3)]
    async with recording(ada, "/api/stream") as (recorder,):
        replies = [await ask(ada, each, "count to 100000") for each in conversations]
        await recorder.until(lambda r: all(r.text_of(reply) for reply in replies))
        before = resident_bytes(server.pid)
        await own_postgres.stop("fast")
        try:
            await until(lambda: is_unready(server.url))
            await until_heartbeats(recorder, 2)
            outboxes_full = resident_bytes(server.pid)
            await until(lambda: is_logged(server, "commit_abandoned"))
            await until_heartbeats(recorder, 2)
            after = resident_bytes(server.pid)
        finally:
            await own_postgres.start_again()
        await recorder.until(lambda r: r.done(*replies))
        measured(
            f"fault 5: resident +{(outboxes_full - before) >> 10} KiB with full outboxes, then +{(after - outboxes_full) >> 10} KiB"
        )
        assert after - before < FULL_BYTES  # when an outbox is full cannot be seen from outside, so there is one bound for all
        async with connected(own_dsn) as owner:
            await assert_ended_as_errors(ada, owner, recorder, replies)


async def assert_ended_as_errors(ada: Person, owner: asyncpg.Connection, recorder: Recorder, replies: list[str]) -> None:
    """Each reply ended once, as an error, with the text that was stored."""
    await assert_recorded(recorder, owner)
    assert len(recorder.readers) == 1
    ends = {e.payload["message_id"]: e.payload["finish_reason"] for e in recorder.logged if e.type == "message.done"}
    assert ends == dict.fromkeys(replies, "error")
    for reply in replies:
        await assert_text(owner, reply, recorder.text_of(reply))
        assert (await read(ada, reply))["status"] in ("error", "interrupted")


async def is_logged(server: ServerProcess, event: str) -> bool:
    """Say whether a server logged something."""
    return bool(logged(server, event))
