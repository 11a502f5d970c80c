"""A job's progress as a stream of events, from any process: the row is looked at, whoever writes it.

Each look asks anew whether the reader is an administrator, so a right that ends, ends the stream. It ends by itself with the job, with the
server, and after ten minutes, after which a browser comes again by itself. A reader that takes nothing is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import AppStatus, SendTimeoutError
from typing_extensions import override

from rustygpt.errors import DomainError, RateLimited
from rustygpt.http.response import encode_json

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from rustygpt.signals import SignalKind

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 15.0
SEND_SECONDS: Final = 30.0
MAX_SECONDS: Final = 600.0
MAX_STREAMS: Final = 100
"""In a process; each asks the database twice a second."""
OPEN_STATES: Final = frozenset({"queued", "running"})
HEADERS: Final = {"Cache-Control": "no-cache, no-transform"}

ReadJob = Callable[[], Awaitable[dict[str, Any]]]

AppStatus.enable_automatic_graceful_drain = False  # `begin_drain` ends the streams, with a last word where there is one


class ProgressResponse(EventSourceResponse):
    """A stream of few, larger events."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            # Returning without the last body makes the server close the connection.
            log.info("model_progress_stalled", seconds=SEND_SECONDS)


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

    def respond(self, job: UUID, first: dict[str, Any], read: ReadJob) -> ProgressResponse:
        """Answer with the job as it is (*first*) and each time that it has changed, until it is over. Raises RateLimited."""
        if sum(map(len, self._wakes.values())) >= MAX_STREAMS:
            raise RateLimited("Too many streams of pulls are open on this server.", retry_after_seconds=30)
        return ProgressResponse(
            self._frames(job, first, read),
            headers=HEADERS,
            ping=HEARTBEAT_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="heartbeat", sep="\n"),
            sep="\n",
            send_timeout=SEND_SECONDS,
        )

    async def _frames(self, job: UUID, first: dict[str, Any], read: ReadJob) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        wake = asyncio.Event()
        self._wakes.setdefault(job, set()).add(wake)
        try:
            last, end_at = first, clock() + MAX_SECONDS
            yield b"retry: 1000\n\n" + _frame(last)
            while last["state"] in OPEN_STATES and not self._is_draining and clock() < end_at:
                await _within(wake, LOOK_SECONDS)
                try:
                    found = await read()
                except DomainError as error:
                    yield _event("error", {"code": error.code, "message": error.detail})
                    return
                if found != last:
                    last = found
                    yield _frame(last)
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
