"""Pages of the log, read once for all who ask for them within a few seconds: a thousand readers that come back cost a query a page.

What lies at or below the position that a page was read up to changes only when a message is deleted or edited, and then all pages are
forgotten; so a kept page, or the rest of one from the middle on, is as true as a new one; it is bounded for memory's sake only. Another
history begins with no pages.
"""

import asyncio
import time
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rustygpt.errors import DomainError
from rustygpt.streaming.frames import Frame

KEPT_BYTES: Final = 4_194_304
"""Of frames; with what Python adds to them about three times as much."""
KEPT_SECONDS: Final = 5.0
"""Since it was last asked for. Readers that were cut at the same moment are back within this, jitter included."""

WHOLE_LOG: Final = UUID(int=0)
"""In the place of a conversation: all of them."""

Key = tuple[UUID, int]
"""Of which conversation, or for which user, and after which position."""


class PageAbandoned(Exception):
    """A shared page was not read because its first reader went away."""


@dataclass(frozen=True, slots=True)
class Page:
    """Frames in order, and the position up to which they are all there is."""

    frames: Sequence[Frame]
    upto: int


class Pages:
    """Shares pages that are being read, and keeps those just read."""

    def __init__(self, *, max_bytes: int = KEPT_BYTES, max_seconds: float = KEPT_SECONDS) -> None:
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._reading: dict[Key, asyncio.Future[Page]] = {}
        self._kept: OrderedDict[Key, tuple[Page, int, float]] = OrderedDict()
        self._starts: dict[UUID, list[int]] = {}
        self._bytes = 0

    async def get(self, key: Key, read: Callable[[], Awaitable[Page]]) -> Page:
        """Return the page of *key*; *read* is called when nobody else has read it or is about to. Raises what *read* raises."""
        while True:
            if (kept := self._find(key)) is not None:
                return kept
            if (shared := self._reading.get(key)) is None:
                return await self._read(key, read)
            try:
                return await asyncio.shield(shared)
            except PageAbandoned:
                continue

    def clear(self) -> None:
        """Forget everything, and do not keep what is being read: history is another one, or tells a text otherwise from now on."""
        self._reading.clear()
        self._kept.clear()
        self._starts.clear()
        self._bytes = 0

    def forget_old(self) -> None:
        """Let go of pages that nobody has asked for of late. To be called every few seconds."""
        limit = time.monotonic() - self._max_seconds
        for key in [key for key, (_, _, used_at) in self._kept.items() if used_at < limit]:
            self._drop(key)

    async def _read(self, key: Key, read: Callable[[], Awaitable[Page]]) -> Page:
        future = self._reading[key] = asyncio.get_running_loop().create_future()
        try:
            page = await read()
        except BaseException as error:  # a cancellation too; raised on
            # The first reader may be gone while others wait: they read for themselves.
            future.set_exception(error if isinstance(error, DomainError) else PageAbandoned())
            future.exception()  # marks it as seen: there may be no other reader
            raise
        else:
            future.set_result(page)
            # Else they were cleared meanwhile; and a page that leads nowhere must be read again.
            if self._reading.get(key) is future and page.upto > key[1]:
                self._keep(key, page)
            return page
        finally:
            if self._reading.get(key) is future:
                del self._reading[key]

    def _find(self, key: Key) -> Page | None:
        """Return what is kept from *key* on: a page that begins there, or the rest of one that goes on beyond."""
        stream, after = key
        starts = self._starts.get(stream, ())
        if not (place := bisect_right(starts, after)):
            return None
        found = stream, starts[place - 1]
        page, size, _ = self._kept[found]
        if page.upto <= after:
            return None
        self._kept[found] = page, size, time.monotonic()
        self._kept.move_to_end(found)
        return page if found == key else Page(page.frames[bisect_right(page.frames, after, key=_position) :], page.upto)

    def _keep(self, key: Key, page: Page) -> None:
        stream, after = key
        size = sum([len(frame.data) for frame in page.frames])
        self._kept[key] = page, size, time.monotonic()
        insort(self._starts.setdefault(stream, []), after)
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Key) -> None:
        stream, after = key
        _, size, _ = self._kept.pop(key)
        self._bytes -= size
        starts = self._starts[stream]
        starts.remove(after)
        if not starts:
            del self._starts[stream]


def _position(frame: Frame) -> int:
    return frame.position
