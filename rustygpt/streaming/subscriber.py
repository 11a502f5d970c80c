"""A subscriber is a reader at a cursor: from the ring where its cursor is in it, else from the log in pages.

Nothing is queued per subscriber: it holds a cursor, a wake-up and the block being sent. `cursor` only ever moves to a position whose
events have been sent, so whatever ends a stream, a resume after the last id goes on without a hole.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from rustygpt.errors import Unavailable
from rustygpt.streaming.frames import HEARTBEAT, Frame, encode_control, encode_retry
from rustygpt.streaming.jitter import overload_reconnect_ms

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator

SendBytes = Callable[[bytes], Awaitable[None]]

BLOCK_BYTES: Final = 65_536
"""Frames are joined up to this much per send."""
LOG_RETRY_SECONDS: Final = 0.5
_LATENCY_SAMPLE: Final = 64
"""One send in so many is timed: a histogram costs as much as the send itself."""


class Subscriber(ABC):
    """One open stream of one user. `following` are the conversations whose events wake it."""

    kind: str

    def __init__(self, coordinator: Coordinator, user_id: UUID, session_id: UUID) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.following: set[UUID] = set()
        self.cursor = 0
        self.sending_since: float | None = None
        self.ends_at = float("inf")
        self.end_reason: str | None = None
        self._coordinator = coordinator
        self._waiter: asyncio.Future[None] | None = None
        self._is_woken = False
        self._is_beat_due = False
        self._sends = 0
        self._replay_since: float | None = None

    # --- called by the coordinator, never waits ----------------------------------------------------------------------------

    def on_frame(self, conversation_id: UUID) -> None:
        """A frame was added to a ring that this subscriber follows."""
        self._notify()

    @abstractmethod
    def on_joined(self, conversation_id: UUID, position: int) -> None:
        """The user became a member at *position*."""

    @abstractmethod
    def on_left(self, conversation_id: UUID, position: int) -> None:
        """The user was removed at *position*: nothing of the conversation above it may be sent."""

    def beat(self) -> None:
        """Send a heartbeat unless something else is being sent."""
        self._is_beat_due = True
        self._notify()

    def end(self, reason: str) -> None:
        """Close the stream after what is being sent: left, session_expired, lifetime, drain, epoch_changed or disconnected."""
        if self.end_reason is None:
            self.end_reason = reason
        self._notify()

    # --- the stream --------------------------------------------------------------------------------------------------------

    async def run(self, send: SendBytes) -> None:
        """Send everything after `cursor` as it comes, until `end` or cancellation."""
        self._replay_since = time.monotonic() if self.cursor < self._coordinator.head else None
        while self.end_reason is None:
            try:
                frames, cursor = await self._next()
            except Unavailable:
                await self._wait_for_log(send)
                continue
            if frames:
                await self._send_frames(send, frames)
                self.cursor = cursor
                continue
            self.cursor = cursor
            if self._replay_since is not None and cursor >= self._coordinator.head:
                self._coordinator.metrics.sse_replay_duration_seconds.observe(time.monotonic() - self._replay_since)
                self._replay_since = None
            if self.is_over():
                self.end("left")
            elif cursor < self._coordinator.head:
                continue  # a page of the log that held nothing for this user
            elif self._is_beat_due:
                self._is_beat_due = False
                await self._send(send, HEARTBEAT)
            else:
                await self._wait()
        await self._send_farewell(send)

    @abstractmethod
    async def _next(self) -> tuple[Sequence[Frame], int]:
        """Return the next frames (none: at the head) and where the cursor is once they have been sent."""

    def is_over(self) -> bool:
        """Say whether the user has been sent the event that removed them."""
        return False

    async def _send_frames(self, send: SendBytes, frames: Sequence[Frame]) -> None:
        self._is_beat_due = False
        sent = self._coordinator.sent
        if len(frames) == 1:
            sent[frames[0].type] += 1
            await self._send(send, frames[0].data)
        else:
            for frame in frames:
                sent[frame.type] += 1
            await self._send(send, b"".join([frame.data for frame in frames]))
        self._sends += 1
        if self._sends % _LATENCY_SAMPLE == 1:
            self._coordinator.metrics.sse_publish_to_send_seconds.observe(time.monotonic() - frames[-1].encoded_at)

    async def _send(self, send: SendBytes, data: bytes) -> None:
        self.sending_since = time.monotonic()
        await send(data)
        self.sending_since = None

    async def _send_farewell(self, send: SendBytes) -> None:
        if self.end_reason == "session_expired":
            await self._send(
                send,
                encode_control("error", {"code": "RGP.AUTH.SESSION_EXPIRED", "message": "The session has ended. Sign in again."}),
            )
        elif self.end_reason == "drain":
            await self._send(send, encode_retry(overload_reconnect_ms()))

    async def _wait_for_log(self, send: SendBytes) -> None:
        """The log cannot be read right now: keep the client, which has lost nothing, and try again in a moment."""
        if self._is_beat_due:
            self._is_beat_due = False
            await self._send(send, HEARTBEAT)
        await asyncio.sleep(LOG_RETRY_SECONDS)

    async def _wait(self) -> None:
        if not self._is_woken:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                # The sweeper's heartbeat bounds this wait.
                await self._waiter
            finally:
                self._waiter = None
        self._is_woken = False

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        else:
            self._is_woken = True
