"""Typed calls of the generation procedures, one each, under the same names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from rustygpt.database.call import Caller
from rustygpt.ids import MessageId, UserId

FinalState = Literal["done", "length", "cancelled", "timeout", "error", "interrupted"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A generation that this process owns as long as its fence holds. `next_idx` is above 0 where it goes on with what was said."""

    message_id: UUID
    conversation_id: UUID
    root_id: UUID
    parent_id: UUID
    requested_by: UUID
    requested_model: str | None
    fence: int
    next_idx: int
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class PromptTurn:
    """A message that leads to a reply; `speaker` is None for the assistant.

    `step` is how far it is from the reply: 0 for what the reply itself has said already, 1 for the question. `left_out`, the same in
    all turns of a path: how many messages of it were not read.
    """

    role: Literal["user", "assistant"]
    speaker: str | None
    content: str
    message_id: UUID | None = None
    step: int = 1
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class GenerationSetting:
    """What frames a prompt; `members` are the display names of (at most a thousand) members, `parameters` the conversation's own."""

    system_prompt: str
    title: str
    member_count: int
    members: list[str]
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """What a heartbeat found out about one generation."""

    message_id: UUID
    is_lost: bool
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """Status is finished or refused; `position` is to be announced."""

    status: str
    position: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The message's status now; `is_running` when its runner must still be told; `position` None when nothing was written."""

    status: str
    is_running: bool
    position: int | None


@dataclass(frozen=True, slots=True)
class Continuation:
    """What continuing a reply needs: `answer` is the one given earlier for the same key; `model` None is the default."""

    answer: dict[str, Any] | None
    model: str | None


@dataclass(frozen=True, slots=True)
class Continued:
    """The answer of POST …/continue; `position` is None when it is an earlier one."""

    answer: dict[str, Any]
    position: int | None


@dataclass(frozen=True, slots=True)
class Regeneration:
    """What regenerating needs: `answer` is the one given earlier for the same key; `model` writes where nobody names another.

    `content` is what a person wrote, which may address one; None for a reply of the assistant.
    """

    answer: dict[str, Any] | None
    model: str | None
    content: str | None


@dataclass(frozen=True, slots=True)
class Regenerated:
    """The answer of POST …/regenerate; `position` is None when it is an earlier one."""

    answer: dict[str, Any]
    position: int | None


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue in its order, as parallel lists: `estimates` are seconds, None where nothing is known.

    `wait_seconds` above 0: another process has just told it; ask again then. The lists are empty.
    """

    wait_seconds: float
    messages: list[UUID]
    conversations: list[UUID]
    estimates: list[int | None]


@dataclass(frozen=True, slots=True)
class Reaped:
    """A generation that was closed because its owner is gone; `state` is interrupted, or cancelled where that was asked for."""

    message_id: UUID
    state: FinalState
    position: int


async def claim_generation(database: Caller, *, owner: str, lease_seconds: float, deadline_seconds: float) -> Claim | None:
    """Take the next queued generation, fair by user, or None."""
    return await database.optional(
        "claim_generation", Claim, owner=owner, lease_seconds=lease_seconds, deadline_seconds=deadline_seconds
    )


async def read_prompt(database: Caller, *, message: UUID, characters: int) -> list[PromptTurn]:
    """Read what a reply answers, newest first, up to *characters*; question and root are there whatever their length."""
    return await database.many("read_prompt", PromptTurn, message=message, characters=characters)


async def read_generation_setting(database: Caller, *, message: UUID) -> GenerationSetting:
    """Read what frames the prompt."""
    return await database.one("read_generation_setting", GenerationSetting, message=message)


async def name_model(database: Caller, *, message: UUID, fence: int, provider: str, model: str, context: dict[str, Any]) -> bool:
    """Record who answers and what they are given. False when nobody is to be asked: the fence is lost, or a stop was asked for."""
    return await database.value("name_model", bool, message=message, fence=fence, provider=provider, model=model, context=context)


async def renew_leases(
    database: Caller, *, messages: Sequence[UUID], fences: Sequence[int], lease_seconds: float
) -> list[RenewedLease]:
    """Keep the running generations of this process."""
    return await database.many("renew_leases", RenewedLease, messages=messages, fences=fences, lease_seconds=lease_seconds)


async def finish_generation(
    database: Caller,
    *,
    message: UUID,
    fence: int,
    state: FinalState,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    error_code: str | None,
    error_message: str | None,
) -> Finished:
    """Write the last word of a generation; the same call twice is once."""
    return await database.one(
        "finish_generation",
        Finished,
        message=message,
        fence=fence,
        state=state,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        error_code=error_code,
        error_message=error_message,
    )


async def cancel_generation(database: Caller, *, actor: UserId, message: MessageId) -> Cancelled:
    """Stop a reply. Raises NotFound, Forbidden, Conflict."""
    return await database.one("cancel_generation", Cancelled, actor=actor, message=message)


async def reap_generations(database: Caller, *, running: Sequence[UUID], is_alone: bool, limit: int) -> list[Reaped]:
    """Close generations whose owner is gone; *running* are this process's own."""
    return await database.many("reap_generations", Reaped, running=running, is_alone=is_alone, limit=limit)


async def read_continuation(database: Caller, *, actor: UserId, message: MessageId, key: str | None) -> Continuation:
    """Say what continuing a reply needs, without doing it. Raises NotFound, Forbidden, Conflict."""
    return await database.one("read_continuation", Continuation, actor=actor, message=message, key=key)


async def continue_generation(
    database: Caller, *, actor: UserId, message: MessageId, key: str | None, max_queued: int, max_queued_per_user: int
) -> Continued:
    """Queue a reply again that stopped before its end. Raises NotFound, Forbidden, Conflict, RateLimited, Unavailable."""
    return await database.one(
        "continue_generation",
        Continued,
        actor=actor,
        message=message,
        key=key,
        max_queued=max_queued,
        max_queued_per_user=max_queued_per_user,
    )


async def read_regeneration(
    database: Caller, *, actor: UserId, message: MessageId, model: str | None, key: str | None
) -> Regeneration:
    """Say what another reply needs, without asking for it. Raises NotFound, Forbidden, Conflict."""
    return await database.one("read_regeneration", Regeneration, actor=actor, message=message, model=model, key=key)


async def regenerate_message(
    database: Caller,
    *,
    actor: UserId,
    message: MessageId,
    model: str | None,
    chosen: str | None,
    key: str | None,
    max_queued: int,
    max_queued_per_user: int,
) -> Regenerated:
    """Queue another reply; *chosen* writes it where *model* is None. Raises NotFound, Forbidden, Conflict, RateLimited, Unavailable."""
    return await database.one(
        "regenerate_message",
        Regenerated,
        actor=actor,
        message=message,
        model=model,
        chosen=chosen,
        key=key,
        max_queued=max_queued,
        max_queued_per_user=max_queued_per_user,
    )


async def read_queue(database: Caller, *, every_seconds: float | None) -> Queue:
    """Read the queue. *every_seconds*: None only reads; else the caller tells it, and nobody may have done so for that long."""
    return await database.one("read_queue", Queue, every_seconds=every_seconds)
