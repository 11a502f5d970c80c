"""Follows one reply for a caller who is no event stream: each of its events once, in order, as soon as it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING
from uuid import UUID

from rustygpt.errors import RateLimited, Unavailable
from rustygpt.streaming.conversation_subscriber import ConversationSubscriber
from rustygpt.streaming.cursor import parse_cursor
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.subscriber import LOG_RETRY_SECONDS

if TYPE_CHECKING:
    from rustygpt.streaming.coordinator import Coordinator

RETRY_SECONDS = 5


class ReplyFollower(ConversationSubscriber):
    """A reader of one conversation that keeps what is about one message. To be made before the message, and closed in the end."""

    kind = "reply"

    def __init__(self, coordinator: Coordinator, user_id: UUID, credential_id: UUID, conversation_id: UUID) -> None:
        """Raise RateLimited where the user has too many streams open."""
        if coordinator.streams_of(user_id) >= coordinator.settings.max_streams_per_user:
            raise RateLimited("You have too many streams open; close one.", retry_after_seconds=RETRY_SECONDS)
        super().__init__(coordinator, user_id, credential_id, conversation_id)
        self.cursor = coordinator.head

    async def events(self, message_id: UUID, after: str) -> AsyncGenerator[LoggedEvent]:
        """Yield the events of *message_id* after the cursor *after*, until the reader may see no more of the conversation.

        The caller bounds it. Raises NotFound where the log was pruned so far, which no living reply is.
        """
        self.cursor = parse_cursor(after).position
        while self.end_reason is None:
            try:
                pending = await self._next()
            except Unavailable:
                await asyncio.sleep(LOG_RETRY_SECONDS)
                continue
            for frame in pending.frames:
                if frame.event.message_id == message_id:
                    yield frame.event
            self.cursor = max(self.cursor, pending.cursor)
            if self.is_over():
                return
            if not pending.frames and self.cursor >= self._coordinator.head:
                await self._wait()

    def close(self) -> None:
        """Stop following. Safe to call twice."""
        self._coordinator.unregister(self)
