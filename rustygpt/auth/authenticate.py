"""Every request to the API is somebody's or nobody's before any route sees it, and is refused at once when it may be forged.

A cookie that is no good leaves the request anonymous, with the reason kept for `actor_of`: it must not lock a visitor out of the login
form. Paths outside *prefixes* (pages, assets, probes) cost no look-up and never have an actor.
"""

from collections.abc import Awaitable, Collection
from typing import Final, TypeVar

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from rustygpt.auth.actor import REFUSAL_KEY, Actor, KeyActor
from rustygpt.auth.actor import Scope as KeyScope
from rustygpt.auth.api_keys import find_api_key, is_api_key
from rustygpt.auth.csrf import CROSS_SITE_POSTS, SAFE_METHODS, origin_of, require_csrf_token, require_own_origin
from rustygpt.auth.session_guard import SessionGuard
from rustygpt.auth.sessions import SESSION_COOKIE
from rustygpt.database.pool import Database
from rustygpt.errors import AccountDisabled, AwaitsApproval, DomainError, Forbidden, InvalidCredentials, KeyRevoked
from rustygpt.http.middleware import ACTOR_KEY
from rustygpt.http.problem import send_problem
from rustygpt.tokens import token_hash

PREFIXES: Final = ("/api/", "/v1/")
DESCRIPTION: Final = "/openapi."
"""How the addresses of the API's description begin, which may be for users alone."""
MODEL_JOBS_PATH: Final = "/api/models/jobs"
STREAM_PREFIX: Final = "/api/stream"
"""Opening a stream is no activity: browsers reopen them by themselves, and nobody would ever be idle."""


AnyActor = TypeVar("AnyActor", bound=Actor)


class AuthenticationMiddleware:
    """Puts an Actor, or the reason why there is none, into the scope; asks for the CSRF token where a cookie made the actor.

    `Authorization: Bearer sk-…` is an API key, and beats a cookie; it must have a scope that is good for the path.

    *trusted_urls* are URLs such as `https://chat.example.com` whose origins count as our own; empty ones are passed over.
    """

    def __init__(
        self,
        app: ASGIApp,
        database: Database,
        sessions: SessionGuard,
        *,
        trusted_urls: Collection[str] = (),
        prefixes: tuple[str, ...] = PREFIXES,
    ) -> None:
        self._app = app
        self._database = database
        self._sessions = sessions
        self._trusted_origins = frozenset(origin_of(url) for url in trusted_urls if url)
        self._prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        try:
            send = await self._examine(scope, send)
        except DomainError as refusal:
            await send_problem(scope, receive, send, refusal)
            return
        await self._app(scope, receive, send)

    async def _examine(self, scope: Scope, send: Send) -> Send:
        """Return how to answer. Raises CsrfRefused; everything else that is wrong is kept for `actor_of`."""
        request = HTTPConnection(scope)
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            # No browser adds this header by itself, so there is nothing to forge; and no cookie stands in for a bad key.
            await self._admit(scope, self._find_key_actor(key.strip(), _scopes_of(scope["method"], scope["path"])))
            return send
        is_unsafe = scope["method"] not in SAFE_METHODS and scope["path"] not in CROSS_SITE_POSTS
        if is_unsafe:
            require_own_origin(request, self._trusted_origins)
        token = request.cookies.get(SESSION_COOKIE)
        if not token:
            return send
        actor = await self._admit(
            scope, self._sessions.find(request, token, is_activity=not scope["path"].startswith(STREAM_PREFIX))
        )
        if actor is None:
            return send
        if is_unsafe:
            require_csrf_token(request, token)
        if not actor.must_rotate:
            return send
        scope[ACTOR_KEY] = rotated = await self._sessions.rotate(actor)
        return self._sessions.handing_out(send, request, rotated) if rotated.is_token_current else send

    async def _admit(self, scope: Scope, finding: Awaitable[AnyActor]) -> AnyActor | None:
        try:
            scope[ACTOR_KEY] = actor = await finding
        except DomainError as refusal:
            scope[REFUSAL_KEY] = refusal.with_traceback(None)  # its frames hold this very scope
            return None
        return actor

    async def _find_key_actor(self, key: str, needed: tuple[KeyScope, ...]) -> KeyActor:
        """Raises InvalidCredentials, KeyRevoked, AccountDisabled, AwaitsApproval, Forbidden or Unavailable."""
        found = await find_api_key(self._database, key_hash=token_hash(key)) if is_api_key(key) else None
        if found is None:
            raise InvalidCredentials("There is no such API key.")
        if found.state == "revoked":
            raise KeyRevoked
        if found.state == "disabled":
            raise AccountDisabled
        if found.state == "pending":
            raise AwaitsApproval
        if not any(scope in found.scopes for scope in needed):
            raise Forbidden(f"This API key does not have the scope {' or '.join(needed)}.")
        return KeyActor(found.user_id, found.key_id, found.role, found.display_name, found.expires_at)


def _scopes_of(method: str, path: str) -> tuple[KeyScope, ...]:
    """Return the scopes of which a key must have one."""
    if path.startswith("/v1/"):
        return ("v1",)
    if path == "/api/models" or path.startswith("/api/models/"):
        is_shown = method in SAFE_METHODS and not path.startswith(MODEL_JOBS_PATH)
        return ("chat", "admin") if is_shown else ("admin",)  # who may change models may see them
    return ("admin",) if path.startswith("/api/admin/") or path == "/api/config" else ("chat",)
