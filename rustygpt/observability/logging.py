"""Logs: one line per event, to standard error, as JSON or as text, from our code and from libraries alike.

No line holds a token, a cookie, a password, a message's text or an e-mail address: `redact` removes them by key and by shape, from
nested values and from tracebacks too. An event is a name with fields (`generation_finished`), never a sentence.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, TextIO, assert_never

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from rustygpt.settings import LoggingSettings, LogLevel

REDACTED: Final = "[redacted]"

_SECRET_WORDS: Final = frozenset(
    {
        *("password", "passwd", "passphrase", "secret", "token", "tokens", "cookie", "cookies", "csrf", "dsn", "apikey"),
        *("authorization", "credential", "credentials", "email", "mail"),
        *("content", "contents", "body", "prompt", "text", "delta", "title", "excerpt", "query"),
    }
)
"""A key that has one of these words, between underscores or alone, is a secret."""
_SECRET_KEYS: Final = frozenset({"api_key", "private_key", "display_name", "message"})
_HARMLESS_KEYS: Final = frozenset({"content_type"})
_PLAIN: Final = (int, float, type(None))
"""Numbers and facts say nothing: `completion_tokens=17` stays."""

_SHAPES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"(?s)\bDETAIL:\s.*"), f"DETAIL: {REDACTED}"),  # PostgreSQL quotes whole rows there
    (re.compile(r"(?<=://)([^\s/@:]*):[^\s/]*@"), rf"\1:{REDACTED}@"),  # the password of a URL
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(?i)\b(SESSION_ID|CSRF-TOKEN|password|token|secret|api_key)=[^\s;&,]+"), rf"\1={REDACTED}"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"[^\s@<>\"'(),;:=/]{1,64}@[^\s@<>\"'(),;:=/]+\.[^\W\d_]{2,}"), REDACTED),  # an e-mail address
    # Our session and CSRF tokens are 43 characters of base64url: both cases, which no identifier of that length has.
    (re.compile(r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{40,}(?![\w-])"), REDACTED),
)
_SUSPICIOUS: Final = re.compile(r"[@=]|://|sk-|DETAIL|[Bb][Ee][Aa][Rr]|[Bb][Aa][Ss][Ii][Cc]|[A-Za-z0-9_-]{40}")
"""What every shape has in some form. One look instead of seven: a line of six fields costs 21 µs instead of 66."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_MESSAGE_CHARACTERS: Final = 300
_TOLD: Final = (
    "ASGI callable returned without completing response",  # how a stalled stream is cut: `stream_stalled`
    "Application startup failed. Exiting",  # the command has an error line of its own
    "Failed to restore the pool connection floor",  # the database is away: `log_unreadable`, `commit_failing`, …
)
_NOISY: Final = ("httpx2", "httpcore2", "asyncio", "uvicorn.access")


def configure_logging(settings: LoggingSettings, stream: TextIO | None = None, *, worker: int | None = None) -> None:
    """Send every log line of the process to *stream* (standard error by default). May be called again; the last call counts.

    `format = "auto"` means text on a terminal and JSON elsewhere. *worker*: a number that every line gets.
    """
    target = stream if stream is not None else sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _format_exception,
        redact,
    ]
    if worker is not None:
        shared.insert(3, partial(_add_worker, worker))
    renderer = _renderer(settings, target)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared[:3]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shared[3:], *renderer],
        )
    )
    _install(handler, level)


def set_log_level(level: LogLevel) -> None:
    """Log what is as important as *level*, or more, from now on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(number)


def _add_worker(worker: int, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {**event, "worker": worker}


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace whatever must not be logged, by the name of its key and by the shape of its value. A structlog processor."""
    return {key: _clean(key, value) for key, value in event.items()}


def describe_exception(error: BaseException) -> str:
    """Return the traceback of *error* and its causes: frames and types, and of each message only what is harmless.

    The DETAIL of a database error shows whole rows and that of a validation error shows the input, so a message is cut at its
    first line and at 300 characters, and validation errors keep none.
    """
    return "\n".join(_exception_lines(error, set()))


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if key != "event" and _is_secret(key):
        return REDACTED
    match value:
        case str():
            return _clean_text(value)
        case BaseException():
            return _clean_text(f"{type(value).__qualname__}: {_harmless_message(value)}")
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            return {_clean_text(str(name)): _clean(str(name), item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean("", item) for item in value]
        case _:
            return _clean_text(str(value))


def _is_secret(key: str) -> bool:
    lowered = key.lower()
    if lowered in _HARMLESS_KEYS:
        return False
    return lowered in _SECRET_KEYS or not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z0-9]+", lowered))


def _clean_text(text: str) -> str:
    if _SUSPICIOUS.search(text) is None:
        return text
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    return text


def _format_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True or isinstance(info, tuple):
        info = (sys.exc_info() if info is True else info)[1]
    if isinstance(info, BaseException):
        event["exception"] = describe_exception(info)
    return event


def _exception_lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _exception_lines(earlier, seen)
        yield "which led to:"
    if error.__traceback__ is not None:
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    yield f"{type(error).__module__}.{type(error).__qualname__}: {_harmless_message(error)}"
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions, start=1):
            if id(member) not in seen:
                yield f"member {number} of {len(error.exceptions)}:"
                yield from _exception_lines(member, seen)


def _harmless_message(error: BaseException) -> str:
    if isinstance(error, ValueError) and hasattr(error, "errors"):  # pydantic's ValidationError quotes the input
        return REDACTED
    first_line = (str(error).splitlines() or [""])[0][:_MAX_MESSAGE_CHARACTERS]
    sqlstate = getattr(error, "sqlstate", None)
    return f"{first_line} (SQLSTATE {sqlstate})" if isinstance(sqlstate, str) else first_line


def _renderer(settings: LoggingSettings, stream: TextIO) -> list[Processor]:
    is_terminal = stream.isatty()
    match settings.format:
        case "json":
            return [_render_json]
        case "text":
            return _text_renderer(colors=is_terminal)
        case "auto":
            return _text_renderer(colors=is_terminal) if is_terminal else [_render_json]
        case _:
            assert_never(settings.format)


def _text_renderer(*, colors: bool) -> list[Processor]:
    # The default exception formatter would print the local variables of every frame.
    console = structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="at", exception_formatter=structlog.dev.plain_traceback)
    return [_escape_controls, console]


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a value on its line: a caller must not be able to write log lines or terminal codes of its own."""
    return {key: _escape(key, value) if isinstance(value, str) else value for key, value in event.items()}


def _escape(key: str, text: str) -> str:
    rows = text.split("\n") if key == "exception" else [text]
    return "\n".join(_CONTROLS.sub(lambda match: repr(match.group())[1:-1], row) for row in rows)


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("at", "level", "event") if key in event}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode()


def _is_news(record: logging.LogRecord) -> bool:
    """Keep back what libraries report as errors and we have told already, in our own words."""
    return not record.getMessage().startswith(_TOLD)


def _install(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncpg", "asyncpg.pool"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
        library.removeFilter(_is_news)
        library.addFilter(_is_news)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
