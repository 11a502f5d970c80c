"""Cursors: what was made is read back, and nothing else is read at all."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.errors import BadRequest
from rustygpt.streaming.cursor import MAX_CURSOR_BYTES, Cursor, Start, parse_cursor, requested_start


def _scope(query: str = "", headers: list[tuple[bytes, bytes]] | None = None) -> dict[str, object]:
    return {"type": "http", "query_string": query.encode(), "headers": headers or []}


@given(st.from_regex(r"[a-z0-9]{4,12}", fullmatch=True), st.integers(0, 2**63 - 1))
def test_cursor_survives_the_wire(epoch: str, position: int) -> None:
    """A cursor is read as it was written, within forty bytes."""
    text = str(Cursor(epoch, position))
    assert len(text.encode()) <= MAX_CURSOR_BYTES
    assert parse_cursor(text) == Cursor(epoch, position)


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    """Whatever is not exactly what was written is a 400, never an exception of another kind."""
    with contextlib.suppress(BadRequest):
        assert str(parse_cursor(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("abcd", "abcd-", "-1", "abcd--1", "abcd-01", "abcd-+1", "abcd-1 ", "ABCD-1", "abcd-1;drop", "abc-1", "abcd-٣"),
        *("abcd-9223372036854775808", "a" * 13 + "-1", "abcd-" + "9" * 60, "abcd-1\n"),
    ],
)
def test_malformed_cursor_is_refused(text: str) -> None:
    """Each of these is refused before any database call."""
    with pytest.raises(BadRequest):
        parse_cursor(text)


def test_header_beats_query_and_cursor_beats_since() -> None:
    """A browser's own reconnect repeats the first URL, so the header is the truth."""
    start = requested_start(_scope("last_event_id=abcd-5&since=7", [(b"last-event-id", b"abcd-9")]))
    assert start == Start(cursor=Cursor("abcd", 9))
    assert requested_start(_scope("last_event_id=abcd-5&since=7")) == Start(cursor=Cursor("abcd", 5))
    assert requested_start(_scope("last_event_id=")) == Start()


@pytest.mark.parametrize(
    "query", ["last_event_id=abcd-1&last_event_id=abcd-2", "since=1&since=2", "since=-1", "since=1e3", "since=x"]
)
def test_doubled_or_malformed_query_is_refused(query: str) -> None:
    """Two cursors are no cursor, and a time is a whole number of milliseconds."""
    with pytest.raises(BadRequest):
        requested_start(_scope(query))


def test_doubled_header_is_refused() -> None:
    """The same header twice is refused, also when both agree."""
    with pytest.raises(BadRequest):
        requested_start(_scope("", [(b"last-event-id", b"abcd-1"), (b"last-event-id", b"abcd-1")]))
