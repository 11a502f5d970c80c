"""Fault 6: what connects two processes is killed, silent or away; events come at most sse.heal_seconds late, and none is lost."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import asyncpg

from tests.faults.conftest import MakeServer, Measured, People, bus_of
from tests.faults.observe import metric, until
from tests.faults.proxy import CuttingProxy, cutting_proxy, to_unix_socket
from tests.faults.recorder import Recorder, assert_recorded, recording_one
from tests.person import Person
from tests.races import connected
from tests.streaming.bus.pair import missing, until_ready

HEAL_SECONDS = 2.0
LATEST_SECONDS = HEAL_SECONDS + 1.0
"""The healing as shipped, and a second for a busy machine."""
QUICK_SECONDS = 1.0
LISTENERS = "select pid from pg_stat_activity where datname = current_database() and query like 'LISTEN%rustygpt_bus%'"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two processes; Ada posts at A, `recorder` reads at B."""

    urls: tuple[str, str]
    ada: Person
    conversation: str
    recorder: Recorder

    async def delay_of(self, text: str) -> float:
        """Post at A; return the seconds until B's reader has it."""
        began = time.monotonic()
        await self.ada.say(self.conversation, text)
        await self.recorder.until(lambda r: any(text in str(event.body) for event in r.logged[-4:]))
        return time.monotonic() - began

    async def reconnects(self) -> list[float]:
        """How often each has found the bus again."""
        return [await metric(url, "bus_reconnects_total") for url in self.urls]


@asynccontextmanager
async def paired(
    make_server: MakeServer, people: People, dsn_a: str, dsn_b: str, bus: dict[str, str], **settings: object
) -> AsyncIterator[Pair]:
    """Two servers that hear each other."""
    servers = [make_server(name, dsn, **bus_of(bus), **settings) for name, dsn in (("a", dsn_a), ("b", dsn_b))]
    for server in servers:
        await server.start()
    for server in servers:
        await until_ready(server.url)
    ada = await people.set_up(servers[0])
    conversation = await ada.make_conversation(assistant_mode="off")
    there = people.at(servers[1].url, ada)
    async with recording_one(there, f"/api/stream/conversations/{conversation}") as recorder:
        yield Pair((servers[0].url, servers[1].url), ada, conversation, recorder)


async def test_fault_06_listen_connection_killed(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection
) -> None:
    """LISTEN backends that PostgreSQL ends are made again; the healing is off here, and still nothing waits for it."""
    async with paired(make_server, people, dsn, dsn, {"kind": "postgres"}, SSE__HEAL_SECONDS=600) as pair:
        for number in range(2):
            killed = await owner.fetch(f"select pg_terminate_backend(pid) from ({LISTENERS}) l")
            assert len(killed) == 2
            await pair.delay_of(f"while deaf {number}")

            async def are_back(number: int = number) -> bool:
                return await pair.reconnects() == [number + 1, number + 1]

            await until(are_back)
        assert await pair.delay_of("connected") < QUICK_SECONDS
        assert len(pair.recorder.readers) == 1
        await assert_recorded(pair.recorder, owner, pair.conversation)


async def test_fault_06_notify_dropped_on_the_way(
    make_server: MakeServer, people: People, own_dsn: str, measured: Measured
) -> None:
    """B's LISTEN connection goes deaf without a word: what is said at A reaches B within the healing, all of it, once."""
    split = urlsplit(own_dsn)
    query = parse_qs(split.query)
    path = f"{unquote(query['host'][0])}/.s.PGSQL.{query['port'][0]}"
    async with cutting_proxy(to_unix_socket(path)) as proxy, connected(own_dsn) as owner:
        account, _, _ = split.netloc.rpartition("@")
        through_proxy = urlunsplit(("postgresql", f"{account}@127.0.0.1:{proxy.port}", split.path, "sslmode=disable", ""))
        async with paired(make_server, people, own_dsn, through_proxy, {"kind": "postgres"}) as pair:
            assert await pair.delay_of("heard") < QUICK_SECONDS
            deafen_listeners(proxy)
            delays = [await pair.delay_of(f"not heard {number}") for number in range(4)]
            measured(f"fault 6: dropped notifications cost {', '.join(f'{delay:.2f}' for delay in delays)} s")
            assert max(delays) < LATEST_SECONDS
            assert len(pair.recorder.readers) == 1
            await assert_recorded(pair.recorder, owner, pair.conversation)


def deafen_listeners(proxy: CuttingProxy) -> None:
    """Swallow all that PostgreSQL says on connections that listen."""
    deaf = [link for link in proxy.links if b"LISTEN" in link.seen]
    assert deaf, "nobody listens"
    for link in deaf:
        link.is_deaf = True


async def test_fault_06_valkey_killed(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection, valkey: Any, measured: Measured
) -> None:
    """kill -9 of Valkey: events are late by at most the healing, /readyz says so, and after its return they are quick again."""
    bus = {"kind": "redis", "url": valkey.connection_url}
    async with paired(make_server, people, dsn, dsn, bus) as pair:
        assert await pair.delay_of("heard") < QUICK_SECONDS
        valkey.terminate()

        async def are_unready() -> bool:
            return all([await missing(url) == ["bus: not connected"] for url in pair.urls])

        await until(are_unready)
        delays = [await pair.delay_of(f"not heard {number}") for number in range(3)]
        measured(f"fault 6: without Valkey {', '.join(f'{delay:.2f}' for delay in delays)} s")
        assert max(delays) < LATEST_SECONDS
        valkey.start()
        for url in pair.urls:
            await until_ready(url)
        assert await pair.reconnects() == [1, 1]
        assert await pair.delay_of("heard again") < QUICK_SECONDS
        assert len(pair.recorder.readers) == 1
        await assert_recorded(pair.recorder, owner, pair.conversation)
