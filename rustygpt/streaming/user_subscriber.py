"""The reader of all of a user's conversations on one connection, merged by position.

Joining and leaving are events in the stream and take effect at their position, whichever way the events are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from typing_extensions import override

from rustygpt.streaming.frames import Frame
from rustygpt.streaming.pages import Page
from rustygpt.streaming.subscriber import Pending, Subscriber

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator

SHARED_EVENTS: Final = 1_024
"""So far behind, all conversations together, are pages read that others can use; whoever is further behind reads only what is its own."""


class UserSubscriber(Subscriber):
    """Follows all of a user's conversations on one connection, merged by position.

    `_windows` says from which position on, and up to which, each conversation may be shown: joining and leaving are events in the
    stream and take effect at their position. Below `_rings_from` the rings are not complete and the log is read. `_is_settled` says that the
    windows are right below it, too.
    """

    kind = "user"

    def __init__(self, coordinator: Coordinator, user_id: UUID, credential_id: UUID) -> None:
        super().__init__(coordinator, user_id, credential_id)
        self._windows: dict[UUID, tuple[int, int | None]] = {}
        self._dirty: set[UUID] = set()
        self._early: list[tuple[UUID, int, bool]] | None = []
        self._rings_from = 0
        self._is_settled = False
        coordinator.register(self)

    def enter(self, conversations: Iterable[UUID], as_of: int, *, is_settled: bool) -> None:
        """Begin with the conversations that the user was in at position *as_of*, and what has changed since `register`.

        *is_settled*: they were the same at the stream's start.
        """
        self._is_settled = is_settled
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
            self._is_settled = False
        self._windows[conversation_id] = (position, None)
        self._coordinator.follow(self, conversation_id)

    @override
    def on_left(self, conversation_id: UUID, position: int) -> None:
        if self._early is not None:
            self._early.append((conversation_id, position, False))
        elif conversation_id in self._windows:
            self._windows[conversation_id] = (self._windows[conversation_id][0], position)

    @override
    def _may_see(self, conversation_id: UUID) -> bool:
        window = self._windows.get(conversation_id)
        return window is not None and window[1] is None

    @override
    def _takes(self, frame: Frame) -> bool:
        if self._dirty or self.cursor < self._rings_from or frame.event.conversation_id is None:
            return False
        first, last = self._windows[frame.event.conversation_id]
        return last is None and frame.position >= first

    @override
    def lag_events(self) -> int:
        return sum(self._coordinator.ring(conversation_id).count_after(self.cursor) for conversation_id in self._dirty)

    @override
    async def _next(self) -> Pending:
        upto = self._coordinator.head
        rings = [self._coordinator.ring(conversation_id) for conversation_id in self._dirty]
        passed = [ring.size() for ring in rings if ring.floor > self.cursor]
        if self.cursor < self._rings_from or passed:
            page = await self._page()
            return _pending(
                page.frames, max(page.upto, self.cursor), sum(events for events, _ in passed), sum(size for _, size in passed)
            )
        frames: list[Frame] = []
        for conversation_id in self._dirty:
            first, last = self._windows[conversation_id]
            frames += [
                frame
                for frame in self._coordinator.ring(conversation_id).after(self.cursor)
                if frame.position >= first and (last is None or frame.position <= last) and frame.audience in (None, self.user_id)
            ]
        if not frames:
            self._leave(upto)
            self._dirty.clear()
        elif len(frames) > 1:
            frames.sort(key=_position)
        return _pending(frames, max(upto, self.cursor))

    async def _page(self) -> Page:
        """Read on in the log: near its end in pages that are the same for everybody, else in pages of this user's own.

        A thousand users that come back at once cost a query and an encoding each for what all of them have missed, otherwise.
        """
        if self._is_settled and self._coordinator.head - self.cursor <= SHARED_EVENTS:
            page = await self._coordinator.log_page(self.cursor)
            if self._is_settled:  # still
                return Page([frame for frame in page.frames if self._is_own(frame)], page.upto)
        return await self._coordinator.user_page(self.user_id, self.cursor)

    def _is_own(self, frame: Frame) -> bool:
        if frame.audience is not None:
            return frame.audience == self.user_id
        window = None if frame.event.conversation_id is None else self._windows.get(frame.event.conversation_id)
        return window is not None and window[0] <= frame.position and (window[1] is None or frame.position <= window[1])

    def _leave(self, upto: int) -> None:
        for conversation_id in self._dirty:
            last = self._windows[conversation_id][1]
            if last is not None and last <= upto:
                del self._windows[conversation_id]
                self._coordinator.unfollow(self, conversation_id)


def _position(frame: Frame) -> int:
    return frame.position


def _pending(frames: Sequence[Frame], upto: int, ahead_events: int = 0, ahead_bytes: int = 0) -> Pending:
    return Pending(frames, upto, ahead_events + len(frames), ahead_bytes + sum([len(frame.data) for frame in frames]))
