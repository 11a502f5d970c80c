"""Typed calls of the procedures of limits, one each, under the same names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from rustygpt.database.call import Caller
from rustygpt.ids import UserId

Method = Literal["*", "GET", "POST", "PUT", "PATCH", "DELETE"]
CountedBy = Literal["user", "ip"]


@dataclass(frozen=True, slots=True)
class Profile:
    """On average `requests` in `per_seconds`, at most `burst` of them at once (GCRA)."""

    id: UUID
    name: str
    requests: int
    per_seconds: int
    burst: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a profile holds: a route's template, or a beginning followed by `*`; by user (or address, for who is nobody) or by address."""

    id: UUID
    profile_id: UUID
    profile: str
    method: Method
    route: str
    counted_by: CountedBy
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is allowed; times in seconds."""

    is_allowed: bool
    burst: int
    remaining: int
    reset_seconds: float
    retry_seconds: float


async def take_http_request(database: Caller, *, profile: UUID, subject: str) -> Decision | None:
    """Return None when the profile has been deleted."""
    return await database.optional("take_http_request", Decision, profile=profile, subject=subject)


async def limit_version(database: Caller) -> int:
    return await database.value("limit_version", int)


async def list_limit_profiles(database: Caller) -> list[Profile]:
    return await database.many("list_limit_profiles", Profile)


async def list_limit_assignments(database: Caller) -> list[Assignment]:
    return await database.many("list_limit_assignments", Assignment)


async def create_limit_profile(
    database: Caller, *, actor: UserId, name: str, requests: int, per_seconds: int, burst: int
) -> Profile:
    """Raise Forbidden, Conflict."""
    return await database.one(
        "create_limit_profile", Profile, actor=actor, name=name, requests=requests, per_seconds=per_seconds, burst=burst
    )


async def update_limit_profile(
    database: Caller, *, actor: UserId, profile: UUID, name: str, requests: int, per_seconds: int, burst: int
) -> Profile:
    """Raise Forbidden, NotFound, Conflict."""
    return await database.one(
        "update_limit_profile",
        Profile,
        actor=actor,
        profile=profile,
        name=name,
        requests=requests,
        per_seconds=per_seconds,
        burst=burst,
    )


async def delete_limit_profile(database: Caller, *, actor: UserId, profile: UUID) -> None:
    """Raise Forbidden, NotFound, Conflict."""
    await database.void("delete_limit_profile", actor=actor, profile=profile)


async def create_limit_assignment(
    database: Caller, *, actor: UserId, profile: UUID, method: Method, route: str, counted_by: CountedBy
) -> Assignment:
    """Raise Forbidden, NotFound, Conflict."""
    return await database.one(
        "create_limit_assignment",
        Assignment,
        actor=actor,
        profile=profile,
        method=method,
        route=route,
        counted_by=counted_by,
    )


async def delete_limit_assignment(database: Caller, *, actor: UserId, assignment: UUID) -> None:
    """Raise Forbidden, NotFound."""
    await database.void("delete_limit_assignment", actor=actor, assignment=assignment)
