"""Fault 11: wrong clocks. Ids only rise and leases hold, whatever the application's clock says and wherever the database's steps."""

import time
from collections.abc import Iterator

import asyncpg
import pytest

from rustygpt.database import embedded
from tests.assistant.exchange import ask
from tests.faults.cluster import OwnPostgres
from tests.faults.conftest import MakeServer, People
from tests.faults.observe import logged, until
from tests.faults.recorder import Recorder, assert_recorded, recording_one
from tests.faults.shifted_clock import ClockMaker, ShiftedClock, shifted_clocks
from tests.faults.test_fault_02_03_15_owner import writer_of
from tests.races import connected
from tests.streaming.bus.pair import until_ready

HOUR = 3_600.0
LEASE_SECONDS, REAP_SECONDS = 2, 5
LEASE = {"ASSISTANT__LEASE_SECONDS": LEASE_SECONDS, "ASSISTANT__LEASE_HEARTBEAT_SECONDS": 1, "SESSION__IDLE_SECONDS": 86_400}
BUS = {"RUSTYGPT__BUS__KIND": "postgres"}


@pytest.fixture
def clocks() -> Iterator[ClockMaker]:
    """Makes clocks that are wrong."""
    with shifted_clocks() as maker:
        yield maker


async def test_fault_11_application_clocks_an_hour_apart(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection, clocks: ClockMaker
) -> None:
    """One process an hour ahead, one an hour behind: neither takes the other's reply while it lives, and both do when it is dead."""
    servers = [
        make_server(name, dsn, environment={**BUS, **clocks.make(name, seconds).environment}, **LEASE)
        for name, seconds in (("ahead", HOUR), ("behind", -HOUR))
    ]
    for server in servers:
        await server.start()
    for server in servers:
        await until_ready(server.url)
    ada = await people.set_up(servers[0])
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "count to 100000")
    writer = await writer_of(servers)
    survivor = servers[1 - servers.index(writer)]
    said_at = [logged(server, "server_ready")[0]["at"] for server in servers]
    assert said_at[0] > said_at[1], "the clocks are not wrong"
    async with recording_one(people.at(survivor.url, ada), f"/api/stream/conversations/{conversation}") as recorder:
        await outlive_the_lease(recorder, reply)
        await writer.kill()
        killed_at = time.monotonic()
        await recorder.until(lambda r: r.done(reply) and r.logged[-1].type == "thread.activity")
        assert time.monotonic() - killed_at < LEASE_SECONDS + REAP_SECONDS
        assert len(recorder.readers) == 1
        await assert_recorded(recorder, owner, conversation)
        await assert_times_rise(owner)
    assert (await ada.get("/api/auth/me")).status_code == 200 if writer is servers[1] else True


async def outlive_the_lease(recorder: Recorder, reply: str) -> None:
    """Read on for longer than a lease, and see no end."""
    since = time.monotonic()

    def is_outlived(read: Recorder) -> bool:
        assert not read.done(reply), "the reply was taken from its living owner"
        return time.monotonic() - since > 2 * LEASE_SECONDS

    await recorder.until(is_outlived)


async def assert_times_rise(owner: asyncpg.Connection) -> None:
    """Positions are dense, and times never fall."""
    rows = await owner.fetch("select position, created_at from rustygpt.event_log order by position")
    assert [row["position"] for row in rows] == list(range(rows[0]["position"], rows[0]["position"] + len(rows)))
    times = [row["created_at"] for row in rows]
    assert times == sorted(times)


@pytest.fixture
def stepping(
    clocks: ClockMaker, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OwnPostgres, ShiftedClock]]:
    """A PostgreSQL and the clock that it goes by."""
    clock = clocks.make("database")
    spawn = embedded.spawn
    given = [f"{name}={value}" for name, value in clock.environment.items()]
    monkeypatch.setattr(
        embedded, "spawn", lambda arguments, *rest, **named: spawn(["/usr/bin/env", *given, *arguments], *rest, **named)
    )
    postgres = OwnPostgres(tmp_path_factory.mktemp("stepping"))
    postgres.start()
    yield postgres, clock
    postgres.close()


async def test_fault_11_database_clock_steps_back(
    make_server: MakeServer, people: People, stepping: tuple[OwnPostgres, ShiftedClock]
) -> None:
    """The database's clock goes back by ten minutes in a reply: ids rise, times do not fall, ?since= works, nothing ends early."""
    postgres, clock = stepping
    server = make_server("one", postgres.dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=200, SSE__FLUSH_MS=0, **LEASE)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    path = f"/api/stream/conversations/{conversation}"
    async with connected(postgres.dsn) as owner, recording_one(ada, path) as recorder:
        reply = await ask(ada, conversation, "count to 1000")
        await recorder.until(lambda r: len(r.text_of(reply)) > 500)
        before = await owner.fetchval("select clock_timestamp()")
        clock.set(-600)
        assert await owner.fetchval("select clock_timestamp()") < before, "the clock did not step"
        await recorder.until(lambda r: r.done(reply) and r.logged[-1].type == "thread.activity")
        assert recorder.text_of(reply) == " ".join(str(number) for number in range(1, 1_001))
        assert [e.payload["finish_reason"] for e in recorder.logged if e.type == "message.done"] == ["stop"]
        clock.set(-HOUR)
        again = await ask(ada, conversation, "count to 5")
        await recorder.until(lambda r: r.done(again) and r.logged[-1].type == "thread.activity")
        await assert_recorded(recorder, owner, conversation)
        await assert_times_rise(owner)
        async with recording_one(ada, f"{path}?since=0") as replay:
            await replay.until(lambda r: r.last_id == recorder.last_id)
            assert [e.id for e in replay.logged][-len(recorder.logged) :] == [e.id for e in recorder.logged]

        async def is_ready() -> bool:
            return (await ada.get("/readyz")).status_code == 200

        await until(is_ready)
