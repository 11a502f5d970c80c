"""Bad input to streams: each has its documented answer, is counted by a metric, and leaves nothing behind.

Nothing: as many open files, subscribers and connections as before.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio

from tests.conftest import with_database
from tests.faults.cluster import OwnPostgres
from tests.faults.conftest import QUICK, execute
from tests.faults.observe import descriptors, metric, subscribers, until
from tests.faults.recorder import recording_one
from tests.person import DEADLINE_SECONDS, Person
from tests.raw_reader import RawReader
from tests.server_process import ServerProcess

SETTINGS = {
    "SERVER__HEAD_TIMEOUT_SECONDS": "2",
    "SSE__SEND_TIMEOUT_SECONDS": "2",
    "SSE__HEARTBEAT_SECONDS": "0.5",
    "SSE__MAX_STREAMS_PER_USER": "16",
    "DATABASE__POOL_MIN": "4",
    "DATABASE__POOL_MAX": "4",
    "ASSISTANT__DEMO__TOKENS_PER_SECOND": "0",
}
pytestmark = pytest.mark.asyncio(loop_scope="module")

JUNK = [b"\x00\xff\x16\x03\x01 this is no request\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n" * 200, b"x" * 1_000_000]
CLIENTS = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A server with Ada, who has a conversation with some history, and Bob, who has one of his own."""

    server: ServerProcess
    ada: Person
    bob: Person
    path: str
    path_of_bob: str
    ids: list[str]

    async def answered(self, status: int) -> float:
        """How many requests for a conversation's stream had an answer."""
        series = f'http_requests_total{{method="GET",route="/api/stream/conversations/{{conversation_id}}",status="{status}"}}'
        return await metric(self.server.url, series, absent=0)

    async def refused(self, reason: str) -> float:
        """How many connections were refused for a reason."""
        return await metric(self.server.url, f'http_connections_refused_total{{reason="{reason}"}}')

    @asynccontextmanager
    async def without_a_trace(self) -> AsyncIterator[None]:
        """Whatever the block did, the server has no more files and subscribers than before it, once it has noticed."""
        await self.until_quiet()
        before = descriptors(self.server.pid)
        yield
        await self.until_quiet()

        async def is_as_before() -> bool:
            return descriptors(self.server.pid) <= before

        await until(is_as_before)

    async def until_quiet(self) -> None:
        """Close the connections of Ada and Bob, and wait until the server has no stream."""
        for person in (self.ada, self.bob):
            cookies = person.client.cookies
            await person.client.aclose()
            person.client = httpx2.AsyncClient(base_url=self.server.url, timeout=60, cookies=cookies)

        async def is_quiet() -> bool:
            return await subscribers(self.server) == 0

        await until(is_quiet)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(own_postgres: OwnPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One such server for all: whatever one of these tests does to it, the next must find it well."""
    await execute(own_postgres.dsn, "create database bad_input")
    dsn, folder = with_database(own_postgres.dsn, "bad_input"), tmp_path_factory.mktemp("bad") / "input"
    folder.mkdir()
    server = ServerProcess(
        folder, environment={**QUICK, "DATABASE_URL": dsn, **{f"RUSTYGPT__{k}": v for k, v in SETTINGS.items()}}
    )
    await server.start()
    ada, bob = await Person(server.url).set_up("Ada"), await Person(server.url).register("Bob")
    path, path_of_bob = [f"/api/stream/conversations/{await each.make_conversation(assistant_mode='off')}" for each in (ada, bob)]
    async with recording_one(ada, path) as recorder:
        for number in range(3):
            await ada.say(path.rpartition("/")[2], f"message {number}")
        await recorder.until(lambda r: "message 2" in str([event.body for event in r.logged]))
        ids = [event.id or "" for event in recorder.logged]
    yield Place(server, ada, bob, path, path_of_bob, ids)
    await ada.close()
    await bob.close()
    assert await server.stop() == 0
    await execute(own_postgres.dsn, "drop database bad_input with (force)")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "abcd",
        "abcd-",
        "-1",
        "abcd--1",
        "ABCD-1",
        "abcd-1-1",
        "abcd-1,abcd-2",
        "9" * 41,
        "x" * 60_000,
        "abcd-9223372036854775808",
    ],
)
async def test_malformed_and_huge_cursors_are_a_400(place: Place, cursor: str) -> None:
    """By header and by query, and given twice: 400 RGP.BAD_REQUEST, counted, nothing opened."""
    async with place.without_a_trace():
        before = await place.answered(400)
        for how in (
            {"headers": {"Last-Event-ID": cursor}},
            {"params": {"last_event_id": cursor}},
            {"params": [("last_event_id", place.ids[0]), ("last_event_id", place.ids[0])]},
        ):
            answer = await place.ada.get(place.path, **how)
            assert (answer.status_code, answer.json()["code"]) == (400, "RGP.BAD_REQUEST")
        assert await place.answered(400) == before + 3


async def test_cursors_of_another_history_are_a_gap(place: Place) -> None:
    """Another epoch and the future: one stream.gap, counted, and live from there on. Those of another's conversation are only a place."""
    epoch = place.ids[0].partition("-")[0]
    async with place.without_a_trace():
        before = await metric(place.server.url, 'sse_gap_total{reason="unknown_cursor"}')
        for cursor in ("zzzzzz-1", f"{epoch}-9223372036854775807"):
            async with recording_one(place.ada, place.path, cursor) as recorder:
                assert [gap["reason"] for gap in recorder.gaps] == ["unknown_cursor"]
        assert await metric(place.server.url, 'sse_gap_total{reason="unknown_cursor"}') == before + 2
        async with recording_one(place.bob, place.path_of_bob, place.ids[0]) as recorder:
            await place.bob.say(place.path_of_bob.rpartition("/")[2], "for Bob")
            await recorder.until(lambda r: "for Bob" in str([event.body for event in r.logged]))
            assert b"message 1" not in recorder.readers[0].raw


async def test_streams_that_are_not_ones_own_are_a_404(place: Place) -> None:
    """A conversation one is not in, one that is not there, another user's stream: 404; without a session 401; a bad id 400."""
    async with place.without_a_trace():
        before = await place.answered(404)
        for path in (place.path, place.path[:-12] + "0" * 12, f"/api/stream/{place.ada.id}"):
            answer = await place.bob.get(path, headers={"Last-Event-ID": place.ids[0]})
            assert (answer.status_code, answer.json()["code"]) == (404, "RGP.NOT_FOUND")
        assert (await place.bob.get("/api/stream/conversations/nonsense")).status_code == 400
        async with httpx2.AsyncClient(base_url=place.server.url, timeout=DEADLINE_SECONDS) as stranger:
            assert (await stranger.get(place.path)).status_code == 401
        assert await place.answered(404) == before + 2


async def test_seventeenth_stream_is_a_429(place: Place) -> None:
    """Sixteen streams of a user are served, the next is a 429 with Retry-After, and another user is not concerned."""
    async with place.without_a_trace(), AsyncExitStack() as stack:
        for _ in range(16):
            raw = stack.enter_context(closing(RawReader(place.ada, "/api/stream")))
            await raw.open()
            await raw.read_until(b"stream.ready")
        answer = await place.ada.get(place.path)
        assert (answer.status_code, answer.json()["code"]) == (429, "RGP.RATE_LIMITED")
        assert int(answer.headers["retry-after"]) > 0
        assert await place.answered(429) == 1
        async with recording_one(place.bob, "/api/stream"):
            pass


async def test_clients_that_never_read_are_cut(place: Place) -> None:
    """Sixteen clients that take nothing of a long reply are gone after the send timeout, though they stay connected."""
    conversation = await place.bob.make_conversation()
    async with place.without_a_trace(), AsyncExitStack() as stack:
        for _ in range(CLIENTS):
            raw = stack.enter_context(closing(RawReader(place.bob, "/api/stream")))
            await raw.open()

        async def are_open() -> bool:
            return await subscribers(place.server) == CLIENTS

        async def are_cut() -> bool:
            return await subscribers(place.server) == 0

        await until(are_open)
        await place.bob.say(conversation, "count to 100000")
        await until(are_cut)


@pytest.mark.parametrize("junk", JUNK, ids=["bytes", "pipeline", "megabyte"])
async def test_junk_after_the_request_ends_the_stream(place: Place, junk: bytes) -> None:
    """Junk behind the request of a stream closes it without a word that could be taken for an event; counted as malformed."""
    async with place.without_a_trace():
        before = await place.refused("malformed") + await place.refused("head_too_large")
        with closing(RawReader(place.ada, place.path)) as raw:
            await raw.open()
            await raw.read_until(b"stream.ready")
            with suppress(OSError):  # the server closes in the middle of it
                await raw.send(junk)
            await raw.read_to_end()
            assert raw.head.startswith(b"HTTP/1.1 200")
            assert b"HTTP/1.1" not in raw.reader.raw
        assert await place.refused("malformed") + await place.refused("head_too_large") == before + 1


async def test_half_closed_connection_is_a_disconnect(place: Place) -> None:
    """A client that closes its half of the connection is taken for gone: the stream ends at once."""
    async with place.without_a_trace():
        with closing(RawReader(place.ada, place.path)) as raw:
            await raw.open()
            await raw.read_until(b"stream.ready")
            raw.socket.shutdown(1)
            await raw.read_to_end()


async def test_request_that_comes_byte_by_byte_is_served(place: Place) -> None:
    """A slow head is no fault as long as it is whole in time."""
    async with place.without_a_trace():
        with closing(RawReader(place.ada, place.path)) as raw:
            await raw.connect()
            for byte in raw.request:
                await raw.send(bytes([byte]))
            await raw.read_until(b"stream.ready")
            assert raw.head.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("beginning", [b"", b"GET /api/stream", b"GET /api/stream HTTP/1.1\r\nX: y\r\n", b"\r\n"])
async def test_heads_that_never_end_are_a_408(place: Place, beginning: bytes) -> None:
    """Clients that do not finish their head, though they go on sending, are answered by 408 in time; who said nothing is only closed."""
    async with place.without_a_trace(), AsyncExitStack() as stack:
        before = await place.refused("head_too_slow")
        clients = [stack.enter_context(closing(RawReader(place.ada, "/"))) for _ in range(CLIENTS)]
        for raw in clients:
            await raw.connect()
            await raw.send(beginning)
        async with asyncio.TaskGroup() as group:
            for raw in clients if beginning else ():
                group.create_task(dribble(raw, beginning))
            async with asyncio.timeout(60):
                for raw in clients:
                    await raw.read_to_end()
        for raw in clients:
            assert not beginning or re.match(rb"HTTP/1.1 408 .*\r\n", raw.head), raw.head
        assert await place.refused("head_too_slow") == before + (CLIENTS if beginning else 0)


async def dribble(raw: RawReader, beginning: bytes) -> None:
    """Send a byte now and then until the server closes."""
    more = b"\r\n" if beginning == b"\r\n" else b"x"
    while not raw.reader.is_closed:
        try:
            await raw.send(more)
        except OSError:
            return
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(10_000)),
        b"X: " + b"y" * 200_000 + b"\r\n",
        b"X" * 200_000 + b": y\r\n",
    ],
    ids=["ten thousand headers", "long value", "long name"],
)
async def test_heads_without_measure_are_a_431(place: Place, head: bytes) -> None:
    """Ten thousand headers, or one without end, are refused before the application sees them."""
    async with place.without_a_trace():
        before = await place.refused("head_too_large")
        with closing(RawReader(place.ada, place.path)) as raw:
            await raw.connect()
            with suppress(OSError):  # the server closes in the middle of it
                await raw.send(raw.request[:-2] + head + b"\r\n")
            await raw.read_to_end()
            assert not raw.head or raw.head.startswith(b"HTTP/1.1 431 "), raw.head
        assert await place.refused("head_too_large") == before + 1
