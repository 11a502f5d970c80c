"""Every request to the API is somebody's or nobody's before any route sees it, and is refused at once when it may be forged.

A cookie that is no good leaves the request anonymous, with the reason kept for `actor_of`: it must not lock a visitor out of the login
form. Paths outside *prefixes* (pages, assets, probes) cost no look-up and never have an actor.
"""

from collections.abc import Collection
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from rustygpt.auth import procedures
from rustygpt.auth.actor import REFUSAL_KEY, Actor
from rustygpt.auth.csrf import SAFE_METHODS, origin_of, require_csrf_token, require_own_origin
from rustygpt.auth.sessions import SESSION_COOKIE, is_token, token_hash
from rustygpt.database.pool import Database
from rustygpt.errors import AccountDisabled, DomainError, SessionExpired, SignInRequired
from rustygpt.http.middleware import ACTOR_KEY
from rustygpt.http.problem import send_problem
from rustygpt.settings import SessionSettings

PREFIXES: Final = ("/api/", "/v1/")
STREAM_PREFIX: Final = "/api/stream"
"""Opening a stream is no activity: browsers reopen them by themselves, and nobody would ever be idle."""


class AuthenticationMiddleware:
    """Puts an Actor, or the reason why there is none, into the scope; asks for the CSRF token where a cookie made the actor.

    *trusted_urls* are URLs such as `https://chat.example.com` whose origins count as our own; empty ones are passed over.
    """

    def __init__(
        self,
        app: ASGIApp,
        database: Database,
        settings: SessionSettings,
        *,
        trusted_urls: Collection[str] = (),
        prefixes: tuple[str, ...] = PREFIXES,
    ) -> None:
        self._app = app
        self._database = database
        self._settings = settings
        self._trusted_origins = frozenset(origin_of(url) for url in trusted_urls if url)
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        try:
            await self._examine(scope)
        except DomainError as refusal:
            await send_problem(scope, receive, send, refusal)
            return
        await self._app(scope, receive, send)

    async def _examine(self, scope: Scope) -> None:
        """Raises CsrfRefused; everything else that is wrong is kept for `actor_of`."""
        request = HTTPConnection(scope)
        if request.headers.get("authorization", "")[:7].lower() == "bearer ":
            # No browser adds this header by itself, so there is nothing to forge; and no cookie stands in for a bad key.
            scope[REFUSAL_KEY] = SignInRequired("API keys are not accepted here. Sign in with a session.")
            return
        is_unsafe = scope["method"] not in SAFE_METHODS
        if is_unsafe:
            require_own_origin(request, self._trusted_origins)
        token = request.cookies.get(SESSION_COOKIE)
        if not token:
            return
        try:
            scope[ACTOR_KEY] = await self._find_actor(token, is_activity=not scope["path"].startswith(STREAM_PREFIX))
        except DomainError as refusal:
            scope[REFUSAL_KEY] = refusal.with_traceback(None)  # its frames hold this very scope
            return
        if is_unsafe:
            require_csrf_token(request, token)

    async def _find_actor(self, token: str, *, is_activity: bool) -> Actor:
        """Raises SessionExpired, AccountDisabled or Unavailable."""
        if not is_token(token):
            raise SessionExpired
        found = await procedures.find_session(
            self._database,
            token_hash=token_hash(token),
            idle_seconds=self._settings.idle_seconds,
            is_activity=is_activity,
        )
        if found is None or found.state in {"revoked", "expired"}:
            raise SessionExpired
        if found.state == "disabled":
            raise AccountDisabled
        return Actor(found.user_id, found.session_id, found.role, found.display_name, found.absolute_expires_at)
