"""A job's progress as a stream of events, from any process: the row is looked at, whoever writes it.

Each look asks anew whether the reader is an administrator, so a right that ends, ends the stream. It ends by itself with the job, with the
server, and after ten minutes, after which a browser comes again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from starlette.responses import StreamingResponse

from rustygpt.errors import DomainError, RateLimited
from rustygpt.http.response import encode_json

if TYPE_CHECKING:
    from rustygpt.signals import SignalKind

LOOK_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 15.0
MAX_SECONDS: Final = 600.0
MAX_STREAMS: Final = 100
"""In a process; each asks the database twice a second."""
OPEN_STATES: Final = frozenset({"queued", "running"})
HEADERS: Final = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}

ReadJob = Callable[[], Awaitable[dict[str, Any]]]


class ProgressStreams:
    """Makes the streams of this process, and wakes them."""

    def __init__(self) -> None:
        self._wakes: dict[UUID, set[asyncio.Event]] = {}
        self._is_draining = False

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """Hear that a job has moved; without a key, all may have."""
        if kind in ("models_changed", "look"):
            for job, wakes in self._wakes.items():
                if key in ("", str(job)):
                    for wake in wakes:
                        wake.set()

    def begin_drain(self) -> None:
        """End every stream soon."""
        self._is_draining = True
        self.on_signal("look", "")

    def respond(self, job: UUID, first: dict[str, Any], read: ReadJob) -> StreamingResponse:
        """Answer with the job as it is (*first*) and each time that it has changed, until it is over. Raises RateLimited."""
        if sum(map(len, self._wakes.values())) >= MAX_STREAMS:
            raise RateLimited("Too many streams of pulls are open on this server.", retry_after_seconds=30)
        return StreamingResponse(self._frames(job, first, read), headers=HEADERS, media_type="text/event-stream")

    async def _frames(self, job: UUID, first: dict[str, Any], read: ReadJob) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        wake = asyncio.Event()
        self._wakes.setdefault(job, set()).add(wake)
        try:
            last, sent_at, end_at = first, clock(), clock() + MAX_SECONDS
            yield b"retry: 1000\n\n" + _frame(last)
            while last["state"] in OPEN_STATES and not self._is_draining and clock() < end_at:
                await _within(wake, LOOK_SECONDS)
                try:
                    found = await read()
                except DomainError as error:
                    yield _event("error", {"code": error.code, "message": error.detail})
                    return
                if found != last:
                    last, sent_at = found, clock()
                    yield _frame(last)
                elif clock() - sent_at >= HEARTBEAT_SECONDS:
                    sent_at = clock()
                    yield b":\n\n"
        finally:
            self._wakes[job].discard(wake)
            if not self._wakes[job]:
                del self._wakes[job]


def _frame(job: dict[str, Any]) -> bytes:
    """Return a job's frame: `progress` while it is open, then `done`, `error` or `cancelled`."""
    return _event("progress" if job["state"] in OPEN_STATES else f"job.{job['state']}", job)


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), encode_json(data))


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
