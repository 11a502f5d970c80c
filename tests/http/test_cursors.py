"""Page cursors: exact, opaque, signed, of one kind."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.errors import BadRequest
from rustygpt.http.cursors import MAX_CURSOR_CHARACTERS, PageCursors

CURSORS = PageCursors(b"0123456789abcdef0123456789abcdef")
VALUES = st.lists(
    st.none()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.uuids()
    | st.datetimes(timezones=st.just(UTC)),
    max_size=4,
)


@given(VALUES)
def test_values_come_back_in_their_types(values: list[UUID | datetime | int | str | None]) -> None:
    """What went into a cursor comes out equal, microseconds included, and the text is safe in a URL."""
    text = CURSORS.encode("threads", values)
    assert CURSORS.decode("threads", text) == values
    assert text.replace("-", "").replace("_", "").replace(".", "").isalnum()


@given(st.text(max_size=200))
def test_made_up_cursor_is_bad_request(text: str) -> None:
    """A text that the server did not give out is refused with BadRequest."""
    with pytest.raises(BadRequest):
        CURSORS.decode("threads", text)


def test_changed_foreign_and_long_cursors_are_refused() -> None:
    """A changed byte, another kind, another secret and an endless text are all refused."""
    text = CURSORS.encode("threads", [1])
    for index in range(len(text)):
        changed = text[:index] + ("A" if text[index] != "A" else "B") + text[index + 1 :]
        if index != len(text) - 1:  # the last base64 character has two idle bits
            with pytest.raises(BadRequest):
                CURSORS.decode("threads", changed)
    for kind, cursors, given_text in (
        ("messages", CURSORS, text),
        ("threads", PageCursors(b"another secret of 32 characters!"), text),
        ("threads", CURSORS, "x" * (MAX_CURSOR_CHARACTERS + 1)),
    ):
        with pytest.raises(BadRequest):
            cursors.decode(kind, given_text)


def test_short_secret_and_naive_time_are_refused() -> None:
    """Programming errors are errors at once: a short secret, a time without a zone."""
    with pytest.raises(ValueError, match="16 bytes"):
        PageCursors(b"short")
    with pytest.raises(ValueError, match="aware"):
        CURSORS.encode("threads", [datetime(2026, 1, 1)])  # noqa: DTZ001
