"""A client that leaves is missed at once, at whatever moment, under our protocol and under another; nothing of its stream stays behind."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from uvicorn.protocols.http.h11_impl import H11Protocol

from rustygpt.streaming.routes import Connection
from rustygpt.streaming.sockets import PIPELINED_REQUESTS, BoundedProtocol
from rustygpt.streaming.user_subscriber import UserSubscriber
from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site, serving, settings_for
from tests.streaming.gated_database import Barrier, GatedDatabase

PROTOCOLS = pytest.mark.parametrize("protocol", [BoundedProtocol, H11Protocol])

BODY_BYTES = 300_000


class Client:
    """A raw connection, to say what no HTTP client would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, person: Person) -> None:
        self._reader = reader
        self._writer = writer
        cookies = "; ".join(f"{name}={value}" for name, value in person.client.cookies.items())
        self._head = f"Host: {person.client.base_url.host}\r\nCookie: {cookies}\r\n"

    def request(self, more: str = "", path: str = "/api/stream") -> bytes:
        """Return the request for a stream."""
        return f"GET {path} HTTP/1.1\r\n{self._head}{more}\r\n".encode()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self._writer.drain()

    async def until(self, text: bytes) -> bytes:
        """Read until *text* was read."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._reader.readuntil(text)

    async def rest(self) -> bytes:
        """Read until the server has closed the connection."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._reader.read()

    def leave(self) -> None:
        """Close the connection, unread bytes and all."""
        self._writer.transport.abort()


@asynccontextmanager
async def _client(person: Person) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(person.client.base_url.host, person.client.base_url.port)
    try:
        yield Client(reader, writer, person)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _site(
    dsn: str, data_dir: Path, protocol: type[asyncio.Protocol] = BoundedProtocol
) -> AsyncIterator[tuple[Site, Person]]:
    """A site with one place for a stream: only who has left makes room."""
    settings = settings_for(data_dir, sse={"flush_ms": 0, "heartbeat_seconds": 0.2, "max_streams_per_user": 1})
    async with serving(settings, dsn, protocol=protocol) as site:
        person = await Person(site.url).set_up("Ada")
        yield site, person
        await person.close()


async def _until_nothing_is_left(person: Person) -> None:
    """Wait until there is room for another stream, and no object of the former one."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await person.request("HEAD", "/api/stream")).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(0)
        while (await person.get("/healthz")).status_code == 200 and _kept():  # noqa: ASYNC110
            await asyncio.sleep(0)


def _kept() -> Counter[str]:
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in (Connection, UserSubscriber))


@PROTOCOLS
@pytest.mark.parametrize("moment", ["idle", "resumed", "with a body"])
async def test_client_leaves_an_idle_stream(dsn: str, data_dir: Path, protocol: type[asyncio.Protocol], moment: str) -> None:
    """Whoever closes an idle stream is gone long before the next event, also with a body that nobody asked for."""
    async with _site(dsn, data_dir, protocol) as (_, person), _client(person) as client:
        more = {"with a body": f"Content-Length: {BODY_BYTES}\r\n", "resumed": "Last-Event-ID: zzzz-1\r\n"}.get(moment, "")
        await client.send(client.request(more))
        if moment == "with a body":
            await client.send(b"x" * BODY_BYTES)
        await client.until(b"event: stream.ready")
        assert (await person.get("/api/stream")).status_code == 429
        client.leave()
        await _until_nothing_is_left(person)


@PROTOCOLS
async def test_client_leaves_in_the_middle_of_a_send(dsn: str, data_dir: Path, protocol: type[asyncio.Protocol]) -> None:
    """A send that waits for a client ends when the client does, not when its time is over."""
    async with _site(dsn, data_dir, protocol) as (_, person), _client(person) as client:
        await client.send(client.request())
        await client.until(b"event: stream.ready")
        await person.say(await person.make_conversation(), "count to 100000")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while "sse_queue_depth 0.0\n" in (await person.get("/metrics")).text:  # noqa: ASYNC110
                await asyncio.sleep(0)
        client.leave()
        await _until_nothing_is_left(person)


async def test_client_leaves_before_the_answer(carol: Person, gate: GatedDatabase) -> None:
    """A client that does not wait for the head leaves nothing, whatever the database is doing."""
    barrier = gate.before["open_user_stream"] = Barrier()
    async with _client(carol) as client:
        await client.send(client.request())
        async with asyncio.timeout(DEADLINE_SECONDS):
            await barrier.is_reached.wait()
        client.leave()
        assert (await carol.get("/healthz")).status_code == 200
        gate.before.clear()
        barrier.go_on.set()
        await _until_nothing_is_left(carol)


async def test_client_leaves_with_the_next_request_waiting(dsn: str, data_dir: Path) -> None:
    """A second request behind an open stream waits; it does not hide that the client is gone."""
    async with _site(dsn, data_dir) as (_, person), _client(person) as client:
        await client.send(client.request() + client.request(path="/healthz"))
        await client.until(b"event: stream.ready")
        client.leave()
        await _until_nothing_is_left(person)


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01 no request at all\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3 * PIPELINED_REQUESTS]
)
@pytest.mark.filterwarnings("default")
async def test_junk_after_the_request(dsn: str, data_dir: Path, junk: bytes) -> None:
    """What is no request, or too many of them, ends the stream without a word that could be taken for one of its events."""
    async with _site(dsn, data_dir) as (_, person), _client(person) as client:
        await client.send(client.request())
        head = await client.until(b"event: stream.ready")
        assert head.startswith(b"HTTP/1.1 200")
        await client.send(junk)
        assert b"HTTP/1.1" not in await client.rest()
        await _until_nothing_is_left(person)


async def test_half_closed_connection_ends_the_stream(dsn: str, data_dir: Path) -> None:
    """A client that closes its half says that it leaves."""
    async with _site(dsn, data_dir) as (_, person), _client(person) as client:
        await client.send(client.request())
        await client.until(b"event: stream.ready")
        client._writer.write_eof()
        await client.rest()
        await _until_nothing_is_left(person)


async def test_line_of_a_stream_tells_all(dsn: str, data_dir: Path) -> None:
    """What a stream lets go once it has begun is not missed in its line of the log."""
    with capture_logs() as lines:
        async with _site(dsn, data_dir) as (_, person), _client(person) as client:
            await client.send(client.request("X-Request-Id: mine\r\n"))
            await client.until(b"event: stream.ready")
            client.leave()
            await _until_nothing_is_left(person)
    (line,) = [each for each in lines if each["event"] == "http_request" and each.get("is_stream") and each["method"] == "GET"]
    told = {key: line[key] for key in ("method", "route", "status", "actor_id", "is_stream")}
    assert told == {"method": "GET", "route": "/api/stream", "status": 200, "actor_id": person.id, "is_stream": True}


async def test_connection_is_used_again_after_a_stream(dsn: str, data_dir: Path) -> None:
    """A stream that the server ends leaves its connection whole for the next request, and for being closed after it."""
    settings = settings_for(data_dir, sse={"max_lifetime_seconds": 0.5, "heartbeat_seconds": 0.1, "max_streams_per_user": 1})
    async with serving(settings, dsn) as site:
        person = await Person(site.url).set_up("Ada")
        async with _client(person) as client:
            for _ in range(2):
                await client.send(client.request())
                assert (await client.until(b"event: stream.ready")).startswith(b"HTTP/1.1 200")
                await client.until(b"\r\n0\r\n\r\n")
            await client.send(client.request(path="/healthz"))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            client.leave()
            await _until_nothing_is_left(person)
        await person.close()
