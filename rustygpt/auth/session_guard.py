"""From a session's cookie to its actor. A token that must be replaced is replaced by the first request that shows it, and by no other.

That is due when the user's role has changed: whoever copied the token before must gain nothing by it. For GRACE_SECONDS the old one is
still taken, as a page asks for several things at once and only one answer carries the new cookies. With `session.bind_client` a session
belongs to the client that signed in: shown by another one it ends, since somebody has copied it.
"""

import re
from dataclasses import replace
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Send

from rustygpt.auth import procedures
from rustygpt.auth.actor import SessionActor
from rustygpt.auth.models import FoundSession
from rustygpt.auth.sessions import ROTATED, SESSION_COOKIE, SessionCookies
from rustygpt.database.pool import Database
from rustygpt.errors import AccountDisabled, AwaitsApproval, NotFound, SessionExpired
from rustygpt.http.client_address import network_of
from rustygpt.observability.metrics import Metrics
from rustygpt.settings import SessionSettings
from rustygpt.signals import Announcer
from rustygpt.tokens import is_token, new_token, token_hash

GRACE_SECONDS: Final = 30
WAITING_ROOM: Final = frozenset({"/api/auth/me", "/api/auth/logout"})
"""All that a user may ask for who waits for approval."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class SessionGuard:
    """Finds, rotates and ends sessions on behalf of the middleware."""

    def __init__(
        self, database: Database, settings: SessionSettings, cookies: SessionCookies, announcer: Announcer, metrics: Metrics
    ) -> None:
        self._database = database
        self._settings = settings
        self._cookies = cookies
        self._announcer = announcer
        self._metrics = metrics

    async def find(self, request: HTTPConnection, token: str, *, is_activity: bool) -> SessionActor:
        """Return whose *token* it is. Raises SessionExpired, AccountDisabled, AwaitsApproval or Unavailable."""
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
        if self._is_another_client(request, found):
            await self._end(found)
            raise SessionExpired
        if found.state == "pending" and request.scope["path"] not in WAITING_ROOM:
            raise AwaitsApproval
        return SessionActor(
            found.user_id,
            found.session_id,
            found.role,
            found.display_name,
            found.absolute_expires_at,
            token,
            is_token_current=not found.is_previous,
            must_rotate=found.must_rotate,
        )

    async def rotate(self, actor: SessionActor) -> SessionActor:
        """Replace the actor's token, unless another request does so at this moment."""
        fresh = new_token()
        is_done = await procedures.rotate_marked_session(
            self._database,
            session=actor.session_id,
            old_token_hash=token_hash(actor.token),
            new_token_hash=token_hash(fresh),
            grace_seconds=GRACE_SECONDS,
        )
        if not is_done:
            return replace(actor, is_token_current=False, must_rotate=False)
        self._metrics.auth_session_rotations_total.labels("privilege_change").inc()
        return replace(actor, token=fresh, must_rotate=False)

    def handing_out(self, send: Send, request: HTTPConnection, actor: SessionActor) -> Send:
        """Wrap *send*, so that the answer carries the actor's new token, unless a route has put a session of its own into it."""
        carrier = Response()
        if actor.absolute_expires_at is not None:
            self._cookies.put(carrier, request, actor.token, actor.absolute_expires_at)
        cookies = carrier.headers.getlist("set-cookie")

        async def send_with_cookies(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)  # a copy: a stream's headers are a constant
                own = [value for value in headers.getlist("set-cookie") if value.startswith(f"{SESSION_COOKIE}=")]
                for value in () if own else cookies:
                    headers.append("set-cookie", value)
                if not own or own[0].startswith(f"{SESSION_COOKIE}={actor.token};"):
                    headers.update(ROTATED)
            await send(message)

        return send_with_cookies

    def _is_another_client(self, request: HTTPConnection, found: FoundSession) -> bool:
        bound = self._settings.bind_client
        changed = []
        if bound in ("user_agent", "both") and _name_of(request.headers.get("user-agent", "")) != _name_of(
            found.user_agent or ""
        ):
            changed.append("user_agent")
        address = request.client.host if request.client else ""
        if bound in ("network", "both") and network_of(address) != network_of(found.ip or ""):
            changed.append("network")
        if changed:
            log.warning("session_client_changed", session_id=str(found.session_id), user_id=str(found.user_id), changed=changed)
        return bool(changed)

    async def _end(self, found: FoundSession) -> None:
        try:
            await procedures.revoke_session(self._database, actor=found.user_id, session=found.session_id)
        except NotFound:
            return  # another request of that client was faster
        self._announcer.signal("session_revoked", str(found.session_id))


def _name_of(user_agent: str) -> str:
    """Return a browser's name without its versions, which change every month, cut as the sign-in stored it."""
    printable = "".join(c for c in user_agent if c.isprintable())[:256]
    return re.sub(r"[\d._]+", "", printable)
