"""A subscriber is a reader at a cursor: from the ring where its cursor is in it, else from the log in pages.

Nothing is queued per subscriber: it holds a cursor, a wake-up and the block being sent. `cursor` only ever moves to a position whose
events have been sent, so whatever ends a stream, a resume after the last id goes on without a hole.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.errors import DomainError, NotFound, SessionExpired, Unavailable
from rustygpt.streaming.backpressure import Level, build_block, level_of, transients_dropped
from rustygpt.streaming.frames import HEARTBEAT, Frame, encode_chunk, encode_control, encode_retry
from rustygpt.streaming.jitter import overload_reconnect_ms
from rustygpt.streaming.transients import PendingTransients

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator
    from rustygpt.streaming.frames import TransientFrame
    from rustygpt.streaming.sockets import Peer

log = structlog.get_logger(__name__)

SendBytes = Callable[[bytes], Awaitable[None]]

BLOCK_BYTES: Final = 65_536
"""Frames are joined up to this much per send."""
MERGED_BLOCK_BYTES: Final = 262_144
"""Frames that are merged anyway are taken up to this much, as stored: a delta's envelope is ten times its text."""
LOG_RETRY_SECONDS: Final = 0.5
_HEARTBEAT_CHUNK: Final = encode_chunk(HEARTBEAT)
_LATENCY_SAMPLE: Final = 64
"""One send in so many is timed: a histogram costs as much as the send itself."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What a reader lacks: `frames` in order, and where its cursor is once they are sent.

    `lag_events` and `lag_bytes` say how far behind it is at least; they count more than `frames` where these are a page of the log.
    """

    frames: Sequence[Frame]
    cursor: int
    lag_events: int = 0
    lag_bytes: int = 0


class Subscriber(ABC):
    """One open stream of one user. `following` are the conversations whose events wake it."""

    kind: str

    def __init__(self, coordinator: Coordinator, user_id: UUID, credential_id: UUID) -> None:
        self.user_id = user_id
        self.credential_id = credential_id
        self.refusal: type[DomainError] = SessionExpired
        self.following: set[UUID] = set()
        self.cursor = 0
        self.sending_since: float | None = None
        self.end_reason: str | None = None
        self.peer: Peer | None = None
        self._coordinator = coordinator
        self._waiter: asyncio.Future[None] | None = None
        self._is_woken = False
        self._is_beat_due = False
        self._sends = 0
        self._replay_since: float | None = None
        self._has_arrived = False
        self._is_warned = False
        self._transients: PendingTransients | None = None  # few streams ever need it

    # --- called by the coordinator, never waits ----------------------------------------------------------------------------

    def on_frame(self, conversation_id: UUID) -> None:
        """A frame was added to a ring that this subscriber follows."""
        self._notify()

    def hand(self, frame: Frame, chunk: bytes) -> bool:
        """Write a plain frame here and now, if it is all that this reader lacks and its socket takes it. Else `on_frame` must wake it.

        Waking a task for each frame costs three times the frame: a future, a turn of the loop, the way down to the send again.
        """
        waiter = self._waiter
        if (
            waiter is None
            or waiter.done()
            or self.peer is None
            or frame.position <= self.cursor
            or not self._takes(frame)
            or not self.peer.write_chunk(chunk)
        ):
            return False
        self.cursor = frame.position
        self._is_beat_due = False
        return True

    def tell(self, frame: TransientFrame) -> bool:
        """Write state here and now where nothing else is on its way; else keep it, the last of its place. Say whether it was written."""
        if not self._may_see(frame.conversation_id):
            return False
        if self._write_at_once(frame.chunk):
            return True
        if self._transients is None:
            self._transients = PendingTransients()
        self._transients.put(frame)
        self._notify()
        return False

    @abstractmethod
    def _may_see(self, conversation_id: UUID) -> bool:
        """Say whether the user is, as far as is known here, a member of a conversation that this stream follows."""

    @abstractmethod
    def _takes(self, frame: Frame) -> bool:
        """Say whether this reader, who waits at the head, gets a plain frame of a conversation that it follows."""

    @abstractmethod
    def on_joined(self, conversation_id: UUID, position: int) -> None:
        """The user became a member at *position*."""

    @abstractmethod
    def on_left(self, conversation_id: UUID, position: int) -> None:
        """The user was removed at *position*: nothing of the conversation above it may be sent."""

    def beat(self) -> None:
        """Send a heartbeat unless something else is being sent."""
        if not self._write_at_once(_HEARTBEAT_CHUNK):
            self._is_beat_due = True
            self._notify()

    def end(self, reason: str) -> None:
        """Close the stream after what is being sent: left, session_expired, lifetime, drain, epoch_changed, history_pruned or disconnected."""
        if self.end_reason is None:
            self.end_reason = reason
        self._notify()

    # --- the stream --------------------------------------------------------------------------------------------------------

    async def run(self, send: SendBytes) -> None:
        """Send everything after `cursor` as it comes, until `end` or cancellation."""
        self._replay_since = time.monotonic() if self.cursor < self._coordinator.head else None
        self._coordinator.transients.greet(self)
        while self.end_reason is None:
            try:
                pending = await self._next()
            except Unavailable:
                await self._wait_for_log(send)
                continue
            except NotFound:
                # What was to be sent next has been pruned: the client resumes after its last id, and is told of the gap.
                self.end("history_pruned")
                continue
            if pending.frames:
                await self._send_frames(send, pending)
                continue
            self.cursor = pending.cursor
            if self.is_over():
                self.end("left")
            elif self.cursor >= self._coordinator.head:  # else a page of the log held nothing for this user
                self._arrive()
                if states := self._take_states(Level.AS_STORED):
                    await self._send(send, states)
                elif self._is_beat_due:
                    self._is_beat_due = False
                    await self._send(send, HEARTBEAT)
                else:
                    await self._wait()
        await self._send_farewell(send)

    @abstractmethod
    async def _next(self) -> Pending:
        """Return what to send next; no frames mean that nothing up to `Pending.cursor` is left to send."""

    @abstractmethod
    def lag_events(self) -> int:
        """Count what is in memory and not sent: at least so far behind is this reader now."""

    def is_over(self) -> bool:
        """Say whether the user has been sent the event that removed them."""
        return False

    def look_at_lag(self) -> int:
        """Return how far behind a send under way has let this reader fall, warning once an episode; 0 while nothing is being sent."""
        if self.sending_since is None:
            self._is_warned = False
            return 0
        lag, settings = self.lag_events(), self._coordinator.settings
        if lag > settings.channel_capacity * settings.backpressure.warn_queue_ratio and not self._is_warned:
            self._is_warned = True
            log.warning("stream_slow", user_id=str(self.user_id), stream=self.kind, lag_events=lag)
        return lag

    def _arrive(self) -> None:
        """At the head: from now on what gathers is the reader's own slowness, not what it missed while away."""
        self._has_arrived = True
        if self._replay_since is not None:
            self._coordinator.metrics.sse_replay_duration_seconds.observe(time.monotonic() - self._replay_since)
            self._replay_since = None

    async def _send_frames(self, send: SendBytes, pending: Pending) -> None:
        self._is_beat_due = False
        frames = pending.frames
        if len(frames) == 1 and pending.lag_events <= self._coordinator.settings.channel_capacity:
            self._coordinator.sent[frames[0].type] += 1
            await self._send(send, frames[0].data + self._take_states(Level.AS_STORED))
            self.cursor = pending.cursor
        else:
            await self._send_block(send, pending)
        self._sends += 1
        if self._sends % _LATENCY_SAMPLE == 1 and self._has_arrived:  # a page of the log was encoded at another time
            self._coordinator.metrics.sse_publish_to_send_seconds.observe(time.monotonic() - frames[-1].encoded_at)

    async def _send_block(self, send: SendBytes, pending: Pending) -> None:
        """Send several frames in one piece: as stored, or merged, compacted or thinned out for a reader that is slow."""
        coordinator, settings = self._coordinator, self._coordinator.settings
        # What was missed while away is replayed as stored, however much it is: the same cursor gives the same bytes.
        level = Level.AS_STORED
        if self._has_arrived:
            level = level_of(pending.lag_events, pending.lag_bytes, settings.channel_capacity)
        frames, cursor = _cut(pending, level)
        block = build_block(frames, level, coordinator.epoch, settings.backpressure.drop_strategy)
        coordinator.sent.update(block.sent)
        block.count_in(coordinator.metrics)
        await self._send(send, block.data + self._take_states(level))
        self.cursor = cursor

    def _take_states(self, level: Level) -> bytes:
        """Return what is kept of how things stand, as far as this reader, at this level, still gets it."""
        if not self._transients:
            return b""
        left_out = transients_dropped(level, self._coordinator.settings.backpressure.drop_strategy)
        parts: list[bytes] = []
        for frame in self._transients.take():
            if frame.type in left_out:
                self._coordinator.metrics.sse_events_dropped_total.labels(frame.type, "slow_consumer").inc()
            elif self._may_see(frame.conversation_id):
                self._coordinator.sent[frame.type] += 1
                parts.append(frame.data)
        return b"".join(parts)

    async def _send(self, send: SendBytes, data: bytes) -> None:
        self.sending_since = time.monotonic()
        await send(data)
        self.sending_since = None

    async def _send_farewell(self, send: SendBytes) -> None:
        if self.end_reason == "session_expired":
            await self._send(send, encode_control("error", {"code": self.refusal.code, "message": self.refusal.title}))
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

    def _write_at_once(self, chunk: bytes) -> bool:
        """Write to a reader that waits at the head, without waking its task; ten thousand woken at once hold up everybody else."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and self.peer is not None and self.peer.write_chunk(chunk)

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        else:
            self._is_woken = True


def _cut(pending: Pending, level: Level) -> tuple[Sequence[Frame], int]:
    """Take no more than a block's worth of frames, at least one; what is thinned out is taken whole."""
    if level is Level.DROPPED:
        return pending.frames, pending.cursor
    limit = BLOCK_BYTES if level is Level.AS_STORED else MERGED_BLOCK_BYTES
    size = 0
    for number, frame in enumerate(pending.frames):
        size += len(frame.data)
        if number and size > limit:
            return pending.frames[:number], pending.frames[number - 1].position
    return pending.frames, pending.cursor
