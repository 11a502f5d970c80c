"""Streams over several workers: readers hear what another worker writes, and lose nothing when a worker dies."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.assistant.exchange import ask, until, until_done
from tests.cli.conftest import MakeWorkers
from tests.cli.many_workers import ManyWorkers
from tests.person import Person, StreamReader
from tests.scripted_openai import ScriptedOpenAI, scripted_openai
from tests.streaming.bus.pair import assert_unbroken

pytestmark = pytest.mark.acceptance


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """A model that speaks on cue."""
    async with scripted_openai() as server:
        yield server


@pytest.fixture
async def server(make_workers: MakeWorkers, upstream: ScriptedOpenAI) -> ManyWorkers:
    """Two workers that use it, with short leases."""
    made = make_workers(
        environment={"OPENAI_API_BASE_URL": upstream.base_url},
        ASSISTANT__LEASE_SECONDS=4,
        ASSISTANT__LEASE_HEARTBEAT_SECONDS=1,
    )
    await made.start()
    return made


def port_of(upstream: ScriptedOpenAI) -> int:
    return int(upstream.base_url.rsplit(":", 1)[1])


async def test_readers_at_both_workers_see_one_reply_to_its_end(server: ManyWorkers, upstream: ScriptedOpenAI) -> None:
    """Ada's stream is at one worker and Bob's at the other: both get every piece, in the same order, and the end."""
    async with Person(server.url) as ada, Person(server.url) as bob:
        conversation = await (await ada.set_up("Ada")).make_conversation(assistant_mode="always")
        await ada.add(conversation, await bob.register("Bob"))
        path = f"/api/stream/conversations/{conversation}"
        first, second = server.workers.values()
        async with server.stream_at(first, ada, path) as of_ada, server.stream_at(second, bob, path) as of_bob:
            reply = await ask(ada, conversation, "Hello?")
            call = await upstream.next_call()
            for piece in ("Once", " upon", " a", " time"):
                await call.say(piece)
            await call.finish()
            for reader in (of_ada, of_bob):
                assert [kind for kind, _ in await until_done(reader, reply)] == ["message.done"]
                assert reader.text_of(reply) == "Once upon a time"
            assert [event.id for event in of_ada.logged] == [event.id for event in of_bob.logged]


async def test_killed_writer_costs_its_readers_a_reconnect_and_the_others_nothing(
    server: ManyWorkers, upstream: ScriptedOpenAI
) -> None:
    """kill -9 of the worker that writes: the other's reader stays and gets the end; the dead one's resumes, and what both got is the same."""
    async with Person(server.url) as ada, AsyncExitStack() as stack:
        conversation = await (await ada.set_up("Ada")).make_conversation(assistant_mode="always")
        path = f"/api/stream/conversations/{conversation}"
        readers: dict[int, StreamReader] = {
            pid: await stack.enter_async_context(server.stream_at(pid, ada, path)) for pid in server.workers.values()
        }
        reply = await ask(ada, conversation, "Hello?")
        await (await upstream.next_call()).say("Once upon")
        writer = server.worker_calling(port_of(upstream))
        cut = readers.pop(writer)
        (spared,) = readers.values()
        for reader in (cut, spared):
            await reader.until(lambda r: r.text_of(reply) == "Once upon")
        os.kill(writer, signal.SIGKILL)
        await cut.until_closed()
        told = await until_done(spared, reply)
        assert [kind for kind, _ in told] == ["message.done", "error"]
        assert told[1][1]["code"] == "generation_interrupted"
        assert not spared.is_closed
        async with Person(server.url) as again:
            again.client.cookies.update(ada.client.cookies)
            async with again.stream(path, headers={"Last-Event-ID": cut.last_id or ""}) as resumed:
                await until_done(resumed, reply)
                await resumed.until(lambda r: r.last_id == spared.last_id)
        assert_unbroken(spared.logged)
        assert [event.id for event in (*cut.logged, *resumed.logged)] == [event.id for event in spared.logged]


async def test_gauge_of_streams_forgets_a_dead_workers(server: ManyWorkers) -> None:
    """sse_subscribers is the sum over workers, is without the streams of one that was killed, and goes up again when they resume."""
    series = 'sse_subscribers{stream="user"}'
    async with Person(server.url) as ada, AsyncExitStack() as stack:
        await ada.set_up("Ada")
        victim, other = server.workers.values()
        cut = [await stack.enter_async_context(server.stream_at(victim, ada, "/api/stream")) for _ in range(3)]
        await stack.enter_async_context(server.stream_at(other, ada, "/api/stream"))
        await until_shown(server, series, 4)
        os.kill(victim, signal.SIGKILL)
        for reader in cut:
            await reader.until_closed()
        await server.until_logged("worker_died")
        assert await server.metric(series) == 1
        await server.until_logged("worker_ready", 3)
        await stack.enter_async_context(server.stream_at(server.workers[1], ada, "/api/stream"))
        await until_shown(server, series, 2)


async def until_shown(server: ManyWorkers, series: str, value: float) -> None:
    """Wait until a scrape says so."""

    async def is_shown() -> bool:
        return await server.metric(series) == value

    await until(is_shown)
