"""Every error that a caller may see, as data.

    DomainError                 code and status; never raised itself
    ├── BadRequest          400 RGP.BAD_REQUEST          unparsable JSON, malformed cursor or id
    ├── SignInRequired      401 RGP.AUTH.REQUIRED
    ├── InvalidCredentials  401 RGP.AUTH.INVALID_CREDENTIALS
    ├── SessionExpired      401 RGP.AUTH.SESSION_EXPIRED
    ├── KeyRevoked          401 RGP.AUTH.KEY_REVOKED     also when it has expired
    ├── OAuthFailed         401 RGP.AUTH.OAUTH_FAILED    with the reason that the page is told
    ├── CsrfRefused         403 RGP.AUTH.CSRF
    ├── AwaitsApproval      403 RGP.AUTH.PENDING         a user whom no administrator has let in yet
    ├── Forbidden           403 RGP.RBAC.FORBIDDEN
    ├── NotFound            404 RGP.NOT_FOUND            also for what one may not see
    ├── MethodNotAllowed    405 RGP.METHOD
    ├── Conflict            409 RGP.CONFLICT
    ├── TooLarge            413 RGP.TOO_LARGE
    ├── UnsupportedMedia    415 RGP.MEDIA_TYPE
    ├── Invalid             422 RGP.VALIDATION           with errors: [{field, message}]
    ├── AccountDisabled     423 RGP.AUTH.DISABLED
    ├── RateLimited         429 RGP.RATE_LIMITED         with retry_after_seconds, and the limit that is reached
    ├── Internal            500 RGP.INTERNAL             never says why
    └── Unavailable         503 RGP.UNAVAILABLE          with retry_after_seconds

A code never changes once released; a detail may. Only `http/problem.py` turns an error into a response.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; `field` is a dotted path, empty for the body as a whole."""

    field: str
    message: str


class DomainError(Exception):
    """An error with a stable code. Subclasses set `status` (HTTP), `code` and `title`."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds


class BadRequest(DomainError):
    status, code, title = 400, "RGP.BAD_REQUEST", "The request could not be understood."


class SignInRequired(DomainError):
    status, code, title = 401, "RGP.AUTH.REQUIRED", "Sign in first."


class InvalidCredentials(DomainError):
    status, code, title = 401, "RGP.AUTH.INVALID_CREDENTIALS", "The e-mail address or the password is wrong."


class SessionExpired(DomainError):
    status, code, title = 401, "RGP.AUTH.SESSION_EXPIRED", "The session has ended. Sign in again."


class KeyRevoked(DomainError):
    status, code, title = 401, "RGP.AUTH.KEY_REVOKED", "The API key was revoked or has expired."


class OAuthFailed(DomainError):
    """A sign-in by a provider came to nothing. `reason` is a word of docs/reference/errors.md."""

    status, code, title = 401, "RGP.AUTH.OAUTH_FAILED", "Signing in by the provider did not succeed."

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class CsrfRefused(DomainError):
    status, code, title = 403, "RGP.AUTH.CSRF", "The X-CSRF-TOKEN header is missing or wrong."


class AwaitsApproval(DomainError):
    status, code, title = 403, "RGP.AUTH.PENDING", "An administrator has to approve this account first."


class Forbidden(DomainError):
    status, code, title = 403, "RGP.RBAC.FORBIDDEN", "Your role does not allow this."


class NotFound(DomainError):
    status, code, title = 404, "RGP.NOT_FOUND", "There is no such thing, or you may not see it."


class MethodNotAllowed(DomainError):
    status, code, title = 405, "RGP.METHOD", "This address does not take that method."


class Conflict(DomainError):
    status, code, title = 409, "RGP.CONFLICT", "The request conflicts with the present state."


class TooLarge(DomainError):
    status, code, title = 413, "RGP.TOO_LARGE", "The request body is too large."


class UnsupportedMedia(DomainError):
    status, code, title = 415, "RGP.MEDIA_TYPE", "The body must be application/json."


class Invalid(DomainError):
    """Always with `errors`: where no field is to blame, *detail* is said of the body as a whole."""

    status, code, title = 422, "RGP.VALIDATION", "Some fields are not acceptable."

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = (), retry_after_seconds: int | None = None) -> None:
        said = errors or (FieldError("", detail or self.title),)
        super().__init__(detail, errors=said, retry_after_seconds=retry_after_seconds)


class AccountDisabled(DomainError):
    status, code, title = 423, "RGP.AUTH.DISABLED", "This account is disabled."


@dataclass(frozen=True, slots=True)
class Limit:
    """What is limited under the name `profile`: how much there is, how much is left, and in how many seconds all of it is there again."""

    profile: str
    limit: int
    remaining: int
    reset_seconds: int


class RateLimited(DomainError):
    """Too much, or too often. `limit` says of what."""

    status, code, title = 429, "RGP.RATE_LIMITED", "Too many requests."

    def __init__(self, detail: str = "", *, limit: Limit | None = None, retry_after_seconds: int | None = None) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
        self.limit = limit


class Internal(DomainError):
    status, code, title = 500, "RGP.INTERNAL", "Something went wrong on the server."


class Unavailable(DomainError):
    status, code, title = 503, "RGP.UNAVAILABLE", "The server cannot do this right now."
