"""Whose turn it is: few at once, few waiting, and of those who wait each source in turn, whatever any one of them sends."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Crowded(Exception):
    """Too many wait already, of this source or of all."""


class Turns:
    """*places* at once; *most* running and waiting together, *most_of_one* of one source."""

    def __init__(self, places: int, *, most: int, most_of_one: int) -> None:
        self._free = places
        self._most = most
        self._most_of_one = most_of_one
        self._pending: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By source, the one whose turn is next first; no queue is empty."""

    @asynccontextmanager
    async def take(self, source: str) -> AsyncIterator[None]:
        """Wait for a turn of *source* and hold it during the block. Raises Crowded, at once."""
        of_one = self._pending.get(source, 0)
        if of_one >= self._most_of_one or sum(self._pending.values()) >= self._most:
            raise Crowded
        self._pending[source] = of_one + 1
        try:
            await self._wait(source)
            try:
                yield
            finally:
                self._pass_on()
        finally:
            self._pending[source] -= 1
            if not self._pending[source]:
                del self._pending[source]

    async def _wait(self, source: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it came in the same moment
            else:
                self._leave(source, turn)
            raise

    def _leave(self, source: str, turn: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(source)
        if queue is None or turn not in queue:
            return  # it was passed over in the same moment
        queue.remove(turn)
        if not queue:
            del self._waiting[source]

    def _pass_on(self) -> None:
        """Give the place to the first of the source that has waited longest for one, or leave it free."""
        while self._waiting:
            source = next(iter(self._waiting))
            queue = self._waiting.pop(source)
            turn = queue.popleft()
            if queue:
                self._waiting[source] = queue  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
