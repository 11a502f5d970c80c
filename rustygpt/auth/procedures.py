"""One function per stored procedure of `sql/procedures/auth/`, of the same name; what each does, raises and locks is written there."""

from collections.abc import Sequence
from uuid import UUID

from rustygpt.auth.actor import UserRole
from rustygpt.auth.models import (
    Credentials,
    EndedCredential,
    EndedSession,
    FoundSession,
    InvitedUser,
    ListedSession,
    NewUserStatus,
    OpenedSession,
    SignedInUser,
    User,
)
from rustygpt.database.pool import Database
from rustygpt.ids import SessionId, UserId


async def is_set_up(database: Database) -> bool:
    return await database.value("is_set_up", bool)


async def create_first_administrator(database: Database, *, email: str, display_name: str, password_hash: str) -> User:
    """Raise Conflict when set-up is done or the address is taken."""
    return await database.one(
        "create_first_administrator", User, email=email, display_name=display_name, password_hash=password_hash
    )


async def create_user(
    database: Database,
    *,
    email: str,
    display_name: str,
    password_hash: str,
    role: UserRole,
    status: NewUserStatus,
    by_operator: bool = False,
) -> User:
    """Raise Conflict when the address is taken. *by_operator*: noted in the audit log."""
    return await database.one(
        "create_user",
        User,
        email=email,
        display_name=display_name,
        password_hash=password_hash,
        role=role,
        status=status,
        by_operator=by_operator,
    )


async def check_invite(database: Database, *, token_hash: bytes, email: str) -> None:
    """Raise NotFound, Forbidden or Conflict when nobody of this address could join by it."""
    await database.void("check_invite", token_hash=token_hash, email=email)


async def register_with_invite(
    database: Database,
    *,
    email: str,
    display_name: str,
    password_hash: str,
    status: NewUserStatus,
    token_hash: bytes,
) -> InvitedUser:
    """Raise Conflict when the address is taken, and as `check_invite`."""
    return await database.one(
        "register_with_invite",
        InvitedUser,
        email=email,
        display_name=display_name,
        password_hash=password_hash,
        status=status,
        token_hash=token_hash,
    )


async def read_user(database: Database, *, actor: UserId) -> User:
    return await database.one("read_user", User, actor=actor)


async def find_credentials(database: Database, *, email: str) -> Credentials | None:
    return await database.optional("find_credentials", Credentials, email=email)


async def find_own_credentials(database: Database, *, actor: UserId) -> Credentials | None:
    return await database.optional("find_own_credentials", Credentials, actor=actor)


async def replace_password_hash(database: Database, *, user: UserId, known_hash: str, password_hash: str) -> bool:
    return await database.value("replace_password_hash", bool, user=user, known_hash=known_hash, password_hash=password_hash)


async def open_session(
    database: Database,
    *,
    user: UserId,
    token_hash: bytes,
    known_hash: str | None,
    idle_seconds: int,
    absolute_seconds: int,
    max_sessions: int,
    replaces: SessionId | None,
    user_agent: str | None,
    ip: str | None,
) -> OpenedSession:
    """Raise AccountDisabled, or InvalidCredentials when *known_hash* is no longer the stored one."""
    return await database.one(
        "open_session",
        OpenedSession,
        user=user,
        token_hash=token_hash,
        known_hash=known_hash,
        idle_seconds=idle_seconds,
        absolute_seconds=absolute_seconds,
        max_sessions=max_sessions,
        replaces=replaces,
        user_agent=user_agent,
        ip=ip,
    )


async def find_session(database: Database, *, token_hash: bytes, idle_seconds: int, is_activity: bool) -> FoundSession | None:
    return await database.optional(
        "find_session", FoundSession, token_hash=token_hash, idle_seconds=idle_seconds, is_activity=is_activity
    )


async def require_session(database: Database, *, actor: UserId, session: SessionId) -> SignedInUser:
    """Raise SessionExpired."""
    return await database.one("require_session", SignedInUser, actor=actor, session=session)


async def rotate_session(
    database: Database,
    *,
    actor: UserId,
    session: SessionId,
    old_token_hash: bytes,
    new_token_hash: bytes,
    idle_seconds: int,
) -> None:
    """Raise SessionExpired, also when the token was rotated meanwhile."""
    await database.void(
        "rotate_session",
        actor=actor,
        session=session,
        old_token_hash=old_token_hash,
        new_token_hash=new_token_hash,
        idle_seconds=idle_seconds,
    )


async def rotate_marked_session(
    database: Database, *, session: SessionId, old_token_hash: bytes, new_token_hash: bytes, grace_seconds: int
) -> bool:
    return await database.value(
        "rotate_marked_session",
        bool,
        session=session,
        old_token_hash=old_token_hash,
        new_token_hash=new_token_hash,
        grace_seconds=grace_seconds,
    )


async def revoke_session(database: Database, *, actor: UserId, session: SessionId) -> None:
    """Raise NotFound."""
    await database.void("revoke_session", actor=actor, session=session)


async def list_sessions(database: Database, *, actor: UserId, before: SessionId | None, limit: int) -> list[ListedSession]:
    return await database.many("list_sessions", ListedSession, actor=actor, before=before, limit=limit)


async def change_password(
    database: Database,
    *,
    actor: UserId,
    session: SessionId,
    known_hash: str | None,
    password_hash: str,
    old_token_hash: bytes,
    new_token_hash: bytes,
    idle_seconds: int,
) -> list[EndedSession]:
    """Raise Conflict when the password changed meanwhile, and SessionExpired."""
    return await database.many(
        "change_password",
        EndedSession,
        actor=actor,
        session=session,
        known_hash=known_hash,
        password_hash=password_hash,
        old_token_hash=old_token_hash,
        new_token_hash=new_token_hash,
        idle_seconds=idle_seconds,
    )


async def ended_credentials(database: Database, *, credentials: Sequence[UUID]) -> list[EndedCredential]:
    return await database.many("ended_credentials", EndedCredential, credentials=credentials)


async def count_active_sessions(database: Database) -> int:
    return await database.value("count_active_sessions", int)
