"""PostgreSQL is away for longer than a lease: no owner could renew, all of them live, and their replies go on."""

import asyncpg

from tests.assistant.exchange import ask
from tests.faults.cluster import OwnPostgres
from tests.faults.conftest import MakeServer, People
from tests.faults.observe import logged, metric, stopped, until
from tests.faults.recorder import assert_recorded, assert_text, recording_one
from tests.person import Person
from tests.races import connected
from tests.server_process import ServerProcess
from tests.streaming.bus.pair import missing, until_ready

LEASE_SECONDS = 8
HEARTBEAT_SECONDS = 0.5
LAST = 1_500
TEXT = " ".join(str(number) for number in range(1, LAST + 1))
SETTINGS = {
    "BUS__KIND": "postgres",
    "ASSISTANT__LEASE_SECONDS": LEASE_SECONDS,
    "ASSISTANT__LEASE_HEARTBEAT_SECONDS": 1,
    "ASSISTANT__MAX_CONCURRENCY": 2,
    "ASSISTANT__DEMO__TOKENS_PER_SECOND": 100,
    "SSE__HEARTBEAT_SECONDS": HEARTBEAT_SECONDS,
}


async def test_replies_outlive_an_absence_beyond_the_lease(
    make_server: MakeServer, people: People, own_postgres: OwnPostgres, own_dsn: str
) -> None:
    """After an absence of more than a lease another process is back first: it leaves the replies to their owner, and all end whole."""
    servers = [make_server(name, own_dsn, **SETTINGS) for name in ("a", "b")]
    for server in servers:
        await server.start()
        await until_ready(server.url)
    ada = await people.set_up(servers[0])
    replies = [await ask(ada, await ada.make_conversation(), f"count to {LAST}") for _ in range(3)]
    busy, other = await by_load(servers)
    there = people.at(other.url, ada)
    async with recording_one(there, "/api/stream") as recorder:
        await recorder.until(lambda r: all(r.text_of(reply) for reply in replies))
        await own_postgres.stop("fast")
        try:
            await until(lambda: is_unready(other.url))
            beats = recorder.heartbeats + int(LEASE_SECONDS / HEARTBEAT_SECONDS) + 2
            await recorder.until(lambda r: r.heartbeats >= beats)
        finally:
            with stopped(busy.pid):
                await own_postgres.start_again()
                # Whoever claims has looked for orphans before.
                quick = await ask(there, await make_conversation(there), "count to 3")
                await recorder.until(lambda r: r.done(quick))
        await recorder.until(lambda r: r.done(*replies))
    for server in servers:
        assert not logged(server, "generation_orphaned")
        assert not logged(server, "generation_lost")
    async with connected(own_dsn) as owner:
        await assert_recorded(recorder, owner)
        await assert_whole(owner, replies)


async def by_load(servers: list[ServerProcess]) -> list[ServerProcess]:
    """Wait until one server writes two replies and the other one, and return them in this order."""
    found: list[ServerProcess] = []

    async def is_shared_out() -> bool:
        running = {await metric(server.url, "rustygpt_generations_running"): server for server in servers}
        found[:] = [running[count] for count in (2, 1) if count in running]
        return len(found) == len(servers)

    await until(is_shared_out)
    return found


async def make_conversation(person: Person) -> str:
    """Make a conversation as soon as the database answers again."""

    async def is_answered() -> bool:
        return (await person.get("/api/conversations")).status_code == 200

    await until(is_answered)
    return await person.make_conversation()


async def assert_whole(owner: asyncpg.Connection, replies: list[str]) -> None:
    """Each reply was claimed once and has its whole text."""
    for reply in replies:
        await assert_text(owner, reply, TEXT)
        assert await owner.fetchval("select fence from rustygpt.generations where message_id = $1", reply) == 1


async def is_unready(url: str) -> bool:
    """Say whether /readyz misses something."""
    return bool(await missing(url))
