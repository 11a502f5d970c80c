"""One run of a model producing one message.

Whatever happens (the model stops, fails, hangs, is cancelled, the process ends) exactly one last word is written, and what was said
until then is kept. No connection is held while the model thinks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import structlog

from rustygpt.assistant.procedures import Claim, FinalState, finish_generation
from rustygpt.assistant.providers.base import Delta, Finish, Provider, ProviderError, Usage
from rustygpt.assistant.question import Asker
from rustygpt.errors import DomainError
from rustygpt.ids import Position

if TYPE_CHECKING:
    from rustygpt.assistant.catalogue import Catalogue
    from rustygpt.assistant.seats import Seats
    from rustygpt.database.call import Caller
    from rustygpt.observability.metrics import Metrics
    from rustygpt.settings import AssistantSettings
    from rustygpt.signals import Announcer

log = structlog.get_logger(__name__)

FINISH_RETRY_SECONDS = 0.5
INTERRUPT_SECONDS = 5.0
MAX_TOKENS = 2**31 - 1


class ReplyOutbox(Protocol):
    """Where a reply's deltas go; they are committed before anybody sees them."""

    @property
    def closed_reason(self) -> str | None:
        """Why nothing more can be stored: refused (another owns the message, or it ended), expired (no database), or None."""

    async def put(self, text: str) -> bool:
        """Hand over a delta, waiting while too much is pending. False when the outbox is closed."""

    async def flush(self) -> bool:
        """Wait until all is committed. False when the outbox is closed."""


class ReplyLog(Protocol):
    """The event log as the assistant sees it."""

    def open(
        self,
        *,
        conversation_id: UUID,
        root_id: UUID,
        parent_id: UUID | None,
        message_id: UUID,
        fence: int,
        next_idx: int,
        on_cancelled: Callable[[], None],
    ) -> ReplyOutbox:
        """Return the outbox of a claimed generation, whose next chunk has the number *next_idx*."""

    def release(self, message_id: UUID, fence: int) -> None:
        """Forget a generation's outbox."""


@dataclass(frozen=True, slots=True)
class Workbench:
    """What every generation of a process uses."""

    database: Caller
    catalogue: Catalogue
    seats: Seats
    reply_log: ReplyLog
    announcer: Announcer
    metrics: Metrics
    settings: AssistantSettings


@dataclass(slots=True)
class Outcome:
    """How a generation ended."""

    state: FinalState
    usage: Usage | None = None
    error_code: str | None = None
    error_message: str | None = None


class Generation:
    """Runs one claim to its end. `run` never raises but for cancellation of its task."""

    def __init__(self, claim: Claim, bench: Workbench) -> None:
        self.claim = claim
        self._bench = bench
        self._scope: asyncio.Timeout | None = None
        self._cancel_asked_at: float | None = None
        self._is_lost = False
        self._provider: Provider | None = None
        self._model = claim.requested_model or ""
        self._bytes = 0

    def cancel(self) -> None:
        """Stop it, before or after the first token; the provider's socket is closed. Twice is once."""
        if self._cancel_asked_at is None:
            self._cancel_asked_at = time.monotonic()
            self._stop()

    def lose(self) -> None:
        """Stop it without a last word: the generation belongs to somebody else now."""
        self._is_lost = True
        self._stop()

    async def run(self) -> None:
        """Ask the model and write the reply."""
        started = time.monotonic()
        claim, bench = self.claim, self._bench
        outbox = bench.reply_log.open(
            conversation_id=claim.conversation_id,
            root_id=claim.root_id,
            parent_id=claim.parent_id,
            message_id=claim.message_id,
            fence=claim.fence,
            next_idx=claim.next_idx,
            on_cancelled=self.cancel,
        )
        try:
            outcome = await self._speak(outbox)
            if not await outbox.flush() and outbox.closed_reason == "expired":
                outcome = Outcome("error", None, "storage_unavailable", "The database was away for too long to keep the reply.")
            elif outbox.closed_reason == "refused":
                self._is_lost = True
            if not self._is_lost:
                await self._finish(outcome)
        except asyncio.CancelledError:
            outcome = Outcome("interrupted", None, "generation_interrupted", "The server stopped while this was being written.")
            await self._interrupt(outcome)
            raise
        finally:
            bench.reply_log.release(claim.message_id, claim.fence)
        self._tell(outcome, time.monotonic() - started)

    async def _speak(self, outbox: ReplyOutbox) -> Outcome:
        """Stream the reply into *outbox*; every way in which that can end becomes an outcome."""
        if self._was_cancelled():
            return Outcome("cancelled")
        try:
            async with asyncio.timeout(self._bench.settings.deadline_seconds) as self._scope:
                return await self._stream(outbox)
        except TimeoutError:
            if self._was_cancelled():
                return Outcome("cancelled")
            return Outcome("timeout", None, "generation_timeout", "The model took longer than the server allows.")
        except ProviderError as error:
            # What follows the colon is the upstream's own words, which may quote the conversation: not for the log.
            log.warning("provider_failed", **self._facts(), code=error.code, reason=error.message.partition(": ")[0])
            return Outcome("error", None, error.code, error.message)
        except DomainError as error:
            log.warning("generation_failed", **self._facts(), code=error.code)
            return Outcome("error", None, "storage_unavailable", "The database could not be reached.")
        except Exception:  # a defect must still end the message: its readers wait for the last word
            log.exception("generation_crashed", **self._facts())
            return Outcome("error", None, "internal", "Something went wrong on the server.")
        finally:
            self._scope = None

    async def _stream(self, outbox: ReplyOutbox) -> Outcome:
        bench = self._bench
        self._provider, self._model = provider, model = await bench.catalogue.resolve(self.claim.requested_model)
        request = await Asker(bench.database, bench.catalogue, bench.settings).prepare(self.claim, provider, model)
        if request is None:
            # A stop asked for between the claim and here sent its signal to nobody, or there is nothing to answer any more. Was the
            # fence lost, the last word is refused.
            self._cancel_asked_at = time.monotonic()
            return Outcome("cancelled")
        async with bench.seats.taken(provider.name, self.claim.requested_by), aclosing(provider.stream(request)) as items:
            asked_at = time.monotonic()
            async for item in items:
                if isinstance(item, Finish):
                    return Outcome("length" if item.reason == "length" else "done", _believable(item.usage))
                if not isinstance(item, Delta):
                    continue  # the model is being loaded; no tools were offered
                if not self._bytes:
                    bench.metrics.generation_first_token_seconds.observe(time.monotonic() - asked_at)
                self._bytes += len(item.content.encode("utf-8", "replace"))
                if not await outbox.put(item.content):
                    break
                if self._bytes > bench.settings.max_reply_bytes:
                    return Outcome("length")
        return Outcome("error", None, "provider_garbage", "The model stopped without saying that it was done.")

    async def _finish(self, outcome: Outcome) -> None:
        """Write the last word, trying again as long as the database is away: the row must not stay open while we live."""
        usage = outcome.usage
        reason = outcome.error_message
        while True:
            try:
                finished = await finish_generation(
                    self._bench.database,
                    message=self.claim.message_id,
                    fence=self.claim.fence,
                    state=outcome.state,
                    prompt_tokens=usage.prompt_tokens if usage else None,
                    completion_tokens=usage.completion_tokens if usage else None,
                    error_code=outcome.error_code,
                    # PostgreSQL's text has no NUL, and an upstream's error may quote one.
                    error_message=reason.replace("\0", "\ufffd") if reason else None,
                )
            except DomainError as error:
                log.warning("generation_unfinished", **self._facts(), code=error.code)
                await asyncio.sleep(FINISH_RETRY_SECONDS)
                continue
            self._is_lost = finished.status == "refused"
            self._bench.announcer.wake(Position(finished.position))
            return

    async def _interrupt(self, outcome: Outcome) -> None:
        """The process ends: say so in the little time there is. Should that fail, the next start does it."""
        try:
            async with asyncio.timeout(INTERRUPT_SECONDS):
                await self._finish(outcome)
        except TimeoutError:
            log.warning("generation_left_open", **self._facts())

    def _was_cancelled(self) -> bool:
        return self._cancel_asked_at is not None

    def _stop(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _facts(self) -> dict[str, str]:
        provider = self._provider.name if self._provider else ""
        return {"message_id": str(self.claim.message_id), "provider": provider, "model": self._model}

    def _tell(self, outcome: Outcome, seconds: float) -> None:
        metrics = self._bench.metrics
        if self._is_lost:
            log.warning("generation_lost", **self._facts())
            return
        if self._cancel_asked_at is not None:
            metrics.stream_cancel_latency_seconds.observe(time.monotonic() - self._cancel_asked_at)
        if outcome.state == "timeout":
            metrics.stream_timeouts_total.inc()
        if outcome.usage:
            metrics.generation_tokens_total.labels("prompt").inc(outcome.usage.prompt_tokens)
            metrics.generation_tokens_total.labels("completion").inc(outcome.usage.completion_tokens)
        ended = "stop" if outcome.state == "done" else outcome.state
        metrics.generation_ended(self._provider.name if self._provider else "", self._model, ended)
        log.info("generation_finished", **self._facts(), outcome=ended, duration_seconds=round(seconds, 3), bytes=self._bytes)


def _believable(usage: Usage | None) -> Usage | None:
    """Return *usage* unless it cannot be: counts are an upstream's word, and go into 32-bit columns and rising counters."""
    if usage is None:
        return None
    counts = (usage.prompt_tokens, usage.completion_tokens)
    is_count = all(type(count) is int and count >= 0 for count in counts)
    return usage if is_count and sum(counts) <= MAX_TOKENS else None
