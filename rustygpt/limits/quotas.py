"""Typed calls of the quota procedures: what is used is never more than a person's limit and what was reserved under it, on all processes.

Replies of conversations are reserved and settled by the procedures that queue and end them. Whoever asks a model without one uses
`reserved_quota`, or `reserve_quota` and `settle_quota`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self
from uuid import UUID

import anyio
import structlog

from rustygpt.database.call import Caller
from rustygpt.errors import DomainError
from rustygpt.ids import UserId
from rustygpt.settings import AssistantSettings, LimitSettings

log = structlog.get_logger(__name__)

SETTLE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for everybody without terms of their own; None is no limit."""

    generations: int | None
    tokens: int | None
    period_seconds: float
    reply_tokens: int
    prompt_characters: int

    @classmethod
    def of(cls, limits: LimitSettings, assistant: AssistantSettings) -> Self:
        """Return what the settings say, where -1 is no limit."""
        return cls(
            None if limits.quota_generations < 0 else limits.quota_generations,
            None if limits.quota_tokens < 0 else limits.quota_tokens,
            limits.quota_period_seconds,
            limits.quota_reply_tokens,
            assistant.prompt_characters,
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """A person's limits (None: none) and what is used and reserved of them. The times are None while no period runs."""

    generation_limit: int | None
    generations_used: int
    generations_reserved: int
    token_limit: int | None
    tokens_used: int
    tokens_reserved: int
    is_default: bool
    period_seconds: float
    started_at: datetime | None
    resets_at: datetime | None


@dataclass(slots=True)
class Spent:
    """What was used of a reservation, as far as it is known. `is_used`: the model has said something, or was stopped by who asked."""

    is_used: bool = False
    tokens: int | None = None


async def set_quota_terms(database: Caller, terms: Terms) -> None:
    """Let *terms* hold from now on, on all processes."""
    await database.void(
        "set_quota_terms",
        generations=terms.generations,
        tokens=terms.tokens,
        period_seconds=terms.period_seconds,
        reply_tokens=terms.reply_tokens,
        prompt_characters=terms.prompt_characters,
    )


async def reserve_quota(database: Caller, *, actor: UserId, prompt_tokens: int, reply_tokens: int | None, seconds: float) -> UUID:
    """Take one answer and its estimated tokens out of the actor's quota; *reply_tokens* None is the usual amount.

    What is not settled within *seconds*, because the process died, counts as it stands. Raises RateLimited, Unavailable.
    """
    return await database.value(
        "reserve_quota", UUID, actor=actor, prompt_tokens=prompt_tokens, reply_tokens=reply_tokens, seconds=seconds
    )


async def settle_quota(database: Caller, *, reservation: UUID, is_used: bool, tokens: int | None) -> None:
    """Put what was used in place of a reservation; *tokens* None leaves the estimate. Twice is once. Raises Unavailable."""
    await database.void("settle_quota", reservation=reservation, is_used=is_used, tokens=tokens)


@asynccontextmanager
async def reserved_quota(
    database: Caller, *, actor: UserId, prompt_tokens: int, reply_tokens: int | None, seconds: float
) -> AsyncIterator[Spent]:
    """Hold a reservation while the block runs, and settle it with what the block writes into its Spent, however it ends.

    Raises RateLimited and Unavailable before the block. A database that is away afterwards leaves the estimate.
    """
    reservation = await reserve_quota(
        database, actor=actor, prompt_tokens=prompt_tokens, reply_tokens=reply_tokens, seconds=seconds
    )
    spent = Spent()
    try:
        yield spent
    finally:
        # Shielded: the usual end is that the client hangs up, which cancels the request.
        with anyio.move_on_after(SETTLE_SECONDS, shield=True) as scope:
            try:
                await settle_quota(database, reservation=reservation, is_used=spent.is_used, tokens=spent.tokens)
            except DomainError as error:
                log.warning("quota_not_settled", code=error.code)
        if scope.cancelled_caught:
            log.warning("quota_not_settled", code="TIMEOUT")


async def read_quota(database: Caller, *, actor: UserId) -> Quota:
    return await database.one("read_quota", Quota, actor=actor)


async def read_quota_of(database: Caller, *, actor: UserId, user: UserId) -> Quota:
    """Raise Forbidden, NotFound."""
    return await database.one("read_quota_of", Quota, actor=actor, user=user)


async def set_quota(database: Caller, *, actor: UserId, user: UserId, generations: int | None, tokens: int | None) -> None:
    """Give *user* terms of their own; None is no limit, 0 nothing at all. Raises Forbidden, NotFound."""
    await database.void("set_quota", actor=actor, user=user, generations=generations, tokens=tokens)


async def clear_quota(database: Caller, *, actor: UserId, user: UserId) -> None:
    """Let the general terms hold again; twice is once. Raises Forbidden, NotFound."""
    await database.void("clear_quota", actor=actor, user=user)
