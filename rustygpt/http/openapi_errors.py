"""Which errors an operation may answer: what it declares, and what follows from its path, its body, its caller and its method.

What every operation may answer is said here once; a handler declares only what is its own.
"""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, NotRequired

from typing_extensions import TypedDict

from rustygpt.errors import (
    AccountDisabled,
    AwaitsApproval,
    BadRequest,
    Conflict,
    CsrfRefused,
    DomainError,
    Forbidden,
    Internal,
    Invalid,
    InvalidCredentials,
    KeyRevoked,
    NotFound,
    RateLimited,
    SessionExpired,
    SignInRequired,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from rustygpt.http.problem import CONTENT_TYPE
from rustygpt.operation import Operation

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
GUARDED: Final = ("/api/", "/v1/")
"""Where a request's caller is looked up, and its origin if it changes something; a test compares with auth/authenticate.py."""

_ALWAYS: Final = (RateLimited, Internal, Unavailable)
_OF_CALLERS: Final = (
    *(SignInRequired, SessionExpired, InvalidCredentials, KeyRevoked),
    *(Forbidden, AwaitsApproval, AccountDisabled),
)
_OF_BODIES: Final = (BadRequest, TooLarge, UnsupportedMedia)
_HEADERS: Final = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Profile"),
    503: ("Retry-After",),
}


class FieldProblem(TypedDict):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(TypedDict):
    """An error (RFC 9457). `code` never changes; `title` and `detail` are for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    request_id: str
    errors: NotRequired[list[FieldProblem]]


class OpenAIErrorDetails(TypedDict):
    """What an OpenAI client reads of an error."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(TypedDict):
    """An error as OpenAI's clients expect it."""

    error: OpenAIErrorDetails


def errors_of(method: str, path: str, operation: Operation) -> set[type[DomainError]]:
    """Return every error that the operation may answer."""
    found: set[type[DomainError]] = {*_ALWAYS, *operation.errors}
    if operation.query or operation.is_idempotent:
        found.add(BadRequest)
    if re.search(r"\{\w+_id\}", path):
        found |= {BadRequest, NotFound}
    if operation.body is not None:
        found |= {*_OF_BODIES, *([Invalid] if operation.body_media_type == "application/json" else [])}
    if operation.is_idempotent:
        found.add(Conflict)
    if operation.who == "scraper":
        found.add(SignInRequired)
    elif operation.who != "anyone":
        found |= set(_OF_CALLERS)
    if method not in READING and path.startswith(GUARDED) and not operation.is_cross_site:
        found.add(CsrfRefused)
    return found


def error_responses(method: str, path: str, operation: Operation) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield status and response for each status of the operation's errors, the codes as an enumeration."""
    by_status: dict[int, set[type[DomainError]]] = {}
    for error in errors_of(method, path, operation):
        is_openai_400 = operation.error_shape == "openai" and error.status == 422
        by_status.setdefault(400 if is_openai_400 else error.status, set()).add(error)
    for status, errors in sorted(by_status.items()):
        yield status, _response(status, sorted(errors, key=lambda each: each.code), operation)


def _response(status: int, errors: list[type[DomainError]], operation: Operation) -> dict[str, Any]:
    codes = [error.code for error in errors]
    schema: dict[str, Any]
    is_problem = operation.error_shape == "problem"
    if is_problem:
        narrowed: dict[str, Any] = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
        if errors == [Invalid]:
            narrowed["required"] = ["errors"]
        media_type, schema = CONTENT_TYPE, {"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]}
    else:
        media_type, schema = "application/json", {"$ref": "#/components/schemas/OpenAIError"}
    return {
        "description": " ".join(f"`{error.code}`: {error.title}" for error in errors),
        "headers": _HEADERS.get(status, ()),
        "content": {media_type: {"schema": schema}},
        "name": component_name(status, codes, is_problem=is_problem),
    }


def component_name(status: int, codes: Iterable[str], *, is_problem: bool) -> str:
    """Return the name under which equal responses are said once, such as `ForbiddenCsrfPending`."""
    words = [part.title().replace("_", "") for code in codes for part in [code.rpartition(".")[2]]]
    phrase = HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
    return ("" if is_problem else "OpenAI") + phrase + ("".join(words) if len(words) > 1 or status in (401, 403) else "")


ERROR_MODELS: Final = {"problem": Problem, "openai": OpenAIError}
