"""The only place where an error becomes a response: application/problem+json (RFC 9457), or OpenAI's shape under /v1 (openai_error.py).

A response never tells more than the error's own fields; an unexpected exception is always the same 500. Raw ASGI endpoints use
`send_problem`, Starlette's routes just raise.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rustygpt.errors import (
    BadRequest,
    Conflict,
    DomainError,
    Forbidden,
    Internal,
    Limit,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    SignInRequired,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from rustygpt.http.openai_error import is_openai_path, openai_error_of, openai_error_response

CONTENT_TYPE: Final = "application/problem+json"
PROFILE_HEADER: Final = "X-RateLimit-Profile"
REQUEST_ID_KEY: Final = "rustygpt.request_id"
"""Where the scope holds the request's id; set by RequestContextMiddleware."""

_BY_STATUS: Final[Mapping[int, type[DomainError]]] = {
    error.status: error
    for error in (
        *(BadRequest, SignInRequired, Forbidden, NotFound, MethodNotAllowed, Conflict),
        *(TooLarge, UnsupportedMedia, RateLimited, Internal, Unavailable),
    )
}

ErrorHandler = Callable[[Request, Any], Awaitable[Response]]


def problem_response(error: DomainError, scope: Scope, headers: Mapping[str, str] | None = None) -> Response:
    """Build the response of *error* for the request of *scope*; *headers* are added to its own."""
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    if isinstance(error, RateLimited) and error.limit is not None:
        all_headers.update(limit_headers(error.limit))
    if error.retry_after_seconds is not None:
        all_headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == 401:
        all_headers.setdefault("WWW-Authenticate", 'Bearer realm="rustygpt"')  # RFC 9110, section 11.6.1: a 401 names a scheme
    if is_openai_path(scope.get("path", "")):
        return openai_error_response(openai_error_of(error), all_headers)
    return Response(_body(error, scope), status_code=error.status, headers=all_headers, media_type=CONTENT_TYPE)


def limit_headers(limit: Limit) -> dict[str, str]:
    """Return the headers that tell of *limit*, of refusals and of what is still allowed."""
    return {
        "X-RateLimit-Limit": str(limit.limit),
        "X-RateLimit-Remaining": str(limit.remaining),
        "X-RateLimit-Reset": str(limit.reset_seconds),
        PROFILE_HEADER: limit.profile,
    }


async def send_problem(scope: Scope, receive: Receive, send: Send, error: DomainError) -> None:
    """Answer a raw ASGI request with *error*; nothing may have been sent before."""
    await problem_response(error, scope)(scope, receive, send)


def exception_handlers() -> dict[Any, ErrorHandler]:
    """Return what `Starlette(exception_handlers=…)` needs.

    An unexpected exception is answered, with its headers and one log entry, by RequestContextMiddleware; the last handler here serves
    only what fails outside that.
    """
    return {DomainError: _on_domain_error, HTTPException: _on_http_exception, Exception: _on_exception}


async def _on_domain_error(request: Request, error: DomainError) -> Response:
    return problem_response(error, request.scope)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    """Translate Starlette's own errors, keeping headers such as Allow. Their texts are not ours and are dropped."""
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    kind = _BY_STATUS.get(error.status_code) or (BadRequest if error.status_code < 500 else Internal)
    return problem_response(kind(), request.scope, error.headers)


async def _on_exception(request: Request, _error: Exception) -> Response:
    return problem_response(Internal(), request.scope)


def _body(error: DomainError, scope: Scope) -> bytes:
    problem: dict[str, Any] = {
        "type": f"urn:rustygpt:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "instance": quote(scope.get("path", ""), errors="replace"),
        "request_id": scope.get(REQUEST_ID_KEY, ""),
    }
    if error.errors:
        problem["errors"] = error.errors
    return orjson.dumps(problem)
