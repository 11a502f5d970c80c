"""The encoder: an event becomes bytes once, whoever and however many receive it.

A frame is `id`, `event` and one `data` line of compact JSON, LF only (WHATWG HTML, section 9.2.6). JSON escapes CR and LF, so a frame
never has a line break of its own; what has no `id` leaves the client's last id as it was.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

import orjson

from rustygpt.signals import Transient
from rustygpt.streaming.cursor import Cursor
from rustygpt.streaming.events import ControlType, LoggedEvent

HEARTBEAT: Final = b": heartbeat\n\n"
_OPTIONS: Final = orjson.OPT_UTC_Z


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Who came or went by a membership.changed event; None is everybody, when the conversation was archived."""

    user_id: UUID | None
    action: Literal["added", "removed", "role_updated"]


@dataclass(frozen=True, slots=True)
class Frame:
    """An encoded event. `audience` limits it to one user; `change` is set where somebody comes or goes; `encoded_at` is monotonic."""

    position: int
    type: str
    audience: UUID | None
    change: MemberChange | None
    encoded_at: float
    data: bytes
    event: LoggedEvent

    @property
    def is_plain(self) -> bool:
        """Say that every subscriber of the conversation gets it, and goes on as before."""
        return self.audience is None and self.change is None


@dataclass(frozen=True, slots=True)
class TransientFrame:
    """Encoded state: without an id, in the plain and as a chunk of HTTP/1.1. A later one of the same `place` replaces it."""

    place: tuple[object, ...]
    type: str
    conversation_id: UUID
    data: bytes
    chunk: bytes


def encode_event(event: LoggedEvent, epoch: str, *, idx_from: int | None = None) -> Frame:
    """Encode one committed event; *idx_from* is the first chunk's number when *event* stands for several deltas."""
    payload = _delta_payload(event, idx_from) if event.type == "message.delta" else event.payload
    envelope = orjson.dumps(
        {
            "type": event.type,
            "conversation_id": event.conversation_id,
            "prev": event.prev,
            "at": event.created_at,
            "payload": payload,
        },
        default=str,  # asyncpg's UUIDs are of a subclass, which orjson leaves to us
        option=_OPTIONS,
    )
    head = f"id: {epoch}-{event.position}\nevent: {event.type}\ndata: ".encode()
    return Frame(
        event.position,
        event.type,
        event.audience_user_id,
        _member_change(event),
        time.monotonic(),
        b"".join((head, envelope, b"\n\n")),
        event,
    )


def encode_chunk(data: bytes) -> bytes:
    """Frame a piece of a body for HTTP/1.1's chunked coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def encode_transient(transient: Transient) -> TransientFrame:
    """Encode how things stand; `at` is now, by this process's clock."""
    body = orjson.dumps(
        {
            "type": transient.type,
            "conversation_id": transient.conversation_id,
            "prev": None,
            "at": datetime.now(UTC),
            "payload": transient.payload,
        },
        default=str,
        option=_OPTIONS,
    )
    data = b"event: %s\ndata: %s\n\n" % (transient.type.encode(), body)
    return TransientFrame(transient.place, transient.type, transient.conversation_id, data, encode_chunk(data))


def encode_control(kind: ControlType, payload: dict[str, Any], *, cursor: Cursor | None = None) -> bytes:
    """Encode what a stream says of itself; with *cursor* the client's last id moves there."""
    body = orjson.dumps({"type": kind, "conversation_id": None, "prev": None, "at": None, "payload": payload}, option=_OPTIONS)
    identity = b"id: %s\n" % str(cursor).encode() if cursor else b""
    return b"%sevent: %s\ndata: %s\n\n" % (identity, kind.encode(), body)


def encode_retry(milliseconds: int) -> bytes:
    """Encode how long the client should wait before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


def _delta_payload(event: LoggedEvent, idx_from: int | None) -> dict[str, Any]:
    is_first = 0 in (event.idx, idx_from)
    delta = {"role": "assistant", "content": event.content} if is_first else {"content": event.content}
    return {
        "id": f"chatcmpl-{event.message_id}",
        "object": "chat.completion.chunk",
        "root_id": event.root_id,
        "message_id": event.message_id,
        "parent_id": event.parent_id,
        "idx": event.idx,
        **({} if idx_from is None else {"idx_from": idx_from}),
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }


def _member_change(event: LoggedEvent) -> MemberChange | None:
    if event.type == "conversation.updated" and event.payload is not None and event.payload.get("archived_at"):
        return MemberChange(None, "removed")
    if event.type != "membership.changed" or event.payload is None:
        return None
    return MemberChange(UUID(event.payload["user_id"]), event.payload["action"])
