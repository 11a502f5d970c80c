"""Errors under /v1, in the shape that OpenAI's clients know: `{"error": {"message", "type", "param", "code"}}`.

The status decides which exception a client raises, `code` what a program does about it. The second of the two places where an error becomes a
response; `problem.py` sends everything under /v1 here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.responses import Response

from rustygpt.errors import DomainError

PREFIX: Final = "/v1"

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    423: "permission_error",
    429: "rate_limit_error",
}
_CODES: Final[Mapping[str, str]] = {
    "RGP.BAD_REQUEST": "invalid_request",
    "RGP.AUTH.REQUIRED": "invalid_api_key",
    "RGP.AUTH.INVALID_CREDENTIALS": "invalid_api_key",
    "RGP.AUTH.SESSION_EXPIRED": "session_expired",
    "RGP.AUTH.KEY_REVOKED": "invalid_api_key",
    "RGP.AUTH.CSRF": "csrf",
    "RGP.AUTH.PENDING": "account_pending",
    "RGP.AUTH.DISABLED": "account_disabled",
    "RGP.RBAC.FORBIDDEN": "forbidden",
    "RGP.NOT_FOUND": "not_found",
    "RGP.METHOD": "method_not_allowed",
    "RGP.CONFLICT": "conflict",
    "RGP.TOO_LARGE": "request_too_large",
    "RGP.MEDIA_TYPE": "unsupported_media_type",
    "RGP.VALIDATION": "invalid_value",
    "RGP.RATE_LIMITED": "rate_limit_exceeded",
    "RGP.UNAVAILABLE": "unavailable",
    "RGP.INTERNAL": "internal_error",
}


@dataclass(frozen=True, slots=True)
class OpenAIError:
    """One error. `param` is the field that is wrong, a dotted path."""

    status: int
    message: str
    code: str
    param: str | None = None
    retry_after_seconds: int | None = None

    @property
    def type(self) -> str:
        """OpenAI's kind of error."""
        return _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def body(self) -> bytes:
        """Return the JSON; in a stream it is the data of an event."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


def is_openai_path(path: str) -> bool:
    """Say whether errors under *path* have OpenAI's shape."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def openai_error_of(error: DomainError) -> OpenAIError:
    """Translate an error of ours. What is a 422 elsewhere is a 400 here, as OpenAI has it."""
    status = 400 if error.status == 422 else error.status
    code = _CODES.get(error.code, error.code)
    if not error.errors:
        return OpenAIError(status, error.detail, code, None, error.retry_after_seconds)
    first = error.errors[0]
    message = f"{first.field}: {first.message}" if first.field else first.message
    return OpenAIError(status, message, code, first.field or None, error.retry_after_seconds)


def openai_error_response(error: OpenAIError, headers: Mapping[str, str] | None = None) -> Response:
    """Build the response of *error*."""
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    if error.retry_after_seconds is not None:
        all_headers["Retry-After"] = str(error.retry_after_seconds)
    return Response(error.body(), status_code=error.status, headers=all_headers, media_type="application/json")
