"""The one periodic loop: gauges that need the database, and rows that nobody needs any more. Never on a request or a scrape."""

import asyncio
from typing import Final

import structlog

from rustygpt.database.pool import Database
from rustygpt.errors import DomainError
from rustygpt.observability.metrics import Metrics
from rustygpt.settings_streaming import PersistenceSettings
from rustygpt.streaming.procedures import prune_events

GAUGE_SECONDS: Final = 15.0
PRUNE_SECONDS: Final = 600.0
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
        """Refresh the gauges every 15 s, and prune every ten minutes."""
        rounds = int(PRUNE_SECONDS / GAUGE_SECONDS)
        number = 0
        while True:
            try:
                await self._refresh_gauges()
                if number % rounds == 0:
                    await self._prune()
                self._metrics.db_liveness_checks_total.labels("ok").inc()
            except DomainError as error:
                self._metrics.db_liveness_checks_total.labels("failed").inc()
                log.warning("maintenance_skipped", code=error.code)
            number += 1
            await asyncio.sleep(GAUGE_SECONDS)

    async def _refresh_gauges(self) -> None:
        idle, used = self._database.connections()
        self._metrics.db_pool_connections.labels("idle").set(idle)
        self._metrics.db_pool_connections.labels("used").set(used)
        self._metrics.auth_active_sessions.set(await self._database.value("count_active_sessions", int))

    async def _prune(self) -> None:
        """Delete in batches: one statement never holds many rows."""
        batch, retention_seconds = self._persistence.prune_batch_size, self._persistence.retention_hours * 3_600
        pruned = batch
        while pruned == batch:
            pruned = await prune_events(self._database, retention_seconds=retention_seconds, limit=batch)
        deleted = PRUNE_LIMIT
        while deleted == PRUNE_LIMIT:
            deleted = await self._database.value(
                "prune_rows",
                int,
                idempotency_seconds=IDEMPOTENCY_SECONDS,
                session_seconds=ENDED_SESSION_SECONDS,
                limit=PRUNE_LIMIT,
            )
