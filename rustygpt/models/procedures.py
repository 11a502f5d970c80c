"""Typed calls of the procedures of models, one each, under the same names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from rustygpt.database.call import Caller
from rustygpt.ids import UserId

JobKind = Literal["file", "ollama"]
JobEnd = Literal["done", "error", "cancelled"]
Renewal = Literal["kept", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Look:
    """`version` changes whenever the library does; `has_work`: a job runs or waits."""

    version: int
    has_work: bool


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in a list, as JSON has it."""

    id: UUID
    job: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobId:
    """A job that runs or waits."""

    id: UUID


@dataclass(frozen=True, slots=True)
class JobClaim:
    """A job that this process is to run; see the comments of rustygpt.model_jobs."""

    id: UUID
    kind: JobKind
    source: str
    url: str
    provider: str
    model: str
    expected_sha256: str | None
    validator: str | None
    bytes_done: int
    bytes_total: int | None
    fence: int
    attempts: int
    is_cancelled: bool
    requested_by: UUID | None


@dataclass(frozen=True, slots=True)
class FileRow:
    """What is noted of a file that came through the library; `name` is without .gguf."""

    name: str
    source: str
    sha256: str
    size_bytes: int
    details: dict[str, Any]
    added_by: UUID | None
    added_at: datetime


async def look_at_models(database: Caller) -> Look:
    return await database.one("look_at_models", Look)


async def create_model_job(
    database: Caller,
    *,
    actor: UserId,
    kind: JobKind,
    source: str,
    url: str,
    provider: str,
    model: str,
    sha256: str | None,
    max_open: int,
    key: str | None,
) -> dict[str, Any]:
    """Queue a pull, or join the one that is under way. Raises Forbidden, Conflict, Unavailable."""
    return await database.value(
        "create_model_job",
        dict,
        actor=actor,
        kind=kind,
        source=source,
        url=url,
        provider=provider,
        model=model,
        sha256=sha256,
        max_open=max_open,
        key=key,
    )


async def create_model_job_by_operator(
    database: Caller, *, kind: JobKind, source: str, url: str, provider: str, model: str, sha256: str | None, max_open: int
) -> dict[str, Any]:
    """The same by whoever runs the server. Raises Conflict, Unavailable."""
    return await database.value(
        "create_model_job_by_operator",
        dict,
        kind=kind,
        source=source,
        url=url,
        provider=provider,
        model=model,
        sha256=sha256,
        max_open=max_open,
    )


async def list_model_jobs(database: Caller, *, actor: UserId, before: UUID | None, limit: int) -> list[JobRow]:
    """List jobs, newest first. Raises Forbidden."""
    return await database.many("list_model_jobs", JobRow, actor=actor, before=before, limit=limit)


async def get_model_job(database: Caller, *, actor: UserId, job: UUID) -> dict[str, Any]:
    """Return a job. Raises Forbidden, NotFound."""
    return await database.value("get_model_job", dict, actor=actor, job=job)


async def get_model_job_for_operator(database: Caller, *, job: UUID) -> dict[str, Any]:
    """Return a job to whoever runs the server. Raises NotFound."""
    return await database.value("get_model_job_for_operator", dict, job=job)


async def cancel_model_job(database: Caller, *, actor: UserId, job: UUID) -> dict[str, Any]:
    """Ask for a stop. Raises Forbidden, NotFound."""
    return await database.value("cancel_model_job", dict, actor=actor, job=job)


async def cancel_model_job_by_operator(database: Caller, *, job: UUID) -> dict[str, Any]:
    """The same by whoever runs the server. Raises NotFound."""
    return await database.value("cancel_model_job_by_operator", dict, job=job)


async def claim_model_job(
    database: Caller, *, owner: str, is_alone: bool, job: UUID | None, lease_seconds: float, max_running: int
) -> JobClaim | None:
    """Take a job that waits or is orphaned; None when there is none, or enough run."""
    return await database.optional(
        "claim_model_job",
        JobClaim,
        owner=owner,
        is_alone=is_alone,
        job=job,
        lease_seconds=lease_seconds,
        max_running=max_running,
    )


async def renew_model_job(
    database: Caller,
    *,
    job: UUID,
    fence: int,
    bytes_done: int,
    bytes_total: int | None,
    validator: str | None,
    message: str,
    lease_seconds: float,
) -> Renewal:
    """Store how far a job is and keep it."""
    answer = await database.value(
        "renew_model_job",
        str,
        job=job,
        fence=fence,
        bytes_done=bytes_done,
        bytes_total=bytes_total,
        validator=validator,
        message=message,
        lease_seconds=lease_seconds,
    )
    match answer:
        case "kept" | "cancelled":
            return answer
        case _:
            return "lost"


async def release_model_job(database: Caller, *, job: UUID, fence: int) -> None:
    """Let a job wait for another owner."""
    await database.void("release_model_job", job=job, fence=fence)


async def finish_model_job(
    database: Caller,
    *,
    job: UUID,
    fence: int,
    state: JobEnd,
    code: str | None,
    message: str,
    bytes_done: int,
    bytes_total: int | None,
    file: dict[str, Any] | None,
) -> bool:
    """End a job; False when another owns it."""
    return await database.value(
        "finish_model_job",
        bool,
        job=job,
        fence=fence,
        state=state,
        code=code,
        message=message,
        bytes_done=bytes_done,
        bytes_total=bytes_total,
        file=file,
    )


async def list_open_model_jobs(database: Caller) -> list[JobId]:
    return await database.many("list_open_model_jobs", JobId)


async def list_model_files(database: Caller) -> list[FileRow]:
    return await database.many("list_model_files", FileRow)


async def require_model_admin(database: Caller, *, actor: UserId) -> None:
    """Raise Forbidden for everybody but an active administrator, as stored now."""
    await database.void("require_model_admin", actor=actor)


async def add_model_file(database: Caller, *, actor: UserId, name: str, file: dict[str, Any]) -> None:
    """Note an upload. Raises Forbidden."""
    await database.void("add_model_file", actor=actor, name=name, file=file)


async def require_model_unused(database: Caller, *, provider: str, model: str) -> None:
    """Raise Conflict while a reply is written by it, or while it is being pulled."""
    await database.void("require_model_unused", provider=provider, model=model)


async def note_model_removed(database: Caller, *, actor: UserId | None, provider: str, model: str) -> None:
    """Note that it is gone; *actor* None is whoever runs the server."""
    await database.void("note_model_removed", actor=actor, provider=provider, model=model)
