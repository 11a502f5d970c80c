"""Session tokens and their cookies. A token is 256 random bits; the database holds its SHA-256 alone, so a stolen dump signs nobody in.

Two cookies go together: SESSION_ID, which scripts cannot read, and CSRF-TOKEN, which they must. Both live until the session's absolute
end; that it ended earlier is for the server to say.
"""

from datetime import UTC, datetime
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from rustygpt.auth.csrf import CSRF_COOKIE, csrf_token
from rustygpt.settings_server import CookieSettings

SESSION_COOKIE: Final = "SESSION_ID"
ROTATED: Final = {"X-Session-Rotated": "1"}
"""Headers of an answer whose cookies hold a new token of the same session."""


class SessionCookies:
    """Sets and clears the two cookies. *public_url* is the origin at which users reach the server, or empty."""

    def __init__(self, settings: CookieSettings, public_url: str = "") -> None:
        self._settings = settings
        self._is_public_https = public_url.startswith("https://")

    def put(self, response: Response, request: HTTPConnection, token: str, expires_at: datetime) -> None:
        """Give the browser *token* until *expires_at* (aware), and the CSRF token that belongs to it."""
        seconds = max(0, int((expires_at - datetime.now(UTC)).total_seconds()))
        self._set(response, request, SESSION_COOKIE, token, seconds)
        self._set(response, request, CSRF_COOKIE, csrf_token(token), seconds)

    def clear(self, response: Response, request: HTTPConnection) -> None:
        """Make the browser forget both."""
        self._set(response, request, SESSION_COOKIE, "", 0)
        self._set(response, request, CSRF_COOKIE, "", 0)

    def is_secure(self, request: HTTPConnection) -> bool:
        """Say whether the cookies are for https only: by setting, else when users, or this request, come by https."""
        match self._settings.secure:
            case "always":
                return True
            case "never":
                return False
            case "auto":
                return self._is_public_https or request.url.scheme in ("https", "wss")

    def _set(self, response: Response, request: HTTPConnection, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self.is_secure(request),
            httponly=name == SESSION_COOKIE,
            samesite="lax",
        )
