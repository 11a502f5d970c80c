"""Signing in, staying signed in, changing the password, signing out. A token leaves this module once, to the caller who earned it.

Whenever sessions end here, their live streams are told at once; the database is the truth for whoever misses that.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from rustygpt.auth import procedures
from rustygpt.auth.actor import SessionActor
from rustygpt.auth.backoff import Backoff
from rustygpt.auth.fields import check_password
from rustygpt.auth.models import Credentials, SignedInUser, User
from rustygpt.auth.passwords import Passwords
from rustygpt.database.pool import Database
from rustygpt.errors import (
    AccountDisabled,
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    Invalid,
    InvalidCredentials,
    NotFound,
    RateLimited,
)
from rustygpt.http.client_address import network_of
from rustygpt.ids import Position, SessionId, UserId
from rustygpt.live_settings import HasAuth
from rustygpt.observability.metrics import Metrics
from rustygpt.settings import SessionSettings
from rustygpt.signals import Announcer
from rustygpt.tokens import is_token, new_token, token_hash

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a sign-in comes from: the browser's name (≤ 256 characters), its address, and the session it has now."""

    user_agent: str | None
    ip: str | None
    session_id: SessionId | None

    @property
    def source(self) -> str:
        """With whom the caller shares a turn: everybody of one network."""
        return network_of(self.ip) if self.ip else ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A live session with its user, and the token for its cookie."""

    token: str
    user: SignedInUser


class SignIn:
    """The ways into a session and out of it."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        live: HasAuth,
        session: SessionSettings,
        announcer: Announcer,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._live = live
        self._session = session
        self._announcer = announcer
        self._metrics = metrics
        self._backoff = Backoff(database)

    async def set_up(self, email: str, password: str, display_name: str, caller: Caller) -> SignedIn:
        """Create the first administrator and sign in. Raises Conflict once set-up is done, and Invalid."""
        if await procedures.is_set_up(self._database):
            raise Conflict("Set-up is done: the first administrator exists.")
        password_hash = await self.hash_password(password, caller.source)
        user = await procedures.create_first_administrator(
            self._database, email=email, display_name=display_name, password_hash=password_hash
        )
        return await self._welcome("setup", user, password_hash, caller)

    async def register(self, email: str, password: str, display_name: str, caller: Caller) -> SignedIn:
        """Create an account and sign in. Raises Forbidden when sign-up is off, Conflict when the address is taken, Invalid."""
        self.require_signup()
        password_hash = await self.hash_password(password, caller.source)
        user = await procedures.create_user(
            self._database,
            email=email,
            display_name=display_name,
            password_hash=password_hash,
            role=self._live.auth.new_role,
            status=self._live.auth.new_status,
        )
        return await self._welcome("register", user, password_hash, caller)

    async def hash_password(self, password: str, source: str) -> str:
        """Return the hash of a new account's password, in *source*'s turn. Raises Invalid for one that the settings do not allow."""
        _require_password("password", password, self._live.auth.password_min_length)
        return await self._passwords.hash(password, source)

    async def register_with_invite(
        self, email: str, password: str, display_name: str, invite_token: str, caller: Caller
    ) -> SignedIn:
        """Create an account that joins the invite's conversation, also while sign-up is off, and sign in.

        Raises NotFound, Forbidden or Conflict for an invite that is no good for this address, Conflict when that is taken, Invalid.
        """
        if not is_token(invite_token):
            raise NotFound("There is no such invite.")
        hashed = token_hash(invite_token)
        await procedures.check_invite(self._database, token_hash=hashed, email=email)
        password_hash = await self.hash_password(password, caller.source)
        user = await procedures.register_with_invite(
            self._database,
            email=email,
            display_name=display_name,
            password_hash=password_hash,
            status=self._live.auth.new_status,
            token_hash=hashed,
        )
        self.announce(Position(user.position))
        return await self._welcome("register", user, password_hash, caller)

    def announce(self, position: Position) -> None:
        """Tell readers that a newcomer has joined their conversation."""
        self._announcer.wake(position)

    def require_signup(self) -> None:
        """Raise Forbidden unless anyone may create an account."""
        if not self._live.auth.signup:
            raise Forbidden("Sign-up is off. Ask an administrator for an account.")

    async def log_in(self, email: str, password: str, caller: Caller) -> SignedIn:
        """Sign in. Raises InvalidCredentials, alike for unknown address and wrong password, RateLimited after many, and AccountDisabled."""
        try:
            await self._backoff.require_patience(email, caller.ip)
            credentials = await procedures.find_credentials(self._database, email=email)
            known_hash = await self._check(password, credentials, caller.source)
            await self._backoff.note(email, caller.ip, is_success=known_hash is not None)
            if credentials is None or known_hash is None:
                raise InvalidCredentials
            if credentials.status == "disabled":
                raise AccountDisabled
            signed_in = await self._open(credentials.user_id, known_hash, caller)
        except DomainError as error:
            self._count("password", _login_result(error))
            raise
        self._count("password", "success")
        return signed_in

    async def enter(self, user_id: UserId, caller: Caller) -> SignedIn:
        """Open a session for whom a provider has vouched. Raises AccountDisabled."""
        return await self._open(user_id, None, caller)

    async def refresh(self, actor: SessionActor) -> SignedIn:
        """Replace the session's token. Raises SessionExpired when it was replaced meanwhile."""
        fresh = new_token()
        await procedures.rotate_session(
            self._database,
            actor=actor.user_id,
            session=actor.session_id,
            old_token_hash=token_hash(actor.token),
            new_token_hash=token_hash(fresh),
            idle_seconds=self._session.idle_seconds,
        )
        self._metrics.auth_session_rotations_total.labels("refresh").inc()
        return await self._signed_in(actor.user_id, actor.session_id, fresh)

    async def change_password(self, actor: SessionActor, current: str | None, new: str) -> SignedIn:
        """Store a new password, replace this session's token and end all others. *current* is None where there is none yet.

        Raises InvalidCredentials when *current* is wrong, Invalid, and Conflict when it changed meanwhile.
        """
        _require_password("new_password", new, self._live.auth.password_min_length)
        credentials = await procedures.find_own_credentials(self._database, actor=actor.user_id)
        known_hash = None
        if credentials is None or credentials.password_hash is not None:
            if current is None:
                raise Invalid(errors=(FieldError("current_password", "is required"),))
            known_hash = await self._check(current, credentials, str(actor.user_id))
            if known_hash is None:
                raise InvalidCredentials("The current password is wrong.")
        elif current is not None:
            raise Invalid(errors=(FieldError("current_password", "must be left out: this account has no password yet"),))
        fresh = new_token()
        ended = await procedures.change_password(
            self._database,
            actor=actor.user_id,
            session=actor.session_id,
            known_hash=known_hash,
            password_hash=await self._passwords.hash(new, str(actor.user_id)),
            old_token_hash=token_hash(actor.token),
            new_token_hash=token_hash(fresh),
            idle_seconds=self._session.idle_seconds,
        )
        self._metrics.auth_session_rotations_total.labels("password_change").inc()
        self._announce_end(row.session_id for row in ended)
        log.info("password_changed", user_id=str(actor.user_id), ended_sessions=len(ended))
        return await self._signed_in(actor.user_id, actor.session_id, fresh)

    async def end(self, actor: SessionActor, session_id: SessionId) -> None:
        """End one of the actor's own sessions and its live streams. Raises NotFound."""
        await procedures.revoke_session(self._database, actor=actor.user_id, session=session_id)
        self._announce_end([session_id])

    async def log_out(self, actor: SessionActor) -> None:
        """End the actor's session; that it ended meanwhile is just as well."""
        try:
            await self.end(actor, actor.session_id)
        except NotFound:
            log.debug("session_had_ended", session_id=str(actor.session_id))

    async def me(self, actor: SessionActor) -> SignedInUser:
        """Return the session and its user, as stored now. Raises SessionExpired."""
        return await procedures.require_session(self._database, actor=actor.user_id, session=actor.session_id)

    async def _check(self, password: str, credentials: Credentials | None, source: str) -> str | None:
        """Return the account's stored hash, renewed where its parameters are old, or None when the password is wrong."""
        known_hash = credentials.password_hash if credentials else None
        check = await self._passwords.check(password, known_hash, source)
        if credentials is None or known_hash is None or not check.is_right:
            return None
        if check.new_hash and await procedures.replace_password_hash(
            self._database, user=credentials.user_id, known_hash=known_hash, password_hash=check.new_hash
        ):
            return check.new_hash
        return known_hash

    async def _welcome(self, method: str, user: User, password_hash: str, caller: Caller) -> SignedIn:
        log.info("user_created", user_id=str(user.id), role=user.role, method=method)
        signed_in = await self._open(user.id, password_hash, caller)
        self._count(method, "success")
        return signed_in

    async def _open(self, user_id: UserId, known_hash: str | None, caller: Caller) -> SignedIn:
        token = new_token()
        opened = await procedures.open_session(
            self._database,
            user=user_id,
            token_hash=token_hash(token),
            known_hash=known_hash,
            idle_seconds=self._session.idle_seconds,
            absolute_seconds=self._session.absolute_seconds,
            max_sessions=self._session.max_sessions,
            replaces=caller.session_id,
            user_agent=caller.user_agent,
            ip=caller.ip,
        )
        self._announce_end(opened.ended)
        return SignedIn(token, opened)

    async def _signed_in(self, user_id: UserId, session_id: SessionId, token: str) -> SignedIn:
        return SignedIn(token, await procedures.require_session(self._database, actor=user_id, session=session_id))

    def _announce_end(self, session_ids: Iterable[SessionId]) -> None:
        for session_id in session_ids:
            self._announcer.signal("session_revoked", str(session_id))

    def _count(self, method: str, result: str) -> None:
        self._metrics.auth_logins_total.labels(method, result).inc()


def _require_password(field: str, password: str, min_length: int) -> None:
    try:
        check_password(password, min_length)
    except ValueError as error:
        raise Invalid(errors=(FieldError(field, str(error)),)) from None


def _login_result(error: DomainError) -> str:
    match error:
        case InvalidCredentials():
            return "invalid_credentials"
        case AccountDisabled():
            return "disabled"
        case RateLimited():
            return "limited"
        case _:
            return "error"
