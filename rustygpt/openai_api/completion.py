"""One answer to one request of /v1: a place at the provider, a piece of the asker's quota, and the provider's stream.

However it ends (the model stops or fails, the deadline comes, the client hangs up, the process drains, the credential ends) the upstream's socket is closed, the place
and the quota are settled, and one outcome is counted.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

import structlog

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Delta,
    Finish,
    FinishReason,
    Loading,
    Provider,
    ProviderError,
    StreamItem,
    Usage,
)
from rustygpt.assistant.seats import Seats
from rustygpt.database.call import Caller
from rustygpt.errors import DomainError
from rustygpt.http.openai_error import OpenAIError, openai_error_of
from rustygpt.ids import UserId
from rustygpt.limits.quotas import Spent, reserved_quota
from rustygpt.observability.metrics import Metrics
from rustygpt.openai_api.failures import failure_of
from rustygpt.openai_api.usage import Counted, count, estimate_prompt_tokens
from rustygpt.settings import AssistantSettings

QUOTA_MARGIN_SECONDS: Final = 60.0
"""A reservation outlives the longest answer by so much."""

Take = Callable[[StreamItem], Awaitable[None] | None]
"""Is given each item but the Finish as it comes; what it returns is awaited, and meanwhile the upstream is not read."""
Stopped = Literal["gone", "drained", "refused"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended well."""

    reason: FinishReason
    counted: Counted


@dataclass(frozen=True, slots=True)
class Desk:
    """What every answer uses."""

    database: Caller
    seats: Seats
    metrics: Metrics
    settings: AssistantSettings


class Completion:
    """Runs one request; either `stop_for_…` ends it from outside."""

    def __init__(self, desk: Desk, provider: Provider, request: CompletionRequest, user: UserId) -> None:
        self._desk = desk
        self._provider = provider
        self._request = request
        self._user = user
        self._scope: asyncio.Timeout | None = None
        self._stopped: Stopped | None = None
        self._stopped_at = 0.0
        self._refusal: OpenAIError | None = None
        self._characters = 0
        self._bytes = 0

    @property
    def is_gone(self) -> bool:
        """Whether the client has hung up: nobody reads an answer any more."""
        return self._stopped == "gone"

    def stop_for_client(self) -> None:
        """The client has hung up, or takes nothing any more."""
        self._stop("gone")

    def stop_for_drain(self) -> None:
        """The process ends."""
        self._stop("drained")

    def stop_for_refusal(self, refusal: DomainError) -> None:
        """The credential it was asked with has ended."""
        self._refusal = openai_error_of(refusal)
        self._stop("refused")

    def _stop(self, why: Stopped) -> None:
        """End it now; the upstream's socket is closed. Twice is once."""
        if self._stopped is None:
            self._stopped, self._stopped_at = why, time.monotonic()
            if self._scope is not None and not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self, take: Take) -> Outcome | OpenAIError:
        """Answer. Raises RateLimited and Unavailable where it may not begin."""
        desk, provider = self._desk, self._provider
        desk.seats.require_room(provider.name, self._user)
        outcome: Outcome | OpenAIError | None = None
        ended, began_at = "error", time.monotonic()
        try:
            async with asyncio.timeout(desk.settings.deadline_seconds) as self._scope:
                if self._stopped is not None:
                    raise TimeoutError
                async with desk.seats.taken(provider.name, self._user):
                    desk.metrics.generation_queue_seconds.observe(time.monotonic() - began_at)
                    outcome = await self._reserve_and_stream(take)
            ended = "error" if isinstance(outcome, OpenAIError) else "length" if outcome.reason == "length" else "stop"
        except TimeoutError:
            outcome, ended = self._cut_short()
        except ProviderError as error:
            # What follows the colon is the upstream's own words, which may quote the conversation: not for the log.
            log.warning("provider_failed", **self._facts(), code=error.code, reason=error.message.partition(": ")[0])
            outcome = failure_of(error)
        except asyncio.CancelledError:
            ended = "interrupted"
            raise
        finally:
            self._scope = None
            self._tell(ended, outcome, time.monotonic() - began_at)
        return outcome

    async def _reserve_and_stream(self, take: Take) -> Outcome | OpenAIError:
        desk = self._desk
        prompt_tokens = estimate_prompt_tokens(self._request.messages)
        async with reserved_quota(
            desk.database,
            actor=self._user,
            prompt_tokens=prompt_tokens,
            reply_tokens=self._request.sampling.max_tokens,
            seconds=desk.settings.deadline_seconds + QUOTA_MARGIN_SECONDS,
        ) as spent:
            desk.metrics.generations_running.inc()
            try:
                return await self._stream(take, spent)
            finally:
                desk.metrics.generations_running.dec()
                if spent.is_used and spent.tokens is None:
                    spent.tokens = self._count(None).total_tokens

    async def _stream(self, take: Take, spent: Spent) -> Outcome | OpenAIError:
        desk, asked_at = self._desk, time.monotonic()
        async with aclosing(self._provider.stream(self._request)) as items:
            async for item in items:
                if isinstance(item, Delta):
                    content = item.content
                    self._characters += len(content)
                    self._bytes += len(content) if content.isascii() else len(content.encode("utf-8", "replace"))
                elif isinstance(item, Finish):
                    counted = self._count(item.usage)
                    spent.is_used, spent.tokens = True, counted.total_tokens
                    return Outcome(item.reason, counted)
                if not spent.is_used and not isinstance(item, Loading):
                    spent.is_used = True
                    desk.metrics.generation_first_token_seconds.observe(time.monotonic() - asked_at)
                if (pending := take(item)) is not None:
                    await pending
                if self._bytes > desk.settings.max_reply_bytes:
                    return Outcome("length", self._count(None))
        return OpenAIError(502, "The model stopped without saying why.", "provider_garbage")

    def _cut_short(self) -> tuple[OpenAIError, str]:
        if self._stopped == "gone":
            return OpenAIError(499, "The client hung up.", "client_gone"), "cancelled"
        if self._stopped == "refused" and self._refusal is not None:
            return self._refusal, "cancelled"
        if self._stopped == "drained":
            message = "The server stopped while this was being written."
            return OpenAIError(503, message, "generation_interrupted", None, 1), "interrupted"
        return OpenAIError(504, "The model took longer than the server allows.", "generation_timeout"), "timeout"

    def _count(self, usage: Usage | None) -> Counted:
        return count(usage, self._request.messages, self._characters)

    def _facts(self) -> dict[str, str]:
        return {"provider": self._provider.name, "model": self._request.model}

    def _tell(self, ended: str, outcome: Outcome | OpenAIError | None, seconds: float) -> None:
        metrics = self._desk.metrics
        metrics.generation_ended(self._provider.name, self._request.model, ended)
        if self._stopped == "gone":
            metrics.stream_cancels_total.inc()
            metrics.stream_cancel_latency_seconds.observe(time.monotonic() - self._stopped_at)
        if ended == "timeout":
            metrics.stream_timeouts_total.inc()
        if isinstance(outcome, Outcome) and not outcome.counted.is_estimated:
            metrics.generation_tokens_total.labels("prompt").inc(outcome.counted.prompt_tokens)
            metrics.generation_tokens_total.labels("completion").inc(outcome.counted.completion_tokens)
        log.info("generation_finished", **self._facts(), outcome=ended, duration_seconds=round(seconds, 3), bytes=self._bytes)
