"""A connection that does not ask is not kept: a request's head is bounded in bytes, in fields and in time.

uvicorn bounds none of them: a client that sends a byte a minute, or headers for ever, would hold a file and memory for as long as it likes.
What was refused is counted; the answer, where there can be one, is a problem document like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson
import structlog
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

log = structlog.get_logger(__name__)

HEAD_KEY: Final = "rustygpt.request_head"
"""Where the lifespan's state holds the `HeadLimits` of the server's connections."""
HEAD_BYTES: Final = 65_536
HEAD_FIELDS: Final = 256
HEAD_SECONDS: Final = 20.0

Refusal = Literal["malformed", "head_too_large", "head_too_slow"]

_ANSWERS: Final[dict[Refusal, tuple[int, str, str]]] = {
    "malformed": (400, "RGP.BAD_REQUEST", "This is not HTTP, or too many requests at once."),
    "head_too_large": (431, "RGP.TOO_LARGE", f"A request's head may have {HEAD_FIELDS} fields and {HEAD_BYTES} bytes."),
    "head_too_slow": (408, "RGP.BAD_REQUEST", "The request's head did not arrive in time."),
}


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """`seconds` from a connection's or a request's beginning to the end of its head; `on_refused` is told of each refusal."""

    seconds: float = HEAD_SECONDS
    on_refused: Callable[[Refusal], None] = lambda _: None


_DEFAULT: Final = HeadLimits()


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with an end to its patience."""

    # Beside the instance's dict, which is full: with more than 30 names it would weigh 1.2 KiB more for each idle stream.
    __slots__ = ("_head_bytes", "_is_in_body", "_timer")
    _refusal: Refusal = "malformed"

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._timer: asyncio.TimerHandle | None = None
        self._is_in_body = False
        super().connection_made(transport)
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is None:
            if self._is_between_requests():
                self._await_head()  # whoever says something is to begin a request, or to end one that has its answer already
        elif not self._is_in_body:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse("head_too_large")

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        if self._timer is None:
            self._await_head()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > HEAD_FIELDS:
            self._refusal = "head_too_large"
            raise ValueError("too many fields")  # the parser makes an error of its own of it

    @override
    def on_headers_complete(self) -> None:
        self._have_head()
        self._is_in_body = True
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self._have_head()
        self._is_in_body = False
        super().on_message_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._timer = self.loop.call_later(self._limits.seconds, self._refuse, "head_too_slow")

    def _have_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _limits(self) -> HeadLimits:
        limits: HeadLimits = self.app_state.get(HEAD_KEY, _DEFAULT)
        return limits

    def _refuse(self, reason: Refusal) -> None:
        """Count, answer where no other answer is under way and anything was said at all, and close."""
        if self.transport.is_closing():
            return
        self._have_head()
        is_silent = reason == "head_too_slow" and not self._head_bytes and self.cycle is None
        if not is_silent:  # a browser connects in advance, which is no fault
            self._limits.on_refused(reason)
            log.info("connection_refused", reason=reason)
        if not is_silent and not self._is_answering():
            self.transport.write(_answer(reason))
        self.transport.close()

    def _is_answering(self) -> bool:
        """Say whether another answer would be read as a part of one that is under way."""
        cycle = self._last_cycle()
        return bool(self.pipeline) or (cycle is not None and cycle.response_started and not cycle.response_complete)

    def _is_between_requests(self) -> bool:
        cycle, transport = self._last_cycle(), self.transport
        is_idle = cycle is None or cycle.response_complete
        return is_idle and not transport.is_closing() and transport.get_protocol() is self  # else it speaks WebSocket by now

    def _last_cycle(self) -> RequestResponseCycle | None:
        """Return the exchange of the request that was read last; uvicorn does not say that there may be none."""
        return self.cycle


def _answer(reason: Refusal) -> bytes:
    status, code, detail = _ANSWERS[reason]
    problem = {"type": f"urn:rustygpt:error:{code}", "title": detail, "status": status, "code": code, "detail": detail}
    body = orjson.dumps(problem)
    head = f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[status] + head.encode() + body
