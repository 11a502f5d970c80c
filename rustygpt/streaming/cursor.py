"""Cursors on the wire: `<epoch>-<position>`, opaque to clients, at most 40 bytes.

A cursor means "I have everything up to here". What is malformed, over-long or given twice is refused before the database is asked.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import Field
from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope
from typing_extensions import override

from rustygpt.errors import BadRequest
from rustygpt.operation import Parameter

MAX_CURSOR_BYTES: Final = 40
_GRAMMAR: Final = re.compile(r"([a-z0-9]{4,12})-(0|[1-9][0-9]{0,18})")
StreamCursor = Annotated[str, Field(pattern=rf"^({_GRAMMAR.pattern})?$", max_length=MAX_CURSOR_BYTES)]
"""A cursor in a request, as the API's description has it; an empty one counts as none."""
_MAX_POSITION: Final = 2**63 - 1
MAX_MILLISECONDS: Final = 253_402_300_799_000  # the end of the year 9999

START: Final = (
    Parameter("last_event_id", StreamCursor, "The same as the header, which beats it."),
    Parameter("since", Annotated[int, Field(ge=0, le=MAX_MILLISECONDS)], "A time in Unix milliseconds; a cursor beats it."),
)
LAST_EVENT_ID: Final = (
    Parameter("Last-Event-ID", StreamCursor, "The `id` of the last frame, or the `stream_cursor` of a list. Without: now."),
)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in one history of the log."""

    epoch: str
    position: int

    @override
    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a client wants to begin: after a cursor, at a time, or (both None) live from the head."""

    cursor: Cursor | None = None
    since: datetime | None = None


def parse_cursor(text: str) -> Cursor:
    """Parse one cursor. Raises BadRequest."""
    match = _GRAMMAR.fullmatch(text) if len(text) <= MAX_CURSOR_BYTES else None
    if match is None or int(match[2]) > _MAX_POSITION:
        raise BadRequest("The cursor is malformed; give back the id of an event as it was received.")
    return Cursor(match[1], int(match[2]))


def requested_start(scope: Scope) -> Start:
    """Read `Last-Event-ID`, else `?last_event_id=`, else `?since=` (Unix milliseconds) from a request. Raises BadRequest.

    The header wins because a browser's own reconnect repeats the first, by then stale, URL (WHATWG HTML, section 9.2.3). An empty
    value counts as none: EventSource sends none, but some clients send an empty one.
    """
    query = QueryParams(scope.get("query_string", b""))
    headers = Headers(scope=scope).getlist("last-event-id")
    asked = query.getlist("last_event_id")
    since = query.getlist("since")
    if max(len(headers), len(asked), len(since)) > 1:
        raise BadRequest("The cursor is given more than once.")
    for values in (headers, asked):
        if values and values[0]:
            return Start(cursor=parse_cursor(values[0]))
    if since and since[0]:
        return Start(since=_parse_since(since[0]))
    return Start()


def _parse_since(text: str) -> datetime:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > MAX_MILLISECONDS:
        raise BadRequest("since must be a time in Unix milliseconds.")
    return datetime.fromtimestamp(int(text) / 1000, UTC)
