"""Deltas as ours are, for servers that have none of their own: frames byte for byte as long, and dated when they are made."""

from datetime import UTC, datetime
from uuid import uuid4

from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.frames import encode_event


class Deltas:
    """The deltas of one message, each a number."""

    def __init__(self) -> None:
        self._ids = [uuid4() for _ in range(4)]

    def frame(self, number: int) -> bytes:
        """Return the *number*-th delta as it goes over the wire."""
        conversation, root, parent, message = self._ids
        event = LoggedEvent(
            position=number,
            prev=number - 1,
            conversation_id=conversation,
            audience_user_id=None,
            type="message.delta",
            root_id=root,
            parent_id=parent,
            message_id=message,
            idx=number,
            content=f" {number}",
            payload=None,
            created_at=datetime.now(UTC),
        )
        return encode_event(event, "bench0").data

    def data(self, number: int) -> bytes:
        """Return only what follows `data: `, for a server that writes the frame around it."""
        return self.frame(number).partition(b"\ndata: ")[2].rstrip(b"\n")
