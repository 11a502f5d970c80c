"""Clients that do not keep up: they cost a bounded amount of memory, slow nobody, and never miss anything without being told."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.person import Person, StreamReader
from tests.site import Site, serving, settings_for

COUNT = 100_000


class SlowReader:
    """A raw socket with a small receive buffer: it reads when it is told to."""

    def __init__(self, person: Person, path: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._socket.setblocking(False)
        cookies = "; ".join(f"{name}={value}" for name, value in person.client.cookies.items())
        self._request = f"GET {path} HTTP/1.1\r\nHost: {person.client.base_url.host}\r\nCookie: {cookies}\r\n\r\n".encode()
        self._address = (person.client.base_url.host, person.client.base_url.port)
        self.reader = StreamReader()
        self._head = b""

    async def open(self) -> None:
        """Connect and ask; read nothing."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, self._address)
        await loop.sock_sendall(self._socket, self._request)

    async def read(self, at_most: int = 1 << 20) -> int:
        """Read once; 0 at the end."""
        loop = asyncio.get_running_loop()
        try:
            data = await loop.sock_recv(self._socket, at_most)
        except ConnectionResetError:
            data = b""
        if not data:
            self.reader.close()
        self._feed(data)
        return len(data)

    async def read_until(self, text: bytes) -> None:
        """Read until *text* was read."""
        async with asyncio.timeout(60):
            while text not in self.reader.raw and await self.read():
                pass

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _feed(self, data: bytes) -> None:
        """Strip the response's head and the chunked framing."""
        self._head += data
        if b"\r\n\r\n" in self._head and not self.reader.raw:
            self._head = self._head.partition(b"\r\n\r\n")[2]
        while (match := re.match(rb"([0-9a-f]+)\r\n", self._head)) and len(self._head) >= match.end() + int(match[1], 16) + 2:
            size = int(match[1], 16)
            self.reader.feed(self._head[match.end() : match.end() + size])
            self._head = self._head[match.end() + size + 2 :]


@asynccontextmanager
async def _slow_site(dsn: str, data_dir: Path, **sse: object) -> AsyncIterator[tuple[Site, Person]]:
    settings = settings_for(data_dir, sse={"flush_ms": 0, "heartbeat_seconds": 1, **sse})
    async with serving(settings, dsn) as site:
        person = await Person(site.url).set_up("Ada")
        yield site, person
        await person.close()


async def test_reader_that_sleeps_gets_the_text_or_a_gap(dsn: str, data_dir: Path) -> None:
    """While one reader sleeps through long replies another is served at once; when it wakes it is told what to fetch, and has all."""
    async with _slow_site(dsn, data_dir, channel_capacity=1) as (_, person):
        conversation = await person.make_conversation()
        slow = SlowReader(person, f"/api/stream/conversations/{conversation}")
        await slow.open()
        await slow.read_until(b"stream.ready")
        async with person.stream(f"/api/stream/conversations/{conversation}") as quick:
            await quick.until_type("stream.ready")
            reply = (await person.say(conversation, f"count to {COUNT}"))["generation"]["message_id"]
            await quick.until_type("message.done")
            assert quick.text_of(reply) == " ".join(str(n) for n in range(1, COUNT + 1))
        await slow.read_until(b"event: message.done")
        slow.close()
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
        slow = SlowReader(person, "/api/stream")
        await slow.open()
        await slow.read_until(b"stream.ready")
        reply = (await person.say(conversation, f"count to {COUNT}"))["generation"]["message_id"]
        async with asyncio.timeout(60):
            while b"event: message.done" not in slow.reader.raw:
                assert await slow.read(2_048)
                await asyncio.sleep(0)
        slow.close()
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
        slow = SlowReader(person, "/api/stream")
        await slow.open()
        await slow.read_until(b"stream.ready")
        reply = (await person.say(conversation, f"count to {COUNT}"))["generation"]["message_id"]
        assert (await person.get("/api/stream")).status_code == 429
        async with asyncio.timeout(60):
            while (await person.request("HEAD", "/api/stream")).status_code == 429:  # noqa: ASYNC110
                await asyncio.sleep(0)
        slow.close()
        async with person.stream("/api/stream", headers={"Last-Event-ID": slow.reader.last_id or ""}) as again:
            await again.until_type("message.done")
            assert again.text_of(reply) == " ".join(str(n) for n in range(1, COUNT + 1))
