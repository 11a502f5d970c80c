"""The runner claims queued generations and runs them, as many at once as the settings allow.

It is woken by a signal and looks by itself every few seconds, so a lost signal costs seconds. Every generation it runs has a lease that
it renews; what a dead process left behind it closes, keeping the partial text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.assistant.generation import Generation, Workbench
from rustygpt.assistant.procedures import claim_generation, reap_generations, renew_leases
from rustygpt.errors import DomainError
from rustygpt.ids import Position, new_uuid

if TYPE_CHECKING:
    from rustygpt.signals import SignalKind

log = structlog.get_logger(__name__)

POLL_SECONDS: Final = 2.0
MAX_REAP_SECONDS: Final = 5.0
REAP_LIMIT: Final = 100


class Runner:
    """Runs generations. *is_alone*: no other process serves this database, so every foreign running generation is orphaned.

    *on_moved* is called when a claim or an end may have changed who waits where.
    """

    def __init__(self, bench: Workbench, *, is_alone: bool, on_moved: Callable[[], None]) -> None:
        self._bench = bench
        self._on_moved = on_moved
        self._is_alone = is_alone
        self._owner = str(new_uuid())
        self._running: dict[UUID, Generation] = {}
        self._wake = asyncio.Event()
        self._beat = asyncio.Event()
        self._reap_seconds = min(MAX_REAP_SECONDS, bench.settings.lease_seconds / 3)
        self._reap_from = 0.0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.is_working = False

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """Hear of new work, and of a stop that somebody asked for; look for both when some may have been missed."""
        if kind == "generation_queued":
            self._wake.set()
        elif kind == "look":
            self._wake.set()
            self._beat.set()
        elif kind == "cancel":
            for message_id, generation in self._running.items():
                if str(message_id) == key:
                    generation.cancel()

    def begin_drain(self) -> None:
        """Claim nothing more; what runs may end."""
        self._is_draining = True

    async def drained(self) -> None:
        """Wait until nothing runs. The caller sets the deadline."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled; then what still runs is closed as interrupted."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_leases())
            while True:
                try:
                    await self._reap_and_claim(group)
                except DomainError as error:
                    if self.is_working:
                        log.warning("runner_paused", code=error.code)
                    self.is_working = False
                    # While the database was away nobody could renew a lease: its owner gets one more to do so.
                    self._reap_from = time.monotonic() + self._bench.settings.lease_seconds
                    await _set_within(self._wake, POLL_SECONDS)

    async def _reap_and_claim(self, group: asyncio.TaskGroup) -> None:
        if self._is_alone or time.monotonic() >= self._reap_from:
            await self.reap()
        next_reap_at = time.monotonic() + self._reap_seconds
        while True:
            while not self._is_draining and len(self._running) < self._bench.settings.max_concurrency:
                if not await self._claim(group):
                    break
            self.is_working = True
            await _set_within(self._wake, min(POLL_SECONDS, next_reap_at - time.monotonic()))
            if time.monotonic() >= next_reap_at:
                return

    async def reap(self) -> None:
        """Close all that dead processes left running, in batches. Raises Unavailable."""
        is_full = True
        while is_full:
            reaped = await reap_generations(
                self._bench.database, running=list(self._running), is_alone=self._is_alone, limit=REAP_LIMIT
            )
            for generation in reaped:
                log.warning("generation_orphaned", message_id=str(generation.message_id), outcome=generation.state)
                self._bench.metrics.generation_ended("", "", generation.state)
                self._bench.announcer.wake(Position(generation.position))
            is_full = len(reaped) == REAP_LIMIT

    async def _claim(self, group: asyncio.TaskGroup) -> bool:
        settings, metrics = self._bench.settings, self._bench.metrics
        claim = await claim_generation(
            self._bench.database,
            owner=self._owner,
            lease_seconds=settings.lease_seconds,
            deadline_seconds=settings.deadline_seconds,
        )
        if claim is None:
            return False
        metrics.generation_queue_seconds.observe(claim.queue_seconds)
        generation = Generation(claim, self._bench)
        self._running[claim.message_id] = generation
        self._idle.clear()
        metrics.generations_running.inc()
        group.create_task(self._run(generation))
        self._on_moved()
        return True

    async def _run(self, generation: Generation) -> None:
        try:
            await generation.run()
        except Exception:  # a defect must not take the other replies along; the reaper closes what it left open
            log.exception("generation_crashed", message_id=str(generation.claim.message_id))
        finally:
            if self._running.get(generation.claim.message_id) is generation:  # it may go on here already, as another run
                del self._running[generation.claim.message_id]
            self._bench.metrics.generations_running.dec()
            if not self._running:
                self._idle.set()
            self._wake.set()
            self._on_moved()

    async def _keep_leases(self) -> None:
        """Renew leases in the quiet phases, when no delta does, and learn of stops whose signal was lost."""
        settings = self._bench.settings
        while True:
            await _set_within(self._beat, settings.lease_heartbeat_seconds)
            claims = [generation.claim for generation in self._running.values()]
            if not claims:
                continue
            try:
                renewed = await renew_leases(
                    self._bench.database,
                    messages=[claim.message_id for claim in claims],
                    fences=[claim.fence for claim in claims],
                    lease_seconds=settings.lease_seconds,
                )
            except DomainError as error:
                log.warning("leases_not_renewed", code=error.code, generations=len(claims))
                continue
            for lease in renewed:
                generation = self._running.get(lease.message_id)
                if generation is not None and lease.is_lost:
                    generation.lose()
                elif generation is not None and lease.is_cancelled:
                    generation.cancel()


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until *event* is set, but not longer than *seconds*; clear it."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
