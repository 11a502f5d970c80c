"""A drain does not wait for a client that takes nothing: the process would be ended by force, in the middle of everything."""

import asyncio
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from tests.person import DEADLINE_SECONDS, Person
from tests.raw_reader import RawReader
from tests.site import serving, settings_for

STALLED_SECONDS = 0.5


async def test_drain_cuts_who_takes_nothing(dsn: str, data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stream whose send does not end is cut soon after sse.drain_seconds, long before its send timeout, and its last bytes hold up nothing."""
    settings = settings_for(
        data_dir, sse={"flush_ms": 0, "heartbeat_seconds": 1, "send_timeout_seconds": 300, "drain_seconds": 0}
    )
    async with AsyncExitStack() as leaving:
        site = await leaving.enter_async_context(serving(settings, dsn))
        person = await leaving.enter_async_context(Person(site.url))
        await person.set_up("Ada")
        conversation = await person.make_conversation()
        sweeper = site.application._parts.sweeper
        with closing(RawReader(person, "/api/stream")) as slow:
            await slow.open()
            await slow.read_until(b"stream.ready")
            await person.say(conversation, "count to 100000")
            (subscriber,) = (connection.subscriber for connection in sweeper._connections)
            async with asyncio.timeout(DEADLINE_SECONDS):
                while subscriber.sending_since is None or time.monotonic() - subscriber.sending_since < STALLED_SECONDS:  # noqa: ASYNC110 - it can only be asked
                    await asyncio.sleep(0.01)
            site.application.begin_drain()
            async with asyncio.timeout(DEADLINE_SECONDS):
                while sweeper._connections:  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.01)
            await leaving.aclose()
            assert "timeout graceful shutdown exceeded" not in caplog.text
