"""The bus over Valkey or Redis: publish and subscribe on one channel for each database. Nothing is stored there.

Beside wake-ups it carries the deltas just committed, so that processes whose rings they continue need not read the log. Whoever may
publish there can show readers text that was never written: the server belongs behind a password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ClassVar

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from rustygpt.database.call import Caller
from rustygpt.errors import Unavailable
from rustygpt.observability.metrics import Metrics
from rustygpt.streaming.bus.shared import SharedBus
from rustygpt.streaming.procedures import bus_channel


class RedisBus(SharedBus):
    """Talks to the server at *url*; *database* says on which channel."""

    max_bytes: ClassVar[int] = 262_144
    carries_deltas: ClassVar[bool] = True

    def __init__(self, url: SecretStr, database: Caller, metrics: Metrics, epoch: Callable[[], str]) -> None:
        super().__init__(metrics, epoch)
        self._database = database
        self._channel = ""
        # Its own repeats would hide that something was missed.
        self._client = Redis.from_url(url.get_secret_value(), retry=Retry(NoBackoff(), 0))

    @override
    async def close(self) -> None:
        await super().close()
        await self._client.aclose()

    @override
    async def _send(self, body: bytes) -> None:
        async with _translated():
            await self._client.publish(await self._find_channel(), body)

    @override
    async def _hear_until_lost(self) -> None:
        channel = await self._find_channel()
        async with _translated():
            pubsub = self._client.pubsub()
            try:
                await pubsub.subscribe(channel)
                # `_keep_hearing` ends this when nothing is heard.
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        self._hear(message["data"])
                    else:
                        self._arrive()
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _find_channel(self) -> str:
        if not self._channel:
            self._channel = await bus_channel(self._database)
        return self._channel


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(f"The bus cannot be reached: {error}") from error
