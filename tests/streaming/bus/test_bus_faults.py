"""The bus is cut, silenced or away: events come late, with the next look of sse.heal_seconds, and none is lost."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.assistant.exchange import ask, until, until_done
from tests.person import StreamReader
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming.bus.pair import Pair, assert_unbroken, missing, reconnects, serving_pair, until_ready

LISTENERS = """select pid from pg_stat_activity where datname = current_database() and query like 'LISTEN%rustygpt_bus%'"""


@pytest.fixture
async def healing(dsn: str, tmp_path: Path, upstream: ScriptedOpenAI) -> AsyncIterator[Pair]:
    """Two applications over NOTIFY, with the healing as shipped."""
    async with serving_pair(dsn, tmp_path, {"kind": "postgres"}, upstream) as both:
        yield both


async def _say_and_hear(pair: Pair, conversation: str, reader: StreamReader, text: str) -> None:
    """Post at A, and wait until a reader at B has it."""
    await pair.ada.say(conversation, text)
    await reader.until(lambda r: text in r.raw.decode())


async def _until_reconnected(pair: Pair, times: int) -> None:
    """Wait until both processes have lost the bus and found it again so many times."""
    for site in (pair.a, pair.b):

        async def is_again(url: str = site.url) -> bool:
            return await reconnects(url) == times

        await until(is_again)
        await until_ready(site.url)


async def test_killed_listen_connections_lose_nothing(
    dsn: str, tmp_path: Path, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """LISTEN connections that PostgreSQL ends are made again; what was said meanwhile is looked up at once, not at the next healing."""
    async with serving_pair(dsn, tmp_path, {"kind": "postgres"}, upstream, heal_seconds=600) as pair:
        conversation = await pair.ada.make_conversation(assistant_mode="off")
        async with pair.ada_at_b.stream(f"/api/stream/conversations/{conversation}") as reader:
            await reader.until_type("stream.ready")
            for number in range(3):
                assert len(await owner.fetch(LISTENERS)) == 2
                await owner.fetch(f"select pg_terminate_backend(pid) from ({LISTENERS}) l")
                await _say_and_hear(pair, conversation, reader, f"while deaf {number}")
                await _until_reconnected(pair, number + 1)
            await _say_and_hear(pair, conversation, reader, "connected")
            await reader.until(lambda r: sum(event.type == "message.created" for event in r.events) == 4)
            assert_unbroken(reader.logged)


async def test_dropped_notifications_are_healed(healing: Pair, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """With every NOTIFY swallowed, posts and the deltas of replies at A reach B all the same, all of them, once."""
    await owner.execute("create or replace function rustygpt_api.notify_bus(p_payload text) returns void language sql as ''")
    conversation = await healing.ada.make_conversation()
    async with healing.ada_at_b.stream(f"/api/stream/conversations/{conversation}") as reader:
        await reader.until_type("stream.ready")
        reply = await ask(healing.ada, conversation, "Hello?")
        await reader.until(lambda r: "Hello?" in r.raw.decode())
        call = await upstream.next_call()
        for word in ("Once", " upon"):
            await call.say(word)
            await reader.until(lambda r, word=word: r.text_of(reply).endswith(word))
        await call.finish()
        await until_done(reader, reply)
        assert_unbroken(reader.logged)


async def test_stop_is_found_without_the_bus(healing: Pair, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """Stop, pressed at B while no NOTIFY arrives, ends the reply at A by the heartbeat of its lease."""
    await owner.execute("create or replace function rustygpt_api.notify_bus(p_payload text) returns void language sql as ''")
    conversation = await healing.ada.make_conversation()
    reply = await ask(healing.ada, conversation, "Hello?")
    call = await upstream.next_call()
    assert (await healing.ada_at_b.post(f"/api/messages/{reply}/cancel")).status_code == 200
    await call.until_gone()


async def test_valkey_that_restarts_loses_nothing(dsn: str, tmp_path: Path, upstream: ScriptedOpenAI, valkey: Any) -> None:
    """While Valkey is away events come all the same and /readyz names the bus; after its return they are told by it again."""
    bus = {"kind": "redis", "url": valkey.connection_url}
    async with serving_pair(dsn, tmp_path, bus, upstream) as pair:
        conversation = await pair.ada.make_conversation(assistant_mode="off")
        async with pair.ada_at_b.stream(f"/api/stream/conversations/{conversation}") as reader:
            await reader.until_type("stream.ready")
            valkey.stop()
            for site in (pair.a, pair.b):
                await until_named(site.url)
            for number in range(2):
                await _say_and_hear(pair, conversation, reader, f"without {number}")
            valkey.start()
            await _until_reconnected(pair, 1)
            told: list[object] = []
            pair.b.application._parts.bus.listen(on_wake=told.append)
            await _say_and_hear(pair, conversation, reader, "with")
            await until(lambda: _is(told))
            assert_unbroken(reader.logged)


async def until_named(url: str) -> None:
    """Wait until /readyz says that the bus is not connected."""

    async def is_named() -> bool:
        return "bus: not connected" in await missing(url)

    await until(is_named)


async def _is(fact: object) -> bool:
    return bool(fact)


async def test_start_without_valkey(dsn: str, tmp_path: Path, upstream: ScriptedOpenAI, valkey: Any) -> None:
    """Processes start while Valkey is away, say so on /readyz, serve each other's readers late, and connect when it comes."""
    bus = {"kind": "redis", "url": valkey.connection_url}
    valkey.stop()
    async with serving_pair(dsn, tmp_path, bus, upstream, is_ready=False) as pair:
        conversation = await pair.ada.make_conversation(assistant_mode="off")
        async with pair.ada_at_b.stream(f"/api/stream/conversations/{conversation}") as reader:
            await reader.until_type("stream.ready")
            assert await missing(pair.b.url) == ["bus: not connected"]
            await _say_and_hear(pair, conversation, reader, "without")
            valkey.start()
            for site in (pair.a, pair.b):
                await until_ready(site.url)
            assert await reconnects(pair.b.url) == 0
            assert_unbroken(reader.logged)
