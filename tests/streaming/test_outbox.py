"""The outbox: bounded, exact when repeated, and never holding what PostgreSQL cannot store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.database.pool import Database
from rustygpt.observability.metrics import Metrics
from rustygpt.settings_streaming import SseSettings
from rustygpt.streaming.log import EventLog
from rustygpt.streaming.outbox import CHUNK_CHARACTERS, Outbox
from tests.person import DEADLINE_SECONDS


def _outbox(max_bytes: int = 1_000_000) -> Outbox:
    return Outbox(UUID(int=1), 1, max_bytes=max_bytes, on_work=lambda: None, on_cancelled=lambda: None)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), max_size=30))
def test_chunks_are_what_was_put(deltas: list[str]) -> None:
    """Whatever the deltas, the chunks in order are the same text, numbered from 0."""

    async def run() -> None:
        outbox = _outbox()
        for delta in deltas:
            assert await outbox.put(delta)
        chunks = []
        while outbox.has_work:
            chunks.append(outbox.take())
            assert outbox.take() == chunks[-1], "a chunk under way does not change"
            outbox.settle(is_cancelled=False)
        assert "".join(chunks) == "".join(deltas)
        assert outbox.next_idx == len(chunks)

    asyncio.run(run())


async def test_long_delta_is_several_chunks() -> None:
    """A delta beyond a chunk's size is cut, so that no frame and no row grows without bound."""
    outbox = _outbox()
    await outbox.put("x" * (CHUNK_CHARACTERS * 2 + 1))
    sizes = []
    while outbox.has_work:
        sizes.append(len(outbox.take()))
        outbox.settle(is_cancelled=False)
    assert sizes == [CHUNK_CHARACTERS, CHUNK_CHARACTERS, 1]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        ("x\ud83dy", "x\ufffdy"),
        ("\ude00", "\ufffd"),
        ("\ufeff\u2028", "\ufeff\u2028"),
    ],
)
async def test_what_cannot_be_stored_is_replaced(given: str, stored: str) -> None:
    """NUL and lone surrogates become U+FFFD, pairs become their character, everything else stays."""
    outbox = _outbox()
    await outbox.put(given)
    assert outbox.take() == stored


async def test_full_outbox_makes_the_model_wait() -> None:
    """Beyond the bound put() waits until something is committed; closing it lets the caller go."""
    outbox = _outbox(max_bytes=10)
    assert await outbox.put("x" * 11)
    waiting = asyncio.ensure_future(outbox.put("y"))
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.take()
    outbox.settle(is_cancelled=False)
    assert await waiting
    assert await outbox.put("z" * 20)
    waiting = asyncio.ensure_future(outbox.put("y"))
    await asyncio.sleep(0)
    outbox.close("expired")
    assert not await waiting
    assert outbox.closed_reason == "expired"


@asynccontextmanager
async def _opened(log: EventLog) -> AsyncIterator[Outbox]:
    """An outbox of a generation that does not exist, and its log at work."""
    outbox = log.open(
        conversation_id=UUID(int=1),
        root_id=UUID(int=2),
        parent_id=None,
        message_id=UUID(int=3),
        fence=1,
        next_idx=0,
        on_cancelled=lambda: None,
    )
    async with asyncio.TaskGroup() as group, asyncio.timeout(DEADLINE_SECONDS):
        committing = group.create_task(log.run())
        try:
            yield outbox
        finally:
            committing.cancel()


async def test_refused_chunk_fails_alone(database: Database) -> None:
    """A chunk of a generation that does not exist is refused; nothing is published, and its outbox is closed."""
    published: list[object] = []
    log = EventLog(database, SseSettings(), Metrics(), lease_seconds=15, publish=published.extend)
    async with _opened(log) as outbox:
        await outbox.put("lost")
        assert not await outbox.flush()
    assert outbox.closed_reason == "refused"
    assert published == []


async def test_database_away_past_the_deadline_closes_the_outbox(database: Database) -> None:
    """When nothing can be committed for sse.persist_deadline_seconds, the outbox says so, and what it held is dropped."""
    await database.close()
    log = EventLog(database, SseSettings(persist_deadline_seconds=0.2), Metrics(), lease_seconds=15, publish=lambda events: None)
    async with _opened(log) as outbox:
        await outbox.put("lost")
        assert not await outbox.flush()
    assert outbox.closed_reason == "expired"
    assert not outbox.has_work
