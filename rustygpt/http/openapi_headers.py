"""Headers of answers, explained once; an Answer names them, and every answer has ALWAYS."""

from typing import Any, Final

ALWAYS: Final = ("X-Request-Id",)

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "integer", "minimum": 0}

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Cache-Control": {"description": "How long the answer may be kept.", "schema": _TEXT},
    "ETag": {"description": "The version of the document, for `If-None-Match`.", "schema": _TEXT},
    "Location": {"description": "Where to go on.", "schema": _TEXT},
    "Retry-After": {"description": "Seconds to wait before the next attempt, where that is known.", "schema": _NUMBER},
    "Set-Cookie": {"description": "Cookies: of the session, or of a sign-in that has begun.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "How to authenticate otherwise (RFC 9110).", "schema": _TEXT},
    "X-RateLimit-Limit": {"description": "How much there is of what is limited.", "schema": _NUMBER},
    "X-RateLimit-Profile": {"description": "The name of the limit.", "schema": _TEXT},
    "X-RateLimit-Remaining": {"description": "How much is left.", "schema": _NUMBER},
    "X-RateLimit-Reset": {"description": "Seconds until all of it is there again.", "schema": _NUMBER},
    "X-Request-Id": {"description": "The request's id, taken from the request where it is well-formed.", "schema": _TEXT},
    "X-Session-Rotated": {
        "description": "`1`: the cookies in this answer hold a new token of the session.",
        "schema": {"type": "string", "const": "1"},
    },
}


def header_references(names: tuple[str, ...]) -> dict[str, Any]:
    """Return an answer's `headers`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*ALWAYS, *names)}
