"""Clients that do not keep up: they cost a bounded amount of memory, slow nobody, and never miss anything without being told."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.person import DEADLINE_SECONDS, Person
from tests.raw_reader import RawReader
from tests.site import Site, serving, settings_for

COUNT = 100_000


@asynccontextmanager
async def _slow_site(dsn: str, data_dir: Path, **sse: object) -> AsyncIterator[tuple[Site, Person]]:
    settings = settings_for(data_dir, sse={"flush_ms": 0, "heartbeat_seconds": 1, "send_timeout_seconds": 300, **sse})
    async with serving(settings, dsn) as site, Person(site.url) as person:
        yield site, await person.set_up("Ada")


@asynccontextmanager
async def _reading(person: Person, path: str) -> AsyncIterator[RawReader]:
    """A raw reader that has read the stream's beginning, and reads on when it is told to."""
    with closing(RawReader(person, path)) as reader:
        await reader.open()
        await reader.read_until(b"stream.ready")
        yield reader


async def test_reader_that_sleeps_gets_the_text_or_a_gap(dsn: str, data_dir: Path) -> None:
    """While one reader sleeps through long replies another is served at once; when it wakes it is told what to fetch, and has all."""
    async with _slow_site(dsn, data_dir, channel_capacity=1) as (_, person):
        conversation = await person.make_conversation()
        path = f"/api/stream/conversations/{conversation}"
        async with _reading(person, path) as slow:
            async with person.stream(path) as quick:
                await quick.until_type("stream.ready")
                reply = (await person.say(conversation, f"count to {COUNT}"))["generation"]["message_id"]
                await quick.until_type("message.done")
                assert quick.text_of(reply) == " ".join(str(n) for n in range(1, COUNT + 1))
            await slow.read_until(b"event: message.done")
        gaps = [event.payload for event in slow.reader.events if event.type == "stream.gap"]
        assert [gap["reason"] for gap in gaps] == ["slow_consumer"] * len(gaps)
        assert {gap["message_id"] for gap in gaps} == {reply}, "so much unread is more than eight times the capacity"
        fetched = (await person.get(f"/api/messages/{reply}")).json()
        assert fetched["content"] == quick.text_of(reply)
        assert len(slow.reader.raw) < len(quick.raw)
        metrics = (await person.get("/metrics")).text
        assert float(re.search(r'sse_events_dropped_total{reason="slow_consumer",type="message.delta"} (\S+)', metrics)[1]) > 0  # type: ignore[index]


async def test_deltas_around_a_gap_are_whole(dsn: str, data_dir: Path) -> None:
    """What a slow reader did get, and what its gaps name, together cover every chunk from the first to the last."""
    async with _slow_site(dsn, data_dir, channel_capacity=2) as (_, person):
        conversation = await person.make_conversation()
        async with _reading(person, "/api/stream") as slow:
            reply = (await person.say(conversation, f"count to {COUNT}"))["generation"]["message_id"]
            async with asyncio.timeout(DEADLINE_SECONDS):
                while b"event: message.done" not in slow.reader.raw:
                    assert await slow.read(2_048)
                    await asyncio.sleep(0)
        covered = 0
        for event in slow.reader.events:
            if event.type == "message.delta" and event.payload["message_id"] == reply:
                assert event.payload.get("idx_from", event.payload["idx"]) <= covered
                covered = max(covered, event.payload["idx"] + 1)
            elif event.type == "stream.gap":
                assert event.payload["from_idx"] <= covered
                covered = max(covered, event.payload["to_idx"] + 1)
        assert covered == next(e.payload["chunks"] for e in slow.reader.events if e.type == "message.done")


async def test_reader_that_never_reads_is_cut(dsn: str, data_dir: Path) -> None:
    """A send that stalls for sse.send_timeout_seconds ends the stream; the place is free again, and the resume goes on."""
    async with _slow_site(dsn, data_dir, send_timeout_seconds=1, max_streams_per_user=1) as (_, person):
        conversation = await person.make_conversation()
        async with _reading(person, "/api/stream") as slow:
            assert (await person.get("/api/stream")).status_code == 429
            reply = (await person.say(conversation, f"count to {COUNT}"))["generation"]["message_id"]
            async with asyncio.timeout(DEADLINE_SECONDS):
                while (await person.request("HEAD", "/api/stream")).status_code == 429:  # noqa: ASYNC110 - it can only be asked
                    await asyncio.sleep(0)
        async with person.stream("/api/stream", headers={"Last-Event-ID": slow.reader.last_id or ""}) as again:
            await again.until_type("message.done")
            assert again.text_of(reply) == " ".join(str(n) for n in range(1, COUNT + 1))
