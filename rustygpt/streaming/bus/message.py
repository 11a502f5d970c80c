"""What processes say to each other, as bytes. Pure.

Nothing here is the truth: a message that is lost, comes twice or late, or makes no sense, costs time and nothing else. What does not
fit is replaced by "look at the database", never cut in two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, get_args
from uuid import UUID

import orjson

from rustygpt.signals import SignalKind, Transient, TransientType
from rustygpt.streaming.events import LoggedEvent

MAX_SIGNALS: Final = 100
"""More than these say no more than that there is much to look at; so many fit into a NOTIFY."""

_TRANSIENT_TYPES: Final[frozenset[str]] = frozenset(get_args(TransientType))
_SIGNAL_KINDS: Final[frozenset[str]] = frozenset(get_args(SignalKind))
_LOOK: Final[tuple[SignalKind, str]] = ("look", "")
_OPTIONS: Final = orjson.OPT_UTC_Z
_TRANSIENTS: Final = b',"transients":['


@dataclass(frozen=True, slots=True)
class Message:
    """`position`: the log goes up to it at least, in the history called `epoch`; 0 says nothing. `deltas` are committed, in order.

    `transients` say how things stand. With none of these a message only shows that the sender is heard.
    """

    node: str
    epoch: str
    position: int = 0
    signals: Sequence[tuple[SignalKind, str]] = ()
    deltas: Sequence[LoggedEvent] = field(default=())
    transients: Sequence[Transient] = ()


def encode(message: Message, max_bytes: int) -> bytes:
    """Return at most *max_bytes* bytes: deltas are left out first, for they are in the log, then single signals become a look.

    Transients are not among them: `add_transients` puts in what there is room for.
    """
    signals = message.signals if len(message.signals) <= MAX_SIGNALS else (_LOOK,)
    head: dict[str, Any] = {"node": message.node, "epoch": message.epoch, "position": message.position}
    deltas = [_row(event) for event in message.deltas]
    for candidate in ({"signals": signals, "deltas": deltas}, {"signals": signals}, {"signals": (_LOOK,)}):
        body = orjson.dumps(head | candidate, default=str, option=_OPTIONS)  # asyncpg's UUIDs are of a subclass
        if len(body) <= max_bytes:
            return body
    raise ValueError(f"no message fits into {max_bytes} bytes")


def add_transients(body: bytes, transients: Sequence[Transient], max_bytes: int) -> tuple[bytes, int]:
    """Return an encoded message with the first of *transients* in it, whole, as many as fit into *max_bytes*; and how many."""
    rows: list[bytes] = []
    size = len(body) + len(_TRANSIENTS) + len(b"]}") - len(b"}")
    for transient in transients:
        row = orjson.dumps(_transient_row(transient), default=str, option=_OPTIONS)
        size += len(row) + bool(rows)
        if size > max_bytes:
            break
        rows.append(row)
    return (b"%s%s%s]}" % (body[:-1], _TRANSIENTS, b",".join(rows)) if rows else body), len(rows)


def node_prefix(node: str) -> bytes:
    """Return how every message of *node* begins: one's own need not be read."""
    return b'{"node":%s,' % orjson.dumps(node)


def decode(body: bytes | str) -> Message | None:
    """Return what was said, or None when it makes no sense. Signals and transients that this version does not know are left out."""
    try:
        document = orjson.loads(body)
        signals = [(kind, key) for kind, key in document["signals"] if kind in _SIGNAL_KINDS]
        transients = [row for row in document.get("transients", ()) if row[2] in _TRANSIENT_TYPES]
        message = Message(
            _text(document["node"]),
            _text(document["epoch"]),
            _position(document["position"]),
            [(kind, _text(key)) for kind, key in signals],
            [_delta(row) for row in document.get("deltas", ())],
            tuple([_transient(row) for row in transients]),
        )
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):  # JSON of another shape fails in many ways
        return None
    return message


def _row(event: LoggedEvent) -> tuple[Any, ...]:
    return (
        event.position,
        event.prev,
        event.conversation_id,
        event.root_id,
        event.parent_id,
        event.message_id,
        event.idx,
        event.content,
        event.created_at,
    )


def _delta(row: Any) -> LoggedEvent:
    position, prev, conversation_id, root_id, parent_id, message_id, idx, content, created_at = row
    return LoggedEvent(
        position=_position(position),
        prev=_position(prev),
        conversation_id=UUID(conversation_id),
        audience_user_id=None,
        type="message.delta",
        root_id=UUID(root_id),
        parent_id=None if parent_id is None else UUID(parent_id),
        message_id=UUID(message_id),
        idx=_position(idx),
        content=_text(content),
        payload=None,
        created_at=datetime.fromisoformat(created_at),
    )


def _transient_row(transient: Transient) -> tuple[Any, ...]:
    return transient.conversation_id, transient.audience_user_id, transient.type, transient.key, transient.payload


def _transient(row: Any) -> Transient:
    conversation_id, audience_user_id, kind, key, payload = row
    if not isinstance(payload, dict):
        raise TypeError
    audience = None if audience_user_id is None else UUID(audience_user_id)
    return Transient(UUID(conversation_id), audience, kind, _text(key), payload)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _position(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value
