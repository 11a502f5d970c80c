"""One function per stored procedure of `sql/procedures/auth/oauth.sql`, of the same name; what each does, raises and locks is written there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rustygpt.auth.actor import UserRole
from rustygpt.auth.identity import ProviderName
from rustygpt.auth.models import NewUserStatus
from rustygpt.database.pool import Database
from rustygpt.ids import SessionId, UserId


@dataclass(frozen=True, slots=True)
class TakenState:
    """What a browser left with. `session_id` is the session whose user links an account, or None to sign in; `invite_hash` an invite or None."""

    code_verifier: str
    nonce: str
    redirect_uri: str
    redirect_to: str
    session_id: SessionId | None
    invite_hash: bytes | None
    is_expired: bool


Outcome = Literal[
    "known",
    "linked",
    "created",
    "session_ended",
    "identity_taken",
    "already_linked",
    "email_unverified",
    "email_taken",
    "signup_disabled",
    "invite_refused",
    "account_disabled",
]


@dataclass(frozen=True, slots=True)
class UsedIdentity:
    """The account of an identity, or why there is none. `position` is to be announced where a newcomer has joined by an invite."""

    outcome: Outcome
    user_id: UserId | None
    position: int | None


@dataclass(frozen=True, slots=True)
class ListedIdentity:
    """One of a user's accounts at providers, as its owner sees it."""

    provider: ProviderName
    email: str | None
    is_private_email: bool
    linked_at: datetime
    last_used_at: datetime


async def begin_oauth(
    database: Database,
    *,
    state_hash: bytes,
    provider: ProviderName,
    browser_hash: bytes,
    code_verifier: str,
    nonce: str,
    redirect_uri: str,
    redirect_to: str,
    session: SessionId | None,
    invite_hash: bytes | None,
) -> None:
    await database.void(
        "begin_oauth",
        state_hash=state_hash,
        provider=provider,
        browser_hash=browser_hash,
        code_verifier=code_verifier,
        nonce=nonce,
        redirect_uri=redirect_uri,
        redirect_to=redirect_to,
        session=session,
        invite_hash=invite_hash,
    )


async def take_oauth_state(
    database: Database, *, state_hash: bytes, provider: ProviderName, browser_hash: bytes
) -> TakenState | None:
    return await database.optional(
        "take_oauth_state", TakenState, state_hash=state_hash, provider=provider, browser_hash=browser_hash
    )


async def use_identity(
    database: Database,
    *,
    provider: ProviderName,
    subject: str,
    email: str | None,
    is_private_email: bool,
    display_name: str,
    session: SessionId | None,
    may_create: bool,
    new_role: UserRole,
    new_status: NewUserStatus,
    invite_hash: bytes | None,
) -> UsedIdentity:
    """Raise Conflict when somebody else makes an account of that address at this moment."""
    return await database.one(
        "use_identity",
        UsedIdentity,
        provider=provider,
        subject=subject,
        email=email,
        is_private_email=is_private_email,
        display_name=display_name,
        session=session,
        may_create=may_create,
        new_role=new_role,
        new_status=new_status,
        invite_hash=invite_hash,
    )


async def list_identities(database: Database, *, actor: UserId) -> list[ListedIdentity]:
    return await database.many("list_identities", ListedIdentity, actor=actor)


async def unlink_identity(database: Database, *, actor: UserId, provider: ProviderName, usable: Sequence[ProviderName]) -> None:
    """Raise NotFound, or Conflict for the last way in."""
    await database.void("unlink_identity", actor=actor, provider=provider, usable=list(usable))
