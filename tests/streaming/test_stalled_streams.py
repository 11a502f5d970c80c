"""A client that takes nothing is cut, once, by the drain at the latest: it must neither hold up the process's end nor bring it about."""

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
import structlog

from tests.person import DEADLINE_SECONDS, Person
from tests.raw_reader import RawReader
from tests.site import Site, serving, settings_for

STALLED_SECONDS = 0.5
SEND_SECONDS = 300


@asynccontextmanager
async def _stalled(site: Site, person: Person) -> AsyncIterator[RawReader]:
    """Open a stream that nobody reads, and wait until its send does not go on."""
    conversation = await person.make_conversation()
    with closing(RawReader(person, "/api/stream")) as slow:
        await slow.open()
        await slow.read_until(b"stream.ready")
        await person.say(conversation, "count to 100000")
        (connection,) = site.application._parts.sweeper._connections
        subscriber = connection.subscriber

        def is_stalled() -> bool:
            return subscriber.sending_since is not None and time.monotonic() - subscriber.sending_since > STALLED_SECONDS

        await _until(is_stalled)
        yield slow


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not fact():  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(0.01)


async def test_drain_cuts_who_takes_nothing(dsn: str, data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stream whose send does not end is cut soon after sse.drain_seconds, long before its send timeout, and its last bytes hold up nothing."""
    settings = settings_for(
        data_dir, sse={"flush_ms": 0, "heartbeat_seconds": 1, "send_timeout_seconds": SEND_SECONDS, "drain_seconds": 0}
    )
    async with AsyncExitStack() as leaving:
        site = await leaving.enter_async_context(serving(settings, dsn))
        person = await leaving.enter_async_context(Person(site.url))
        await person.set_up("Ada")
        async with _stalled(site, person):
            site.application.begin_drain()
            await _until(lambda: not site.application._parts.sweeper._connections)
            await leaving.aclose()
            assert "timeout graceful shutdown exceeded" not in caplog.text


async def test_two_sweeps_at_once_cut_once(dsn: str, data_dir: Path) -> None:
    """A heartbeat's sweep that follows another at once finds the stream still there, being cut: no error. Its client is told at once."""
    settings = settings_for(data_dir, sse={"flush_ms": 0, "send_timeout_seconds": SEND_SECONDS})
    async with serving(settings, dsn) as site, Person(site.url) as person:
        await person.set_up("Ada")
        sweeper = site.application._parts.sweeper
        async with _stalled(site, person) as slow:
            late = time.monotonic() + 2 * SEND_SECONDS
            with structlog.testing.capture_logs() as logs:
                sweeper._look_at_all(late, is_beat=False)
                sweeper._look_at_all(late, is_beat=True)
            assert [line["event"] for line in logs] == ["stream_stalled"]
            await _until(lambda: not sweeper._connections)
            # Told by RST: a close would wait for bytes that nobody takes, and end in silence.
            await _until(lambda: slow.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)
        assert (await person.client.get("/readyz")).status_code == 200
