"""The process that writes a reply dies, or sleeps past its lease: the other one closes the reply, once, and keeps its readers.

The owner is a real process; the other application and its readers are the test's own.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.assistant.exchange import ask, read, stop, until, until_done
from tests.person import DEADLINE_SECONDS, Person, StreamReader
from tests.scripted_openai import Call, ScriptedOpenAI
from tests.server_process import ServerProcess
from tests.site import serving
from tests.streaming.bus.pair import HEARTBEAT_SECONDS, SECRET_KEY, assert_unbroken, at, only_reap, settings_of, until_ready
from tests.streaming.gated_database import GatedDatabase, Hook

pytestmark = pytest.mark.acceptance

LEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Talk:
    """A reply that the owner is writing: "Once" has been said, and a reader at the other process has it.

    The other process may close what others left open when `reaping` is set: not before the test has done its part.
    """

    reply: str
    call: Call
    reader: StreamReader
    there: Person
    reaping: asyncio.Event


@pytest.fixture
async def owner_process(dsn: str, tmp_path: Path, bus: dict[str, str], upstream: ScriptedOpenAI) -> AsyncIterator[ServerProcess]:
    """A real server process on the same database."""
    data_dir = tmp_path / "owner"
    data_dir.mkdir()
    environment = {
        "DATABASE_URL": dsn,
        "RUSTYGPT_SECRET_KEY": SECRET_KEY,
        "RUSTYGPT__BUS__KIND": bus["kind"],
        "REDIS_URL": bus.get("url", ""),
        "OPENAI_API_BASE_URL": upstream.base_url,
        "RUSTYGPT__ASSISTANT__LEASE_SECONDS": str(LEASE_SECONDS),
        "RUSTYGPT__ASSISTANT__LEASE_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
        "RUSTYGPT__ASSISTANT__LLAMA_CPP__ENABLED": "false",
        "RUSTYGPT__SSE__DRAIN_SECONDS": "0",
        "RUSTYGPT__ASSISTANT__SHUTDOWN_GRACE_SECONDS": "0",
    }
    process = ServerProcess(data_dir, environment=environment)
    await process.start()
    yield process
    await process.stop()


@contextmanager
def _asleep(pid: int) -> Iterator[None]:
    """SIGSTOP during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def _talking(
    gates: list[GatedDatabase],
    dsn: str,
    folder: Path,
    bus: dict[str, str],
    upstream: ScriptedOpenAI,
    owner_process: ServerProcess,
) -> AsyncIterator[Talk]:
    settings = settings_of(folder / "other", bus, upstream, lease_seconds=LEASE_SECONDS)
    reaping = asyncio.Event()
    async with serving(settings, dsn) as other:
        only_reap(other)
        for url in (owner_process.url, other.url):
            await until_ready(url)
        gates[0].before["reap_generations"] = _passed_after(reaping)
        async with Person(owner_process.url) as ada, at(other.url, await ada.set_up("Ada")) as there:
            conversation = await ada.make_conversation()
            async with there.stream(f"/api/stream/conversations/{conversation}") as reader:
                await reader.until_type("stream.ready")
                reply = await ask(ada, conversation, "Hello?")
                call = await upstream.next_call()
                await call.say("Once")
                await reader.until(lambda r: r.text_of(reply) == "Once")
                yield Talk(reply, call, reader, there, reaping)


def _passed_after(event: asyncio.Event) -> Hook:
    async def wait() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await event.wait()

    return wait


async def _assert_closed_once(talk: Talk, owner: asyncpg.Connection) -> None:
    """One message.done, as interrupted, then the error; the fence has moved; the text is what was said; the reader saw no cut."""
    told = await until_done(talk.reader, talk.reply)
    assert [kind for kind, _ in told] == ["message.done", "error"]
    assert (told[0][1]["finish_reason"], told[1][1]["code"]) == ("error", "generation_interrupted")
    assert not talk.reader.is_closed
    assert_unbroken(talk.reader.logged)
    shown = await read(talk.there, talk.reply)
    assert (shown["status"], shown["content"]) == ("interrupted", "Once")
    rows = await owner.fetch("select type from rustygpt.event_log where message_id = $1 order by position", talk.reply)
    types = [row["type"] for row in rows if row["type"] != "message.created"]
    assert types == ["message.delta", "message.done", "error"]
    assert await owner.fetchval("select fence from rustygpt.generations where message_id = $1", talk.reply) == 2


async def test_killed_owner_is_closed_by_the_other(
    gates: list[GatedDatabase],
    dsn: str,
    tmp_path: Path,
    bus: dict[str, str],
    upstream: ScriptedOpenAI,
    owner_process: ServerProcess,
    owner: asyncpg.Connection,
) -> None:
    """kill -9 of the process that writes: after its lease the other ends the reply, and its readers stay."""
    async with _talking(gates, dsn, tmp_path, bus, upstream, owner_process) as talk:
        await owner_process.kill()
        talk.reaping.set()
        await _assert_closed_once(talk, owner)
        await owner_process.start()
        await until_ready(owner_process.url)


async def test_owner_that_sleeps_past_its_lease_is_refused(
    gates: list[GatedDatabase],
    dsn: str,
    tmp_path: Path,
    bus: dict[str, str],
    upstream: ScriptedOpenAI,
    owner_process: ServerProcess,
    owner: asyncpg.Connection,
) -> None:
    """SIGSTOP past the lease, then SIGCONT with more text waiting: nothing of it is stored, and the owner leaves the provider."""
    async with _talking(gates, dsn, tmp_path, bus, upstream, owner_process) as talk:
        with _asleep(owner_process.pid):
            talk.reaping.set()
            await talk.reader.until_type("message.done")
            await talk.call.say(" upon a time")
        await talk.call.until_gone()
        await until_ready(owner_process.url)
        await _assert_closed_once(talk, owner)
        await until(lambda: _is(b'"generation_lost"' in owner_process.log.read_bytes()))


async def _is(fact: object) -> bool:
    return bool(fact)


async def test_stop_after_the_owners_death(
    gates: list[GatedDatabase],
    dsn: str,
    tmp_path: Path,
    bus: dict[str, str],
    upstream: ScriptedOpenAI,
    owner_process: ServerProcess,
    owner: asyncpg.Connection,
) -> None:
    """Stop, pressed twice while a dead process still has its lease, ends the reply as cancelled when the lease runs out: once."""
    async with _talking(gates, dsn, tmp_path, bus, upstream, owner_process) as talk:
        await owner_process.kill()
        for _ in range(2):
            await stop(talk.there, talk.reply)
        talk.reaping.set()
        ((_, done),) = await until_done(talk.reader, talk.reply)
        assert done["finish_reason"] == "cancelled"
        shown = await read(talk.there, talk.reply)
        assert (shown["status"], shown["content"]) == ("cancelled", "Once")
        done_events = "select count(*) from rustygpt.event_log where type = 'message.done'"
        assert await owner.fetchval(done_events) == 1
        assert await owner.fetchval("select fence from rustygpt.generations where message_id = $1", talk.reply) == 2
