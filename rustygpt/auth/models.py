"""Accounts and sessions as the procedures return them. No row carries a token; a password hash is in Credentials alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from rustygpt.auth.actor import Scope, UserRole
from rustygpt.ids import ApiKeyId, SessionId, UserId

UserStatus = Literal["active", "pending", "disabled"]
NewUserStatus = Literal["active", "pending"]
SessionState = Literal["live", "revoked", "expired", "pending", "disabled"]


@dataclass(frozen=True, slots=True)
class User:
    """An account, as its owner and administrators may see it."""

    id: UserId
    email: str
    display_name: str
    role: UserRole
    status: UserStatus
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InvitedUser(User):
    """A new account that joined a conversation; `position` is that event's place in the log."""

    position: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a password is checked against: an Argon2id hash in PHC format, or None for who signs in by a provider alone."""

    user_id: UserId
    password_hash: str | None
    status: UserStatus


@dataclass(frozen=True, slots=True)
class FoundSession:
    """Who shows a token, and whether it still is good for anything.

    `must_rotate`: it is to be replaced now; `is_previous`: it was, a moment ago. `user_agent` and `ip` are those of the sign-in.
    """

    state: SessionState
    session_id: SessionId
    user_id: UserId
    role: UserRole
    display_name: str
    absolute_expires_at: datetime
    must_rotate: bool
    is_previous: bool
    user_agent: str | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class FoundKey:
    """Who shows an API key, and whether it still is good for anything."""

    state: Literal["live", "revoked", "pending", "disabled"]
    key_id: ApiKeyId
    user_id: UserId
    role: UserRole
    display_name: str
    scopes: list[Scope]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One of a user's live API keys; `hint` is how it begins."""

    key_id: ApiKeyId
    name: str
    hint: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """A live session with its user, in full."""

    user_id: UserId
    email: str
    display_name: str
    role: UserRole
    status: UserStatus
    created_at: datetime
    session_id: SessionId
    issued_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime


@dataclass(frozen=True, slots=True)
class OpenedSession(SignedInUser):
    """A new session with its user, and the ids of the sessions that ended to make room for it."""

    ended: list[SessionId]


@dataclass(frozen=True, slots=True)
class ListedSession:
    """One of a user's live sessions, as the list of devices shows it."""

    session_id: SessionId
    user_agent: str | None
    ip: str | None
    issued_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime


@dataclass(frozen=True, slots=True)
class EndedCredential:
    """A session or API key that may no longer be used. `user_status` says whether that is its user's; None when it is gone altogether."""

    credential_id: UUID
    user_status: str | None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """The id of a session that may no longer be used."""

    session_id: SessionId
