"""What is told within a moment goes out as one message, and what is still to be told at the end goes out before it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import orjson
import pytest

from rustygpt.database.pool import Database
from rustygpt.ids import Position
from rustygpt.observability.metrics import Metrics
from rustygpt.settings import DatabaseSettings
from rustygpt.streaming.bus.postgres import CHANNEL, PostgresBus
from tests.assistant.exchange import until


@asynccontextmanager
async def _running(bus: PostgresBus) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bus.run())
        yield
        task.cancel()


@pytest.fixture
async def overheard(owner: asyncpg.Connection) -> AsyncIterator[list[dict]]:
    """Everything that is said on the channel."""
    said: list[dict] = []

    def on_notify(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        said.append(orjson.loads(str(payload)))

    await owner.add_listener(CHANNEL, on_notify)
    yield said
    await owner.remove_listener(CHANNEL, on_notify)


def _bus(dsn: str, database: Database) -> PostgresBus:
    return PostgresBus(dsn, DatabaseSettings(), database, Metrics(), lambda: "k3f9")


async def test_many_wakes_are_one_message(dsn: str, database: Database, overheard: list[dict]) -> None:
    """A thousand wakes and ten equal signals at once are one NOTIFY, with the highest position; local listeners hear each at once."""
    bus, other = _bus(dsn, database), _bus(dsn, database)
    here: list[int] = []
    there: list[object] = []
    bus.listen(on_wake=here.append)
    other.listen(on_wake=there.append, on_signal=lambda kind, key: there.append((kind, key)))
    async with _running(bus), _running(other):
        await until(lambda: _is(bus.is_connected and other.is_connected))
        overheard.clear()
        there.clear()
        message = str(uuid4())
        for position in range(1_000):
            bus.wake(Position(position))
        for _ in range(10):
            bus.signal("cancel", message)
        assert here == list(range(1_000))
        await until(lambda: _is(len(there) == 2 and any(each["position"] for each in overheard)))
        assert there == [999, ("cancel", message)]
        assert [(each["position"], each["signals"]) for each in overheard if each["position"]] == [(999, [["cancel", message]])]
        assert here == list(range(1_000)), "one's own message is not heard again"


async def test_last_words_are_said(dsn: str, database: Database, overheard: list[dict]) -> None:
    """What was told just before the end of the process goes out when the bus is closed."""
    bus = _bus(dsn, database)
    bus.wake(Position(7))
    await bus.close()
    await until(lambda: _is(overheard))
    assert overheard[0]["position"] == 7


async def test_flood_of_signals_becomes_a_look(dsn: str, database: Database, overheard: list[dict]) -> None:
    """More signals than a NOTIFY holds make everybody look at the database instead."""
    bus = _bus(dsn, database)
    for _ in range(5_000):
        bus.signal("session_revoked", str(uuid4()))
    await bus.close()
    await until(lambda: _is(overheard))
    assert overheard[0]["signals"] == [["look", ""]]


async def _is(fact: object) -> bool:
    return bool(fact)
