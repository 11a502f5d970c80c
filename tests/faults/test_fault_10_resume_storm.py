"""Fault 10: a thousand clients come back within one second, each with an old cursor: one query for each distinct page, no refusal.

Queries are counted by PostgreSQL itself (`track_functions`): each procedure of the log that is called is counted there, whoever calls it.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.assistant.exchange import ask
from tests.faults.conftest import MakeServer, Measured, People, execute
from tests.faults.observe import until
from tests.faults.recorder import recording_one
from tests.person import Event, Person
from tests.races import connected
from tests.server_process import ServerProcess

CLIENTS = 1_000
CURSORS = 10
BACKLOG = 500
PAGE_EVENTS = 256
SECONDS = 300.0
"""For machines under load."""
CALLS = "select coalesce(sum(calls), 0) from pg_stat_user_functions where schemaname = 'rustygpt_api' and funcname = any ($1)"
OTHERS = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
READERS = ["read_conversation_events", "read_user_events", "read_events"]


@dataclass(slots=True)
class Returner:
    """One client that resumes: when it asked and when it had everything, in monotonic seconds; what it was sent."""

    request: bytes
    asked_at: float = 0.0
    done_at: float = 0.0
    raw: bytes = b""

    async def resume(self, port: int, last_id: str) -> None:
        """Connect, ask, and read until the last event."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        try:
            writer.write(self.request)
            self.asked_at = time.monotonic()
            end, got = f"id: {last_id}\n".encode(), bytearray()
            while end not in got[-70_000:]:
                data = await reader.read(1 << 16)
                assert data, bytes(got[:500])
                got += data
            self.done_at, self.raw = time.monotonic(), bytes(got)
        finally:
            writer.close()

    def positions(self) -> list[int]:
        """The ids that came, chunk framing taken off."""
        head, _, body = self.raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        whole = bytearray()
        while body:
            size, _, body = body.partition(b"\r\n")
            whole += body[: int(size, 16)]
            body = body[int(size, 16) + 2 :]
        return [int(found) for found in re.findall(rb"^id: \w+-(\d+)$", whole, re.MULTILINE)]


async def make_history(ada: Person, conversation: str) -> list[Event]:
    """Make a log that is long enough, one chunk an event; return it."""
    async with recording_one(ada, f"/api/stream/conversations/{conversation}") as recorder:
        while len(recorder.logged) < BACKLOG + CURSORS + 1:
            reply = await ask(ada, conversation, "count to 200")
            await recorder.until(lambda r, reply=reply: r.done(reply) and r.logged[-1].type == "thread.activity")
        return recorder.logged


async def come_back(server: ServerProcess, ada: Person, path: str, log: Sequence[Event]) -> list[Returner]:
    """Let all clients resume at once, a tenth of them at each cursor."""
    cookie = f"SESSION_ID={ada.client.cookies['SESSION_ID']}"
    returners = [
        Returner(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nLast-Event-ID: {log[number % CURSORS].id}\r\n\r\n".encode()
        )
        for number in range(CLIENTS)
    ]
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for returner in returners:
            group.create_task(returner.resume(server.port, log[-1].id or ""))
    return returners


async def count_after_stop(server: ServerProcess, dsn: str) -> int:
    """Stop a server and return the calls so far: a backend tells its counts when it ends."""
    await server.stop()
    async with connected(dsn) as owner:

        async def is_alone() -> bool:
            return await owner.fetchval(OTHERS) == 0

        await until(is_alone)
        return int(await owner.fetchval(CALLS, READERS))


@pytest.mark.load
async def test_fault_10_thousand_clients_come_back_at_once(
    make_server: MakeServer, people: People, own_dsn: str, measured: Measured
) -> None:
    """A thousand resumes of 500 events within a second: all are answered by 200 and whole, by one query for each distinct page."""
    await execute(own_dsn, f"alter database {own_dsn.partition('?')[0].rpartition('/')[2]} set track_functions = 'all'")
    settings = {"SSE__MAX_STREAMS_PER_USER": CLIENTS, "SSE__FLUSH_MS": 0, "LOGGING__LEVEL": "warning"}
    server = make_server("one", own_dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=400, **settings)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    log = await make_history(ada, conversation)
    before = await count_after_stop(server, own_dsn)
    await server.start()
    returners = await come_back(server, ada, f"/api/stream/conversations/{conversation}", log)
    queries = await count_after_stop(server, own_dsn) - before
    asked = max(each.asked_at for each in returners) - min(each.asked_at for each in returners)
    whole = max(each.done_at for each in returners) - min(each.asked_at for each in returners)
    pages = sum(-(-(len(log) - cursor) // PAGE_EVENTS) for cursor in range(CURSORS))
    measured(
        f"fault 10: {CLIENTS} asked within {asked:.2f} s, all whole after {whole:.1f} s, {queries} queries for {pages} pages"
    )
    positions = [event.position for event in log]
    for number, returner in enumerate(returners):
        assert returner.positions() == positions[number % CURSORS + 1 :]
    assert queries <= pages
