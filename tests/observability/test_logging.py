"""Log lines: one per event, JSON or text, ours and the libraries' alike, and never anybody's secrets."""

import base64
import io
import json
import logging
import secrets
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from typing_extensions import override

from rustygpt.observability.logging import REDACTED, configure_logging, describe_exception, redact
from rustygpt.settings import LoggingSettings

TOKEN = secrets.token_urlsafe(32)
SECRETS = {
    "session token": TOKEN,
    "e-mail": "ada.lovelace+x@example.co.uk",
    "api key": "sk-abcdefghijklmnop0123456789",
    "message": "meet me at the old mill at nine",
    "password": "correct horse battery",
    "database password": "p4ssw0rd-of-the-database",
}


class Terminal(io.StringIO):
    @override
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the process would write to standard error, as JSON from level debug."""
    stream = io.StringIO()
    configure_logging(LoggingSettings(level="debug", format="json"), stream)
    yield stream
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


def test_line_is_one_json_object_with_context(stream: io.StringIO) -> None:
    """A line has event, level, time and the context's fields, newlines and quotes notwithstanding."""
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("thing_happened", reason='two\nlines "quoted" \u2028', seconds=0.5)
    [line] = lines(stream)
    assert list(line)[:3] == ["at", "level", "event"]
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "thing_happened",
        "level": "info",
        "request_id": "r1",
        "reason": 'two\nlines "quoted" \u2028',
        "seconds": 0.5,
    }


def test_library_lines_have_the_same_form(stream: io.StringIO) -> None:
    """What uvicorn and asyncpg log through the standard library is JSON too, names its logger, and is redacted."""
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request from %s", SECRETS["e-mail"])
    [line] = lines(stream)
    assert (line["logger"], line["level"]) == ("uvicorn.error", "warning")
    assert line["event"] == f"Invalid HTTP request from {REDACTED}"


def test_levels_hold_for_both(stream: io.StringIO) -> None:
    """Below the configured level nothing is written, by us or by libraries; the client's chatter only from warning."""
    again = io.StringIO()
    configure_logging(LoggingSettings(level="warning", format="json"), again)
    structlog.get_logger().info("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    configure_logging(LoggingSettings(level="debug", format="json"), again)
    logging.getLogger("httpx2").info("HTTP Request: GET http://somewhere/?token=x")
    assert again.getvalue() == ""
    assert stream.getvalue() == ""


@pytest.mark.parametrize("kind", ["auto", "text"])
def test_text_keeps_to_its_line(kind: str) -> None:
    """On a terminal lines are text, and a value cannot start a line or send terminal codes of its own."""
    terminal = Terminal() if kind == "auto" else io.StringIO()
    configure_logging(LoggingSettings(format=kind), terminal)
    structlog.get_logger().info("thing_happened", reason="x\n2026-01-01 [info] forged\x1b[2J")
    assert terminal.getvalue().count("\n") == 1
    assert "\\n2026-01-01" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()
    structlog.reset_defaults()


def test_auto_is_json_without_a_terminal() -> None:
    """Where standard error is no terminal, `auto` is JSON."""
    stream = io.StringIO()
    configure_logging(LoggingSettings(format="auto"), stream)
    structlog.get_logger().info("thing_happened")
    assert lines(stream)[0]["event"] == "thing_happened"
    structlog.reset_defaults()


def log_everything(log: Any) -> None:
    """Log each secret in every way that a careless programmer could."""
    for value in (SECRETS["session token"], SECRETS["e-mail"], SECRETS["api key"]):
        sentence = f"sentence with {value} inside"
        log.info(sentence)
        log.info("event", reason=f"Cookie: SESSION_ID={value}; CSRF-TOKEN={value}", nested={"a": [{"b": (value,)}]})
        log.info("event", error=ValueError(value), raw=value.encode(), mapping={value: 1})
    log.info("event", authorization=f"Bearer {TOKEN}", header=f"Authorization: Bearer {TOKEN[:20]}", url=f"/x?token={TOKEN[:12]}")
    for key in ("content", "prompt", "text", "system_prompt", "message_text", "body", "delta", "message", "root_excerpt"):
        log.info("event", **{key: SECRETS["message"]}, nested={key: [SECRETS["message"]]})
    for key in ("password", "new_password", "Password", "client_secret", "csrf_token", "X-CSRF-TOKEN", "cookie", "api_key"):
        log.info("event", **{key: SECRETS["password"]}, headers={key: SECRETS["password"]})
    log.info("event", url=f"postgresql://owner:{SECRETS['database password']}@db:5432/x")


@pytest.mark.parametrize("kind", ["json", "text"])
def test_secrets_never_appear(kind: str) -> None:
    """Tokens, cookies, passwords, message text and e-mail addresses are in no line, in either format."""
    stream = io.StringIO()
    configure_logging(LoggingSettings(level="debug", format=kind), stream)
    log_everything(structlog.get_logger())
    for name, secret in SECRETS.items():
        assert secret not in stream.getvalue(), name
    assert TOKEN[:20] not in stream.getvalue()
    structlog.reset_defaults()


def test_library_secrets_never_appear(stream: io.StringIO) -> None:
    """The same holds for what libraries log, message, arguments and traceback."""
    library = logging.getLogger("somebody.elses")
    for value in (SECRETS["session token"], SECRETS["e-mail"], SECRETS["api key"]):
        library.warning("sent %s", value)
        try:
            raise RuntimeError(f"refused {value}")
        except RuntimeError:
            library.exception("failed for %s", value)
    for name, secret in SECRETS.items():
        assert secret not in stream.getvalue(), name
    assert "in test_library_secrets_never_appear" in stream.getvalue()


@given(st.binary(min_size=32, max_size=32))
def test_every_session_token_is_recognised(raw: bytes) -> None:
    """Any 32 random bytes in the form of our tokens are removed from running text."""
    token = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    if token.lower() != token != token.upper():
        assert token not in redact(None, "info", {"reason": f"got {token}, refused"})["reason"]


def test_what_operators_need_stays() -> None:
    """Ids, counts, durations, addresses of routes and checksums are not mistaken for secrets."""
    event = {
        "event": "generation_finished",
        "message_id": "018f3e6e-0000-7000-8000-000000000001",
        "completion_tokens": 17,
        "tokens_per_second": 50.5,
        "route": "/api/conversations/{conversation_id}/messages",
        "checksum": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "content_type": "text/event-stream",
        "url": "http://127.0.0.1:11434/api/chat",
        "test": "test_reader_that_sleeps_gets_every_event_exactly_once",
        "has_password": True,
    }
    assert redact(None, "info", dict(event)) == event


def test_traceback_has_frames_but_no_rows_and_no_input() -> None:
    """A traceback shows where and what kind; a database error's DETAIL and a validation error's input stay out."""

    class Model(BaseModel):
        count: int

    refused = asyncpg.PostgresError.new(
        {
            "S": "ERROR",
            "C": "23502",
            "M": 'null value in column "x"',
            "D": f"Failing row contains ({SECRETS['message']}\nsecond line).",
        }
    )
    with pytest.raises(ValidationError) as invalid:
        Model.model_validate({"count": SECRETS["message"]})

    def fail() -> None:
        try:
            raise refused
        except asyncpg.PostgresError as error:
            raise ExceptionGroup("two", [KeyError("a"), invalid.value]) from error

    with pytest.raises(ExceptionGroup) as group:
        fail()
    text = describe_exception(group.value)
    assert SECRETS["message"] not in text
    assert "second line" not in text
    assert 'NotNullViolationError: null value in column "x" (SQLSTATE 23502)' in text
    assert "member 2 of 2:" in text
    assert text.count(", in fail\n") == 2
    assert text.index("NotNullViolationError") < text.index("which led to:") < text.index("ExceptionGroup: two")


def test_database_error_as_a_field_shows_no_row(stream: io.StringIO) -> None:
    """An error logged as a field, or as its text, loses the DETAIL that quotes a row."""
    refused = asyncpg.PostgresError.new({"S": "ERROR", "C": "23502", "M": "null value", "D": f"row ({SECRETS['message']}\nmore)"})
    structlog.get_logger().warning("commit_failing", error=refused, reason=str(refused))
    assert SECRETS["message"] not in stream.getvalue()
    assert lines(stream)[0]["error"] == "NotNullViolationError: null value (SQLSTATE 23502)"


def test_long_exception_messages_are_cut() -> None:
    """The first line of an exception's message is kept, up to 300 characters."""
    text = describe_exception(RuntimeError("x" * 1_000 + "\nmore"))
    assert text == "builtins.RuntimeError: " + "x" * 300


def test_exception_chains_that_bite_their_tail_end() -> None:
    """A circular chain of exceptions is described once."""
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__, second.__cause__ = second, first
    assert describe_exception(first).count("RuntimeError: ") == 2
