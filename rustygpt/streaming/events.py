"""Events of the log: the closed set of types, and one row as the database gives it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

LoggedType = Literal[
    "thread.new",
    "thread.activity",
    "message.created",
    "message.edited",
    "message.deleted",
    "message.restored",
    "message.delta",
    "message.done",
    "message.continued",
    "unread.update",
    "membership.changed",
    "conversation.updated",
    "error",
]
"""What the log may hold. Transient and control events are never stored."""

ControlType = Literal["stream.ready", "stream.gap", "error"]
"""What a stream says of itself."""

LOGGED_TYPES: Final[frozenset[str]] = frozenset(get_args(LoggedType))

REWRITING: Final[frozenset[LoggedType]] = frozenset({"message.deleted", "message.edited", "message.restored"})
"""From these on the log tells what came before them otherwise: what was read or encoded earlier is out of date."""

GapReason = Literal["history_pruned", "unknown_cursor", "backfill_limit", "slow_consumer"]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One committed row of the log.

    `prev` is the position before it in the same conversation (or of the same user's personal events), 0 for the first. A
    message.delta has `idx` (the chunk's number, from 0) and `content`; every other type has `payload`.
    """

    position: int
    prev: int
    conversation_id: UUID | None
    audience_user_id: UUID | None
    type: LoggedType
    root_id: UUID | None
    parent_id: UUID | None
    message_id: UUID | None
    idx: int | None
    content: str | None
    payload: dict[str, Any] | None
    created_at: datetime
