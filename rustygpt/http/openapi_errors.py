"""Which errors an operation may answer: what it declares, and what follows from its path, its body, its caller and its method.

What every operation may answer is said here once; a handler declares only what is its own.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
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
from rustygpt.operation import ErrorShape, Operation

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


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A status that is an error, with what may be wrong; equal ones of several operations have one name."""

    status: int
    errors: tuple[type[DomainError], ...]
    shape: ErrorShape

    @property
    def name(self) -> str:
        """The name under which it is said once."""
        return component_name(self.status, [error.code for error in self.errors], is_problem=self.shape == "problem")

    @property
    def description(self) -> str:
        """Each code with what it means."""
        return " ".join(f"`{error.code}`: {error.title}" for error in self.errors)

    @property
    def headers(self) -> tuple[str, ...]:
        """What comes along."""
        return _HEADERS.get(self.status, ())

    def content(self) -> dict[str, Any]:
        """Return the body's reference, by media type."""
        if self.shape == "openai":
            return {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}
        return {CONTENT_TYPE: {"schema": {"$ref": f"#/components/schemas/{self.name}Problem"}}}

    def narrowed(self, problem: dict[str, Any]) -> dict[str, Any]:
        """Return the schema *problem* with this status and these codes alone. Written out: generators of clients stumble over `allOf`."""
        codes = [error.code for error in self.errors]
        own = {"status": {"type": "integer", "const": self.status}, "code": {"type": "string", "enum": codes}}
        required = [*problem["required"], *(["errors"] if self.errors == (Invalid,) else [])]
        properties = {**problem["properties"], **own}
        return {**problem, "properties": properties, "required": required, "title": f"{self.name}Problem"}


def error_responses(method: str, path: str, operation: Operation) -> Iterator[ErrorResponse]:
    """Yield a response for each status of the operation's errors."""
    by_status: dict[int, set[type[DomainError]]] = {}
    for error in errors_of(method, path, operation):
        is_openai_400 = operation.error_shape == "openai" and error.status == 422
        by_status.setdefault(400 if is_openai_400 else error.status, set()).add(error)
    for status, errors in sorted(by_status.items()):
        yield ErrorResponse(status, tuple(sorted(errors, key=lambda each: each.code)), operation.error_shape)


def component_name(status: int, codes: Collection[str], *, is_problem: bool) -> str:
    """Return the name under which equal responses are said once.

    `Forbidden` is what every caller may get, `ForbiddenCsrf` that and one code more, `ForbiddenOnlyCsrf` that one alone.
    """
    usual = {error.code for error in _OF_CALLERS if error.status == status}
    phrase = HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
    is_more = usual <= set(codes)
    words = [code.rpartition(".")[2].title().replace("_", "") for code in codes if not (is_more and code in usual)]
    if not usual and len(words) == 1:
        words = []  # the status says it
    return ("" if is_problem else "OpenAI") + phrase + ("" if is_more else "Only") + "".join(words)


ERROR_MODELS: Final = {"problem": Problem, "openai": OpenAIError}
