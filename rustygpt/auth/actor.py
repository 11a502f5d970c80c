"""Who is asking. An actor is always a live session of an active user, found for this very request; routes get it from `actor_of`.

The middleware of `authenticate.py` writes either an Actor or the reason why there is none into the scope; anonymous routes ignore
both, all others raise that reason.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from starlette.requests import HTTPConnection
from starlette.types import Scope

from rustygpt.errors import DomainError, SignInRequired
from rustygpt.http.middleware import ACTOR_KEY
from rustygpt.ids import SessionId, UserId

REFUSAL_KEY: Final = "rustygpt.actor_refusal"
"""Where the scope holds the DomainError that says why a shown credential makes nobody an actor."""

UserRole = Literal["admin", "user"]


@dataclass(frozen=True, slots=True)
class Actor:
    """A signed-in user. `absolute_expires_at` is when the session ends, whatever happens; it may end sooner."""

    user_id: UserId
    session_id: SessionId
    role: UserRole
    display_name: str
    absolute_expires_at: datetime


def actor_of(source: HTTPConnection | Scope) -> Actor:
    """Return who is asking, given a request or its scope.

    Raises SignInRequired, SessionExpired, AccountDisabled, or Unavailable when the database could not say.
    """
    scope = source.scope if isinstance(source, HTTPConnection) else source
    actor = scope.get(ACTOR_KEY)
    if isinstance(actor, Actor):
        return actor
    refusal = scope.get(REFUSAL_KEY)
    raise refusal if isinstance(refusal, DomainError) else SignInRequired()


def find_actor(source: HTTPConnection | Scope) -> Actor | None:
    """Return who is asking, or None for anonymous requests and for credentials that are no good."""
    scope = source.scope if isinstance(source, HTTPConnection) else source
    actor = scope.get(ACTOR_KEY)
    return actor if isinstance(actor, Actor) else None
