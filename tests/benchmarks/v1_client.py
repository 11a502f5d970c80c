"""A client of chat completions that costs next to nothing: one that waits for first tokens, one that reads many streams, one that hangs up."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvloop
from typing_extensions import override

from tests.benchmarks.figures import percentile

DEADLINE_SECONDS = 60.0
SETTLE_SECONDS = 1.0
_STAMP = re.compile(rb'"content":"(\d{6,})"')


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked: a port, and a key where one is wanted."""

    port: int
    key: str = ""

    def request(self, *, tokens: int, rate: int, model: str = "bench") -> bytes:
        """Return a whole request for a stream; see v1_upstream."""
        messages = [{"role": "user", "content": "How long is the coast?"}]
        body = json.dumps({"model": model, "messages": messages, "stream": True, "max_tokens": tokens, "seed": rate}).encode()
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{key}Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Streams:
    """What came in a while: `p…_ms` from the upstream's sending of a delta to its receipt."""

    tokens: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Patient:
    """One kept connection that waits for first tokens, in turn."""

    def __init__(self, target: Target) -> None:
        self._request = target.request(tokens=1, rate=0)
        self._socket = socket.create_connection(("127.0.0.1", target.port), DEADLINE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def first_token_ms(self) -> float:
        """Ask, and return how long the first delta took; the rest is read before the next."""
        began_at, first_at, got = time.perf_counter(), 0.0, b""
        self._socket.sendall(self._request)
        while not got.endswith(b"\r\n0\r\n\r\n"):
            if not (data := self._socket.recv(65_536)):
                raise RuntimeError(f"the connection ended: {got[:300]!r}")
            got += data
            if not first_at and _STAMP.search(got):
                first_at = time.perf_counter()
        if not first_at:
            raise RuntimeError(f"no delta: {got[:300]!r}")
        return (first_at - began_at) * 1000

    def close(self) -> None:
        self._socket.close()


class _Reader(asyncio.Protocol):
    def __init__(self, request: bytes, took_ns: list[int]) -> None:
        self._request = request
        self._took_ns = took_ns
        self._rest = b""
        self.count = 0
        self.is_lost = False
        self.is_done = False
        self.transport: asyncio.Transport

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for frame in whole:
            if found := _STAMP.search(frame):
                self._took_ns.append(now - int(found[1]))
                self.count += 1
            elif b"[DONE]" in frame:
                self.is_done = True

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


def read_streams(target: Target, streams: int, rate: int, seconds: float, on_phase: Callable[[], None]) -> Streams:
    """Hold *streams* open at *rate* tokens a second, and measure *seconds* of them; *on_phase* is called at both ends."""

    async def run() -> Streams:
        took_ns: list[int] = []
        # Not endless: a pass-through does not tell its upstream that a client has gone, and would go on behind the next round.
        request = target.request(tokens=int(rate * (seconds + SETTLE_SECONDS + 2)), rate=rate)
        loop, readers = asyncio.get_running_loop(), []
        for _ in range(streams):
            _, reader = await loop.create_connection(lambda: _Reader(request, took_ns), "127.0.0.1", target.port)
            readers.append(reader)
            await passed(1 / max(rate, 50) / streams)  # not all in step
        await _until(lambda: all(reader.count for reader in readers))
        await passed(SETTLE_SECONDS)
        took_ns.clear()
        on_phase()
        began_at = time.perf_counter()
        await passed(seconds)
        took_seconds = time.perf_counter() - began_at
        on_phase()
        ordered = sorted(took_ns)
        if any(reader.is_lost or reader.is_done for reader in readers):
            raise RuntimeError("a stream ended: the round does not count")
        await _until(lambda: all(reader.is_done for reader in readers))
        for reader in readers:
            reader.transport.abort()
        return Streams(len(ordered), took_seconds, percentile(ordered, 0.5) / 1e6, percentile(ordered, 0.99) / 1e6)

    return uvloop.run(run())


def hang_up(target: Target, times: int) -> list[int]:
    """Begin a stream and hang up after some deltas, *times* times; return when each was."""

    async def run() -> list[int]:
        loop, closed = asyncio.get_running_loop(), []
        for _ in range(times):
            request = target.request(tokens=1_000_000, rate=50)
            _, reader = await loop.create_connection(lambda made=request: _Reader(made, []), "127.0.0.1", target.port)
            await _until(lambda held=reader: held.count >= 3)
            closed.append(time.monotonic_ns())
            reader.transport.abort()
        return closed

    return uvloop.run(run())


def closes(port: int, count: int) -> Sequence[int]:
    """Ask the upstream when its clients hung up, once there are *count*."""

    async def run() -> list[int]:
        found: list[int] = []

        async def all_told() -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /closes HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
            found[:] = json.loads(await reader.readexactly(length))
            writer.close()
            return len(found) >= count

        await _until_awaited(all_told)
        return found

    return uvloop.run(run())


async def passed(seconds: float) -> None:
    """Let a measurement run for a while."""
    ends_at = time.monotonic() + seconds
    while (remaining := ends_at - time.monotonic()) > 0:  # noqa: ASYNC110 - what is waited for is the time itself
        await asyncio.sleep(remaining)


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not fact():  # noqa: ASYNC110 - a protocol counts, nobody signals
            await asyncio.sleep(0.002)


async def _until_awaited(fact: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await fact():  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.05)
