"""Events of a log that exists only in memory, for the pure parts of streaming."""

from datetime import UTC, datetime
from uuid import UUID

from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.frames import Frame, encode_event

CONVERSATION = UUID(int=1)
EPOCH = "abcd"


def delta(position: int, content: str = "x", *, idx: int = 0, conversation: UUID = CONVERSATION, prev: int = 0) -> LoggedEvent:
    """Return a message.delta at a position."""
    at = datetime(2026, 11, 21, 12, 0, 0, 1, tzinfo=UTC)
    return LoggedEvent(
        position, prev, conversation, None, "message.delta", UUID(int=2), UUID(int=3), UUID(int=4), idx, content, None, at
    )


def frame(position: int, content: str = "x") -> Frame:
    """Return the frame of such an event."""
    return encode_event(delta(position, content), EPOCH)
