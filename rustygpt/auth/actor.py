"""Who is asking. An actor is always an active user with a live session or API key, found for this very request.

The middleware of `authenticate.py` writes either an Actor or the reason why there is none into the scope; anonymous routes ignore
both, all others raise that reason. What only a person at a browser may do asks for a SessionActor.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from starlette.requests import HTTPConnection
from starlette.types import Scope as AsgiScope

from rustygpt.errors import DomainError, Forbidden, SignInRequired
from rustygpt.http.middleware import ACTOR_KEY
from rustygpt.ids import SessionId, UserId

REFUSAL_KEY: Final = "rustygpt.actor_refusal"
"""Where the scope holds the DomainError that says why a shown credential makes nobody an actor."""

UserRole = Literal["admin", "user"]
Scope = Literal["chat", "v1", "admin"]
"""What an API key is good for: `chat` is `/api`, `v1` is `/v1`, `admin` is `/api/admin`, `/api/config` and `/api/models`."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A user who is asking. `absolute_expires_at` is when the credential ends, whatever happens (None: never); it may end sooner.

    `credential_id` is the id of the session or API key.
    """

    user_id: UserId
    credential_id: UUID
    role: UserRole
    display_name: str
    absolute_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionActor(Actor):
    """A user with a session.

    `token` is the one that the browser is to go on with: the one it showed, unless that was just replaced. `is_token_current` is False
    for one that was replaced a moment ago, whose successor another answer has carried; `must_rotate` is True for one that is to be
    replaced by this very request.
    """

    token: str = field(repr=False)
    is_token_current: bool
    must_rotate: bool

    @property
    def session_id(self) -> SessionId:
        """The session that this request came with."""
        return SessionId(self.credential_id)


@dataclass(frozen=True, slots=True)
class KeyActor(Actor):
    """A program with an API key of a user."""


def actor_of(source: HTTPConnection | AsgiScope) -> Actor:
    """Return who is asking, given a request or its scope.

    Raises SignInRequired, SessionExpired, InvalidCredentials, KeyRevoked, AccountDisabled, Forbidden for a key without the scope,
    or Unavailable when the database could not say.
    """
    scope = source.scope if isinstance(source, HTTPConnection) else source
    actor = scope.get(ACTOR_KEY)
    if isinstance(actor, Actor):
        return actor
    refusal = scope.get(REFUSAL_KEY)
    raise refusal if isinstance(refusal, DomainError) else SignInRequired()


def session_actor_of(source: HTTPConnection) -> SessionActor:
    """Return who is asking at a browser. Raises Forbidden for API keys: a leaked one must not make itself a way to stay; else as `actor_of`."""
    actor = actor_of(source)
    if not isinstance(actor, SessionActor):
        raise Forbidden("API keys may not do this. Sign in with a session.")
    return actor


def admin_of(source: HTTPConnection) -> Actor:
    """Return which administrator is asking. Raises Forbidden for everybody else; else as `actor_of`."""
    actor = actor_of(source)
    if actor.role != "admin":
        raise Forbidden("This is for administrators.")
    return actor


def find_actor(source: HTTPConnection | AsgiScope) -> Actor | None:
    """Return who is asking, or None for anonymous requests and for credentials that are no good."""
    scope = source.scope if isinstance(source, HTTPConnection) else source
    actor = scope.get(ACTOR_KEY)
    return actor if isinstance(actor, Actor) else None
