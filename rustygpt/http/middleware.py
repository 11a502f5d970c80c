"""Pure ASGI middleware: every answer, the 500 included, has a request id and the security headers, and leaves one log line.

Order, outermost first: SecurityHeadersMiddleware, ClientAddressMiddleware, RequestContextMiddleware, then the rest. None of it buffers,
so a stream's frames pass through as they come.
"""

import re
import time
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rustygpt.errors import Internal
from rustygpt.http.problem import REQUEST_ID_KEY, send_problem
from rustygpt.ids import new_uuid
from rustygpt.observability.health import PROBE_PATHS
from rustygpt.observability.metrics import UNMATCHED_ROUTE, Metrics

ACTOR_KEY: Final = "rustygpt.actor"
"""Where the scope holds who is asking, an object with `user_id`; set by authentication."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
CLIENT_LEFT_STATUS: Final = 499
"""nginx's number for a request whose client went away before the answer; it is counted and logged, never sent."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class SecurityHeadersMiddleware:
    """Adds SECURITY_HEADERS where the answer has not set them itself, and HSTS on https when *hsts_max_age_seconds* > 0."""

    def __init__(self, app: ASGIApp, hsts_max_age_seconds: int = 0) -> None:
        self._app = app
        self._hsts = f"max-age={hsts_max_age_seconds}; includeSubDomains" if hsts_max_age_seconds else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                # RFC 6797, section 7.2: never over plain http. ClientAddressMiddleware has settled the scheme by now.
                if self._hsts and scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", self._hsts)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestContextMiddleware:
    """Gives each request its id, counts and times it, answers unexpected exceptions, and writes the line `http_request`."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope[REQUEST_ID_KEY] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if scope["type"] == "http":
                await _Exchange(scope, self._metrics, request_id).run(self._app, receive, send)
            else:
                await self._app(scope, receive, send)


class _Exchange:
    """One request and its answer. Counted when the answer starts, so that an open stream is seen; logged when it is over."""

    def __init__(self, scope: Scope, metrics: Metrics, request_id: str) -> None:
        self._scope = scope
        self._metrics = metrics
        self._request_id = request_id
        self._started_at = time.perf_counter()
        self._status = 0
        self._is_stream = False

    async def run(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._on_start(message)
            await send(message)

        try:
            await app(self._scope, receive, send_counted)
        except ClientDisconnect:
            pass
        except Exception:  # a defect of any route is a 500 with an id, told once in the log; a cancellation passes
            log.exception("request_failed", method=self._method, route=self._route)
            if not self._status:
                await send_problem(self._scope, receive, send_counted, Internal())
            # Else the answer is cut short: returning without its end makes the server close the connection.
        finally:
            self._finish()

    @property
    def _method(self) -> str:
        return self._metrics.method_label(self._scope["method"])

    @property
    def _route(self) -> str:
        return route_template(self._scope)

    def _on_start(self, message: MutableMapping[str, Any]) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = self._request_id
        self._status = message["status"]
        self._is_stream = headers.get("content-type", "").startswith("text/event-stream")
        self._metrics.http_answered(self._method, self._route, self._status)

    def _finish(self) -> None:
        seconds = time.perf_counter() - self._started_at
        if not self._status:
            self._status = CLIENT_LEFT_STATUS
            self._metrics.http_answered(self._method, self._route, self._status)
        if not self._is_stream:
            self._metrics.http_took(self._method, self._route, seconds)
        write = log.debug if self._route in PROBE_PATHS else log.warning if self._status >= 500 else log.info
        fields: dict[str, Any] = {"is_stream": True} if self._is_stream else {}
        if (actor := self._scope.get(ACTOR_KEY)) is not None:
            fields["actor_id"] = str(actor.user_id)
        write(
            "http_request",
            method=self._method,
            route=self._route,
            status=self._status,
            duration_seconds=round(seconds, 6),
            **fields,
        )


def route_template(scope: Scope) -> str:
    """Return the matched route's template, e.g. `/api/messages/{message_id}`, or "unmatched".

    Starlette's router writes `scope["route"]` into the very scope that middleware passed on. What middleware refused never came there:
    then the application's routes are asked which one it would have been.
    """
    template = getattr(scope.get("route") or _would_be(scope), "path_format", None)
    return template if isinstance(template, str) else UNMATCHED_ROUTE


def _would_be(scope: Scope) -> BaseRoute | None:
    routes = getattr(scope.get("app"), "routes", ())
    return next((route for route in routes if route.matches(scope)[0] is not Match.NONE), None)


def request_id_of(scope: Scope) -> str:
    """Return the id that the request brings, if it is well-formed, or a new one."""
    given = Headers(scope=scope).getlist("x-request-id")
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0]
    return str(new_uuid())
