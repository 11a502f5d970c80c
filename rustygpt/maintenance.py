"""What is done now and then: gauges that need the database, and rows that nobody needs any more. Never on a request or a scrape."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from rustygpt.database.pool import Database
from rustygpt.errors import DomainError
from rustygpt.observability.metrics import Metrics
from rustygpt.settings_streaming import PersistenceSettings
from rustygpt.streaming.procedures import prune_events

GAUGE_SECONDS: Final = 15.0
PRUNE_SECONDS: Final = 600.0
BRIEF_PRUNE_SECONDS: Final = 5.0
"""How often a log that is not kept is cut."""
BRIEF_RETENTION_SECONDS: Final = 600.0
"""How old its events get: who was away for longer reloads."""
IDEMPOTENCY_SECONDS: Final = 7 * 86_400
ENDED_SESSION_SECONDS: Final = 30 * 86_400
PRUNE_LIMIT: Final = 1_000

log = structlog.get_logger(__name__)


class Maintenance:
    """Runs until cancelled; a database that is away costs a round, not the loop."""

    def __init__(self, database: Database, persistence: PersistenceSettings, metrics: Metrics) -> None:
        self._database = database
        self._persistence = persistence
        self._metrics = metrics

    async def run(self) -> None:
        """Refresh the gauges every 15 s; prune every ten minutes, and a log that is not kept every five seconds."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(GAUGE_SECONDS, self._refresh_gauges))
            group.create_task(self._every(PRUNE_SECONDS, self._prune_rows))
            group.create_task(
                self._every(PRUNE_SECONDS if self._persistence.enabled else BRIEF_PRUNE_SECONDS, self._prune_events)
            )

    async def _every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except DomainError as error:
                log.warning("maintenance_skipped", step=step.__name__.lstrip("_"), code=error.code)
            await asyncio.sleep(seconds)

    async def _refresh_gauges(self) -> None:
        idle, used = self._database.connections()
        self._metrics.db_pool_connections.labels("idle").set(idle)
        self._metrics.db_pool_connections.labels("used").set(used)
        try:
            self._metrics.auth_active_sessions.set(await self._database.value("count_active_sessions", int))
        except DomainError:
            self._metrics.db_liveness_checks_total.labels("failed").inc()
            raise
        self._metrics.db_liveness_checks_total.labels("ok").inc()

    async def _prune_events(self) -> None:
        """Delete in batches: one statement never holds many rows."""
        settings = self._persistence
        retention_seconds, keep = settings.retention_hours * 3_600, None
        if not settings.enabled:
            retention_seconds, keep = BRIEF_RETENTION_SECONDS, settings.max_events_per_user
        pruned = batch = settings.prune_batch_size
        while pruned == batch:
            pruned = await prune_events(self._database, retention_seconds=retention_seconds, keep=keep, limit=batch)

    async def _prune_rows(self) -> None:
        deleted = PRUNE_LIMIT
        while deleted == PRUNE_LIMIT:
            deleted = await self._database.value(
                "prune_rows",
                int,
                idempotency_seconds=IDEMPOTENCY_SECONDS,
                session_seconds=ENDED_SESSION_SECONDS,
                limit=PRUNE_LIMIT,
            )
        deleted = PRUNE_LIMIT
        while deleted >= PRUNE_LIMIT:
            deleted = await self._database.value("forget_limit_states", int, limit=PRUNE_LIMIT)
