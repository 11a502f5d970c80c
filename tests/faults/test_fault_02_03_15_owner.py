"""Faults 2, 3 and 15: two server processes, and the one that writes a reply is killed, stopped for a while, or told to stop.

A stopped process is one whose lease runs out: nothing but the lease and the fence decides, so a stop of a little more than a lease of
two seconds is the same as one of sixty seconds with the shipped lease of fifteen.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest

from tests.assistant.exchange import ask, read, stop
from tests.faults.conftest import MakeServer, People, bus_of
from tests.faults.observe import logged, metric, stopped, until
from tests.faults.recorder import Recorder, assert_recorded, assert_text, recording_one
from tests.person import Person
from tests.server_process import ServerProcess
from tests.streaming.bus.pair import until_ready

LEASE_SECONDS = 2
REAP_SECONDS = 5
"""A reaper looks at least so often."""
COUNT = "count to 100000"


@dataclass(frozen=True, slots=True)
class Talk:
    """A reply that `owner` is writing, read at the survivor, where Ada is `there`."""

    reply: str
    conversation: str
    owner: ServerProcess
    recorder: Recorder
    there: Person


@asynccontextmanager
async def talking(
    make_server: MakeServer, people: People, dsn: str, bus: dict[str, str], lease_seconds: float
) -> AsyncIterator[Talk]:
    """Two processes, one of which writes; the block begins when a reader at the other has some of it."""
    settings = {"ASSISTANT__LEASE_SECONDS": lease_seconds, "ASSISTANT__LEASE_HEARTBEAT_SECONDS": lease_seconds / 3}
    servers = [make_server(name, dsn, **bus_of(bus), **settings) for name in ("a", "b")]
    for server in servers:
        await server.start()
    for server in servers:
        await until_ready(server.url)
    ada = await people.set_up(servers[0])
    adas = [ada, people.at(servers[1].url, ada)]
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, COUNT)
    owner = await writer_of(servers)
    there = adas[1 - servers.index(owner)]
    async with recording_one(there, f"/api/stream/conversations/{conversation}") as recorder:
        await recorder.until(lambda r: len(r.text_of(reply)) > 100)
        yield Talk(reply, conversation, owner, recorder, there)


async def writer_of(servers: list[ServerProcess]) -> ServerProcess:
    """Find the process that runs the only reply."""
    found: list[ServerProcess] = []

    async def is_found() -> bool:
        found[:] = [server for server in servers if await metric(server.url, "rustygpt_generations_running") == 1]
        return bool(found)

    await until(is_found)
    return found[0]


async def assert_closed_once(talk: Talk, owner: asyncpg.Connection, outcome: str, *, fence: int) -> None:
    """One last word on the stream and in the log, no disconnect, nothing lost; the text is what the chunks say."""
    assert len(talk.recorder.readers) == 1, "the reader at the other process was cut"
    await assert_recorded(talk.recorder, owner, talk.conversation)
    ends = [event.payload for event in talk.recorder.logged if event.type == "message.done"]
    assert [end["finish_reason"] for end in ends if end["message_id"] == talk.reply] == [outcome]
    done = "select count(*) from rustygpt.event_log where type = 'message.done' and message_id = $1"
    assert await owner.fetchval(done, talk.reply) == 1
    assert await owner.fetchval("select fence from rustygpt.generations where message_id = $1", talk.reply) == fence
    shown = await read(talk.there, talk.reply)
    assert talk.recorder.text_of(talk.reply) in shown["content"]  # the reader came when some had been said
    stored = await owner.fetchval("select content from rustygpt.messages where id = $1", talk.reply)
    await assert_text(owner, talk.reply, stored)


async def test_fault_02_owner_killed_beside_another(
    make_server: MakeServer, people: People, dsn: str, bus: dict[str, str], owner: asyncpg.Connection
) -> None:
    """kill -9 of the writing process: readers at the other see no disconnect, and the last word within 20 s; fence + 1."""
    lease_seconds = 15 if bus["kind"] == "postgres" else LEASE_SECONDS  # as shipped, once
    async with talking(make_server, people, dsn, bus, lease_seconds) as talk:
        await talk.owner.kill()
        killed_at = time.monotonic()
        await talk.recorder.until(lambda r: r.done(talk.reply) and r.logged[-1].type == "thread.activity")
        assert time.monotonic() - killed_at < lease_seconds + REAP_SECONDS
        assert talk.recorder.logged[-2].payload["code"] == "generation_interrupted"
        await assert_closed_once(talk, owner, "error", fence=2)


async def test_fault_03_owner_stopped_and_continued(
    make_server: MakeServer, people: People, dsn: str, bus: dict[str, str], owner: asyncpg.Connection
) -> None:
    """SIGSTOP past the lease: the other closes the reply; after SIGCONT the next append is refused, and there is one message.done."""
    async with talking(make_server, people, dsn, bus, LEASE_SECONDS) as talk:
        with stopped(talk.owner.pid):
            stopped_at = time.monotonic()
            await talk.recorder.until(lambda r: r.done(talk.reply) and r.logged[-1].type == "thread.activity")
            assert time.monotonic() - stopped_at < LEASE_SECONDS + REAP_SECONDS

        async def is_refused() -> bool:
            return bool(logged(talk.owner, "generation_lost"))

        await until(is_refused)
        await until_ready(talk.owner.url)
        again = await ask(talk.there, talk.conversation, "count to 5")
        await talk.recorder.until(lambda r: r.done(again))
        assert talk.recorder.text_of(again) == "1 2 3 4 5"
        await assert_closed_once(talk, owner, "error", fence=2)


@pytest.mark.parametrize("is_dead", [False, True], ids=["alive", "dead"])
async def test_fault_15_cancelled_from_another_process(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection, is_dead: bool
) -> None:
    """Stop, pressed twice at another process, also after the death of the writer: one last word, `cancelled`."""
    async with talking(make_server, people, dsn, {"kind": "postgres"}, LEASE_SECONDS) as talk:
        if is_dead:
            await talk.owner.kill()
        for _ in range(2):
            await stop(talk.there, talk.reply)
        await talk.recorder.until(lambda r: r.done(talk.reply))
        assert not [event for event in talk.recorder.events if event.type == "error"]
        assert (await stop(talk.there, talk.reply))["status"] == "cancelled"
        await talk.recorder.until(lambda r: r.logged[-1].type == "thread.activity")
        await assert_closed_once(talk, owner, "cancelled", fence=2 if is_dead else 1)
