"""Fault 16: SIGTERM under load, then a new process on the same port."""

import time
from contextlib import AsyncExitStack

import asyncpg

from tests.assistant.exchange import ask
from tests.faults.conftest import MakeServer, Measured, People
from tests.faults.recorder import assert_recorded, recording

STREAMS = 50
REPLIES = 4
DRAIN_SECONDS, GRACE_SECONDS = 2, 1
MARGIN_SECONDS = 5 + 5
"""What `serve` allows itself for closing, and a busy machine."""


async def test_fault_16_sigterm_under_load_then_a_new_process(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection, measured: Measured
) -> None:
    """Fifty streams of four replies: it ends in time with 0, tells readers to come back at different times, and all resume whole."""
    settings = {"SSE__DRAIN_SECONDS": DRAIN_SECONDS, "ASSISTANT__SHUTDOWN_GRACE_SECONDS": GRACE_SECONDS}
    server = make_server("one", dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=100, **settings)
    await server.start()
    ada = await people.set_up(server)
    conversations = [await ada.make_conversation() for _ in range(REPLIES)]
    paths = [f"/api/stream/conversations/{conversations[number % REPLIES]}" for number in range(STREAMS - 5)]
    async with AsyncExitStack() as stack:
        recorders = await stack.enter_async_context(recording(ada, *paths, *["/api/stream"] * 5))
        replies = [await ask(ada, conversation, "count to 100000") for conversation in conversations]
        for recorder in recorders:
            await recorder.until(lambda r: any(event.type == "message.delta" for event in r.logged))
        began = time.monotonic()
        assert await server.stop() == 0
        seconds = time.monotonic() - began
        assert seconds < DRAIN_SECONDS + GRACE_SECONDS + MARGIN_SECONDS
        first = [recorder.readers[0] for recorder in recorders]
        for recorder in recorders:
            await recorder.until(lambda r: r.readers[0].is_closed)
        farewells = [reader.retries[-1] for reader in first]
        measured(f"fault 16: ended {seconds:.1f} s after SIGTERM; {len(set(farewells))} retry values in {STREAMS} farewells")
        assert all(5_000 <= farewell <= 15_000 for farewell in farewells)
        assert len(set(farewells)) > STREAMS // 2
        await server.start()
        for number, recorder in enumerate(recorders):
            wanted = replies if recorder.path == "/api/stream" else [replies[number % REPLIES]]
            await recorder.until(lambda r, wanted=wanted: r.done(*wanted) and r.logged[-1].type == "thread.activity")
    for number, recorder in enumerate(recorders):
        conversation = None if recorder.path == "/api/stream" else conversations[number % REPLIES]
        await assert_recorded(recorder, owner, conversation)
        assert recorder.statuses.count(200) == len(recorder.statuses)
