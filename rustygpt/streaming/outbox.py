"""One reply's way into the log: what its model has said and the committer has not yet stored.

At most one chunk is under way at a time, with its number fixed, so that a commit whose outcome is unknown can be repeated exactly.
The pending text is bounded: a full outbox makes the model wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final
from uuid import UUID

CHUNK_CHARACTERS: Final = 16_384
"""A chunk is one frame and one row; longer text is several."""


class Outbox:
    """Takes the deltas of one generation. Made by `EventLog.open`; used by one task."""

    def __init__(
        self,
        message_id: UUID,
        fence: int,
        *,
        next_idx: int = 0,
        max_bytes: int,
        on_work: Callable[[], None],
        on_cancelled: Callable[[], None],
    ) -> None:
        self.message_id = message_id
        self.fence = fence
        self.next_idx = next_idx
        self.in_flight: str | None = None
        self._first_idx = next_idx
        self._max_bytes = max_bytes
        self._on_work = on_work
        self._on_cancelled = on_cancelled
        self._pending: deque[str] = deque()
        self._pending_bytes = 0
        self._closed: str | None = None
        self._is_flushing = False
        self._progress = asyncio.Event()

    @property
    def closed_reason(self) -> str | None:
        """Why nothing more can be stored: refused (the generation ended, or another process owns it), expired (no database)."""
        return self._closed

    async def put(self, text: str) -> bool:
        """Hand over a delta, waiting while the outbox is full. False when the outbox is closed."""
        text = _storable(text)
        while self._pending_bytes > self._max_bytes and self._closed is None:
            await self._next_progress()
        if self._closed is not None:
            return False
        for start in range(0, len(text), CHUNK_CHARACTERS):
            self._pending.append(text[start : start + CHUNK_CHARACTERS])
        self._pending_bytes += len(text.encode())
        self._on_work()
        return True

    async def flush(self) -> bool:
        """Wait until everything handed over is committed. False when the outbox is closed."""
        self._is_flushing = True
        self._on_work()
        try:
            while (self._pending or self.in_flight is not None) and self._closed is None:
                await self._next_progress()
        finally:
            self._is_flushing = False
        return self._closed is None

    @property
    def has_work(self) -> bool:
        """Say whether there is a chunk to store."""
        return self._closed is None and (bool(self._pending) or self.in_flight is not None)

    @property
    def is_urgent(self) -> bool:
        """Say whether the chunk must not wait for others: the first of a reply, or the last."""
        return self.has_work and (self.next_idx == self._first_idx or self._is_flushing)

    def take(self) -> str:
        """Return the chunk to store next; the same again until it is settled."""
        if self.in_flight is None:
            parts = [self._pending.popleft()]
            size = len(parts[0])
            while self._pending and size + len(self._pending[0]) <= CHUNK_CHARACTERS:
                parts.append(self._pending.popleft())
                size += len(parts[-1])
            self.in_flight = "".join(parts)
        return self.in_flight

    def settle(self, *, is_cancelled: bool) -> None:
        """The chunk under way is committed."""
        if self.in_flight is not None:
            self._pending_bytes -= len(self.in_flight.encode())
        self.in_flight = None
        self.next_idx += 1
        self._progress.set()
        if is_cancelled:
            self._on_cancelled()

    def close(self, reason: str) -> None:
        """Give up: waiting callers are told, and what is pending is dropped."""
        if self._closed is None:
            self._closed = reason
        self._pending.clear()
        self._pending_bytes = 0
        self.in_flight = None
        self._progress.set()

    async def _next_progress(self) -> None:
        # No deadline of its own: the committer settles or closes every outbox within sse.persist_deadline_seconds.
        self._progress.clear()
        await self._progress.wait()


def _storable(text: str) -> str:
    """Replace what PostgreSQL's text cannot hold, NUL and halves of surrogate pairs: one bad row would fail its whole batch."""
    text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
