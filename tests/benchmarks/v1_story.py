"""How fast several streams of llama.cpp are together: each asks again as soon as its story has been told."""

import asyncio
import time

import uvloop
from typing_extensions import override

from tests.benchmarks.v1_client import DEADLINE_SECONDS, Target, passed


class _Listener(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self._transport: asyncio.Transport
        self.count = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        self.count += data.count(b'"content":"') - data.count(b'"content":""')
        if data.endswith(b"\r\n0\r\n\r\n"):
            self._transport.write(self._request)

    def stop(self) -> None:
        self._transport.abort()


def tokens_per_second(target: Target, streams: int, seconds: float) -> float:
    """Return the sum of all streams' tokens a second."""

    async def run() -> float:
        request = target.request(tokens=2_900, rate=1, model="slow")
        loop = asyncio.get_running_loop()
        listeners = [
            (await loop.create_connection(lambda: _Listener(request), "127.0.0.1", target.port))[1] for _ in range(streams)
        ]
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not all(listener.count for listener in listeners):  # noqa: ASYNC110 - a protocol counts, nobody signals
                await asyncio.sleep(0.01)
        before, began_at = sum(listener.count for listener in listeners), time.perf_counter()
        await passed(seconds)
        rate = (sum(listener.count for listener in listeners) - before) / (time.perf_counter() - began_at)
        for listener in listeners:
            listener.stop()
        return rate

    return uvloop.run(run())
