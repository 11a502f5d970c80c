"""The reader of one conversation: from its ring, else from pages of the log that are shared with whoever asks for the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from typing_extensions import override

from rustygpt.streaming.frames import Frame
from rustygpt.streaming.subscriber import Pending, Subscriber

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator


class ConversationSubscriber(Subscriber):
    """Follows one conversation."""

    kind = "conversation"

    def __init__(self, coordinator: Coordinator, user_id: UUID, credential_id: UUID, conversation_id: UUID) -> None:
        super().__init__(coordinator, user_id, credential_id)
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
            # The first counts: while it is being sent to a slow reader the user may have come back and been removed again.
            self._left_at = position if self._left_at is None else min(self._left_at, position)
            self._notify()

    @override
    def _may_see(self, conversation_id: UUID) -> bool:
        return self._left_at is None

    @override
    def _takes(self, frame: Frame) -> bool:
        return True

    @override
    def is_over(self) -> bool:
        return self._left_at is not None and self.cursor >= self._left_at

    @override
    def lag_events(self) -> int:
        return self._coordinator.ring(self.conversation_id).count_after(self.cursor)

    @override
    async def _next(self) -> Pending:
        if self.is_over():
            return Pending((), self.cursor)
        ring = self._coordinator.ring(self.conversation_id)
        lag_events, lag_bytes = 0, 0
        if self.cursor >= ring.floor:
            frames, upto = ring.after(self.cursor), self._coordinator.head
        else:
            lag_events, lag_bytes = ring.size()  # all of the ring is still ahead of this page
            page = await self._coordinator.page(self.conversation_id, self.cursor)
            frames, upto = page.frames, page.upto
        if len(frames) == 1 and frames[0].is_plain:
            return Pending(frames, max(upto, self.cursor), lag_events + 1, lag_bytes)
        frames, upto = self._own(frames, max(upto, self.cursor))
        return Pending(frames, upto, lag_events + len(frames), lag_bytes + sum([len(frame.data) for frame in frames]))

    def _own(self, frames: Sequence[Frame], upto: int) -> tuple[Sequence[Frame], int]:
        """Keep what is this user's, up to the event that removes the user."""
        if all(frame.is_plain for frame in frames):
            return frames, upto
        kept: list[Frame] = []
        for frame in frames:
            if frame.audience not in (None, self.user_id):
                continue
            kept.append(frame)
            if frame.change and frame.change.user_id in (None, self.user_id) and frame.change.action == "removed":
                self._left_at = frame.position
                return kept, frame.position
        return kept, upto
