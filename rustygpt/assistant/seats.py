"""How many answers each provider writes at a time, in this process, whoever asked for them: conversations and /v1 share the places.

A place that becomes free goes to the person with the fewest at that provider, the earliest among equals, so nobody's hundred requests keep
another's one waiting for long. Waiting is bounded: whoever may not wait is told when to come again.
"""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from rustygpt.errors import RateLimited, Unavailable
from rustygpt.settings import AssistantSettings

KEPT_DURATIONS: Final = 20
MAX_RETRY_SECONDS: Final = 120


class Seats:
    """*places*: at each provider, *by_provider* names exceptions. *max_waiting* and *max_waiting_per_user* bound those who `take` a place."""

    def __init__(
        self, places: int, *, by_provider: Mapping[str, int] | None = None, max_waiting: int, max_waiting_per_user: int
    ) -> None:
        # A worker whose share is none still answers /v1, which comes to whichever worker the kernel picks.
        self._places = max(1, places)
        self._by_provider = dict(by_provider or {})
        self._max_waiting = max_waiting
        self._max_waiting_per_user = max_waiting_per_user
        self._rows: dict[str, _Row] = {}

    @asynccontextmanager
    async def taken(self, provider: str, user: UUID) -> AsyncIterator[None]:
        """Hold a place at *provider*, waiting for one as long as it takes: for those who have stood in another queue already."""
        row = self._row(provider)
        await row.enter(user)
        began_at = time.monotonic()
        try:
            yield
        finally:
            row.leave(user, time.monotonic() - began_at)

    def require_room(self, provider: str, user: UUID) -> None:
        """Raise RateLimited or Unavailable, with when to come again, where too many wait for a place already."""
        row = self._row(provider)
        if row.waits_of(user) >= self._max_waiting_per_user:
            raise RateLimited("Too many of your requests wait for a model.", retry_after_seconds=row.retry_seconds())
        if row.waiting >= self._max_waiting:
            raise Unavailable("Too many requests wait for a model.", retry_after_seconds=row.retry_seconds())

    def _row(self, provider: str) -> "_Row":
        if provider not in self._rows:
            self._rows[provider] = _Row(self._by_provider.get(provider) or self._places)
        return self._rows[provider]


class _Row:
    """The places at one provider, and who waits for them."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken: Counter[UUID] = Counter()
        self._waiters: list[tuple[UUID, asyncio.Future[None]]] = []
        self._durations: deque[float] = deque(maxlen=KEPT_DURATIONS)

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def waits_of(self, user: UUID) -> int:
        return sum(1 for waiter, _ in self._waiters if waiter == user)

    async def enter(self, user: UUID) -> None:
        if self._taken.total() < self._places and not self._waiters:
            self._taken[user] += 1
            return
        waiter = (user, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            # The generation's deadline, or the request's, bounds this wait.
            await waiter[1]
        except asyncio.CancelledError:
            if waiter[1].done() and not waiter[1].cancelled():
                self._free(user)  # the place came in the very moment in which its owner gave up
            else:
                self._waiters.remove(waiter)
            raise

    def leave(self, user: UUID, seconds: float) -> None:
        self._durations.append(seconds)
        self._free(user)

    def retry_seconds(self) -> int:
        """Say in how many seconds a place is likely to be free for who comes now: what the last answers took, and those who wait."""
        mean = sum(self._durations) / len(self._durations) if self._durations else 1.0
        return max(1, min(MAX_RETRY_SECONDS, math.ceil(mean * (self.waiting + 1) / self._places)))

    def _free(self, user: UUID) -> None:
        self._taken[user] -= 1
        self._taken += Counter()  # forgets who has none
        while self._waiters and self._taken.total() < self._places:
            chosen = min(self._waiters, key=lambda waiter: self._taken[waiter[0]])  # the first of equals
            self._waiters.remove(chosen)
            if not chosen[1].done():
                self._taken[chosen[0]] += 1
                chosen[1].set_result(None)


def build_seats(settings: AssistantSettings) -> Seats:
    """Build the places that the settings ask for."""
    return Seats(
        settings.max_concurrency,
        by_provider={provider.name: provider.max_concurrency for provider in settings.providers},
        max_waiting=settings.max_queued,
        max_waiting_per_user=settings.max_queued_per_user,
    )
