"""The log as it is in the tables, read by their owner when all is over: what every record is compared with.

Nothing here comes from the product's Python: digests are made from the rows themselves.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from tests.soak.ledger import digest_of, digest_of_payload

_EVENTS = """
select position, prev, conversation_id::text as conversation_id, audience_user_id::text as audience, type, message_id::text as message_id,
       idx, content, payload::text as payload
from rustygpt.event_log order by position
"""
_SPANS = """
select user_id::text as user_id, conversation_id::text as conversation_id, from_position, to_position
from rustygpt.membership_spans order by from_position
"""
_REPLIES = """
select m.id::text as id, m.parent_id::text as parent_id, p.content as question, m.content, g.state, g.error_code
from rustygpt.messages m join rustygpt.generations g on g.message_id = m.id join rustygpt.messages p on p.id = m.parent_id
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the log. *digest* is that of a delta's text, else of the payload; *text* is a delta's."""

    position: int
    prev: int
    conversation_id: str | None
    audience: str | None
    type: str
    message_id: str | None
    idx: int
    digest: int
    text: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """A generation as its tables show it."""

    id: str
    question: str
    content: str
    state: str
    error_code: str | None


@dataclass(slots=True)
class History:
    """The rows by position (the log is dense: row n is at index n - 1), and what is often asked of them."""

    rows: list[Row]
    head: int
    replies: list[Reply]
    spans: dict[str, list[tuple[str, int, int]]] = field(default_factory=lambda: defaultdict(list))
    deltas: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    created: dict[str, Row] = field(default_factory=dict)
    done: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    of_all: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    of_one: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))

    def at(self, position: int) -> Row | None:
        """Return the row at a position; None where the log has none."""
        return self.rows[position - 1] if 0 < position <= len(self.rows) else None

    def rights(self, user_id: str, conversation_id: str | None, after: int) -> list[int]:
        """Return every position above *after* that a stream must bring: of one conversation, or of all that the user was in."""
        personal = [p for p, where in self.of_one[user_id] if conversation_id in (None, where)]
        if conversation_id is not None:
            found = [*self.of_all[conversation_id], *personal]
        else:
            found = personal
            for where, first, last in self.spans[user_id]:
                found += [position for position in self.of_all[where] if first <= position <= last]
        return sorted(position for position in found if position > after)


async def read_history(owner: "asyncpg.Connection[asyncpg.Record]") -> History:
    """Read everything. Raises ValueError when the log is not dense."""
    rows = [_row(record) for record in await owner.fetch(_EVENTS)]
    head = int(await owner.fetchval("select position from rustygpt.event_head"))
    if [row.position for row in rows] != list(range(1, head + 1)):
        raise ValueError(f"the log is not dense: {len(rows)} rows, the head at {head}")
    replies = [
        Reply(record["id"], record["question"], record["content"], record["state"], record["error_code"])
        for record in await owner.fetch(_REPLIES)
    ]
    history = History(rows, head, replies)
    for record in await owner.fetch(_SPANS):
        last = head if record["to_position"] is None else record["to_position"]
        history.spans[record["user_id"]].append((record["conversation_id"], record["from_position"], last))
    _index(history, rows)
    return history


def _index(history: History, rows: Sequence[Row]) -> None:
    for row in rows:
        if row.audience is not None:
            history.of_one[row.audience].append((row.position, row.conversation_id or ""))
        elif row.conversation_id is not None:
            history.of_all[row.conversation_id].append(row.position)
        if row.message_id is not None and row.type == "message.delta":
            history.deltas[row.message_id].append(row)
        elif row.message_id is not None and row.type == "message.created":
            history.created[row.message_id] = row
        elif row.message_id is not None and row.type == "message.done":
            history.done[row.message_id].append(row)


def _row(record: asyncpg.Record) -> Row:
    text = record["content"] or ""
    payload = orjson.loads(record["payload"]) if record["payload"] is not None else None
    return Row(
        position=record["position"],
        prev=record["prev"],
        conversation_id=record["conversation_id"],
        audience=record["audience"],
        type=record["type"],
        message_id=record["message_id"],
        idx=record["idx"] or 0,
        digest=digest_of(text.encode()) if record["type"] == "message.delta" else digest_of_payload(payload),
        text=text,
        payload=payload,
    )
