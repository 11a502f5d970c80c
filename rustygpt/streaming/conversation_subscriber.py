"""The reader of one conversation: from its ring, else from pages of the log that are shared with whoever asks for the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from typing_extensions import override

from rustygpt.streaming.frames import Frame
from rustygpt.streaming.subscriber import BLOCK_BYTES, Subscriber

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator


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
