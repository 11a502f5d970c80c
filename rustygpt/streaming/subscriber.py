"""A subscriber is a reader at a cursor: from the ring where its cursor is in it, else from the log in pages.

Nothing is queued per subscriber: it holds a cursor, a wake-up and the block being sent. `cursor` only ever moves to a position whose
events have been sent, so whatever ends a stream, a resume after the last id goes on without a hole.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from typing_extensions import override

from rustygpt.streaming.frames import HEARTBEAT, Frame, encode_control, encode_retry
from rustygpt.streaming.jitter import overload_reconnect_ms

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator

SendBytes = Callable[[bytes], Awaitable[None]]

BLOCK_BYTES: Final = 65_536
"""Frames are joined up to this much per send."""
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
        """Send everything after `cursor` as it comes, until `end` or cancellation. Raises DomainError when the log is unreadable."""
        while self.end_reason is None:
            frames, cursor = await self._next()
            if frames:
                await self._send_frames(send, frames)
                self.cursor = cursor
                continue
            self.cursor = cursor
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


class ConversationSubscriber(Subscriber):
    """Follows one conversation."""

    kind = "conversation"

    def __init__(self, coordinator: Coordinator, user_id: UUID, session_id: UUID, conversation_id: UUID) -> None:
        super().__init__(coordinator, user_id, session_id)
        self.conversation_id = conversation_id
        self._left_at: int | None = None
        coordinator.register(self)
        coordinator.follow(self, conversation_id)

    @override
    def on_joined(self, conversation_id: UUID, position: int) -> None:
        pass  # a stream for a conversation is only open to its members

    @override
    def on_left(self, conversation_id: UUID, position: int) -> None:
        if conversation_id == self.conversation_id:
            self._left_at = position
            self._notify()

    @override
    def is_over(self) -> bool:
        return self._left_at is not None and self.cursor >= self._left_at

    @override
    async def _next(self) -> tuple[Sequence[Frame], int]:
        if self.is_over():
            return (), self.cursor
        ring = self._coordinator.ring(self.conversation_id)
        if self.cursor >= ring.floor:
            frames = ring.after(self.cursor)
            upto = self._coordinator.head
        else:
            frames, upto, _ = await self._coordinator.page(self.conversation_id, self.cursor)
        if len(frames) == 1 and frames[0].is_plain:
            return frames, max(upto, self.cursor)
        return self._cut(frames, max(upto, self.cursor))

    def _cut(self, frames: Sequence[Frame], upto: int) -> tuple[Sequence[Frame], int]:
        """Keep what is this user's, up to a block's size and to the event that removes the user."""
        kept: list[Frame] = []
        size = 0
        for frame in frames:
            if frame.audience not in (None, self.user_id):
                continue
            if kept and size + len(frame.data) > BLOCK_BYTES:
                return kept, kept[-1].position
            kept.append(frame)
            size += len(frame.data)
            if frame.change and frame.change.user_id == self.user_id and frame.change.action == "removed":
                self._left_at = frame.position
                return kept, frame.position
        return kept, upto


class UserSubscriber(Subscriber):
    """Follows all of a user's conversations on one connection, merged by position.

    `_windows` says from which position on, and up to which, each conversation may be shown: joining and leaving are events in the
    stream and take effect at their position. Below `_rings_from` the rings are not complete and the log is read.
    """

    kind = "user"

    def __init__(self, coordinator: Coordinator, user_id: UUID, session_id: UUID) -> None:
        super().__init__(coordinator, user_id, session_id)
        self._windows: dict[UUID, tuple[int, int | None]] = {}
        self._dirty: set[UUID] = set()
        self._early: list[tuple[UUID, int, bool]] | None = []
        self._rings_from = 0
        coordinator.register(self)

    def enter(self, conversations: Iterable[UUID], as_of: int) -> None:
        """Begin with the conversations that the user was in at position *as_of*, and what has changed since `register`."""
        early, self._early = self._early or [], None
        for conversation_id in conversations:
            self._windows[conversation_id] = (0, None)
            self._coordinator.follow(self, conversation_id)
        self._rings_from = max(self._coordinator.head, as_of)
        for conversation_id, position, has_joined in early:
            if position > as_of:
                (self.on_joined if has_joined else self.on_left)(conversation_id, position)

    @override
    def on_frame(self, conversation_id: UUID) -> None:
        self._dirty.add(conversation_id)
        self._notify()

    @override
    def on_joined(self, conversation_id: UUID, position: int) -> None:
        if self._early is not None:
            self._early.append((conversation_id, position, True))
            return
        if conversation_id in self._windows:
            # Back before the leaving was sent: two windows at once, which the log knows how to show.
            self._rings_from = position
        self._windows[conversation_id] = (position, None)
        self._coordinator.follow(self, conversation_id)

    @override
    def on_left(self, conversation_id: UUID, position: int) -> None:
        if self._early is not None:
            self._early.append((conversation_id, position, False))
        elif conversation_id in self._windows:
            self._windows[conversation_id] = (self._windows[conversation_id][0], position)

    @override
    async def _next(self) -> tuple[Sequence[Frame], int]:
        upto = self._coordinator.head
        if self.cursor < self._rings_from or any(
            self._coordinator.ring(conversation_id).floor > self.cursor for conversation_id in self._dirty
        ):
            page, upto = await self._coordinator.user_page(self.user_id, self.cursor)
            page, is_whole = _fit(page)
            return page, upto if is_whole else page[-1].position
        frames: list[Frame] = []
        for conversation_id in self._dirty:
            first, last = self._windows[conversation_id]
            frames += [
                frame
                for frame in self._coordinator.ring(conversation_id).after(self.cursor)
                if frame.position >= first and (last is None or frame.position <= last) and frame.audience in (None, self.user_id)
            ]
        if len(frames) > 1:
            frames.sort(key=_position)
            frames, is_whole = _fit(frames)
            if not is_whole:
                return frames, frames[-1].position
        self._leave(upto)
        self._dirty.clear()
        return frames, max(upto, self.cursor)

    def _leave(self, upto: int) -> None:
        for conversation_id in self._dirty:
            last = self._windows[conversation_id][1]
            if last is not None and last <= upto:
                del self._windows[conversation_id]
                self._coordinator.unfollow(self, conversation_id)


def _position(frame: Frame) -> int:
    return frame.position


def _fit(frames: list[Frame]) -> tuple[list[Frame], bool]:
    """Cut to a block's size; the second value says whether nothing was cut."""
    size = 0
    for number, frame in enumerate(frames):
        size += len(frame.data)
        if number and size > BLOCK_BYTES:
            return frames[:number], False
    return frames, True
