"""From nothing to serving, and back: opens what the process needs in order, runs its loops under one TaskGroup, closes in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from rustygpt.admin.runtime_settings import RuntimeSettings
from rustygpt.auth.first_administrator import ensure_first_administrator
from rustygpt.database.migrate import migrate
from rustygpt.database.readiness import missing_scripts
from rustygpt.database.scripts import read_scripts
from rustygpt.limits.quotas import Terms, set_quota_terms
from rustygpt.live_settings import LiveSettings
from rustygpt.observability.logging import set_log_level
from rustygpt.streaming.procedures import begin_log

if TYPE_CHECKING:
    from rustygpt.assistant.catalogue import Catalogue
    from rustygpt.assistant.queue import QueueTeller
    from rustygpt.assistant.runner import Runner
    from rustygpt.assistant.seats import Seats
    from rustygpt.auth.passwords import Passwords
    from rustygpt.database.pool import Database
    from rustygpt.database.process_lock import ProcessLock
    from rustygpt.limits.table import LimitTable
    from rustygpt.maintenance import Maintenance
    from rustygpt.models.assembly import ModelLibrary
    from rustygpt.observability.health import ReadinessCheck
    from rustygpt.observability.metrics import Metrics
    from rustygpt.openai_api.open_answers import OpenAnswers
    from rustygpt.settings import Settings
    from rustygpt.streaming.bus.base import Bus
    from rustygpt.streaming.coordinator import Coordinator
    from rustygpt.streaming.log import EventLog
    from rustygpt.streaming.sweeper import Sweeper

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What has a life: built unopened by the application, opened and closed here."""

    settings: Settings
    dsn: str
    metrics: Metrics
    database: Database
    process_lock: ProcessLock
    bus: Bus
    passwords: Passwords
    catalogue: Catalogue
    seats: Seats
    answers: OpenAnswers
    coordinator: Coordinator
    sweeper: Sweeper
    event_log: EventLog
    limits: LimitTable
    runtime: RuntimeSettings
    runner: Runner
    queue: QueueTeller
    library: ModelLibrary
    maintenance: Maintenance

    def begin_drain(self) -> None:
        """Prepare for the end: readyz is 503 from now on, streams end one after the other, no generation begins."""
        if not self.sweeper.is_draining:
            log.info("drain_begun")
        self.sweeper.begin_drain()
        self.runner.begin_drain()
        self.answers.begin_drain()
        self.library.begin_drain()


def runtime_settings(settings: Settings, database: Database) -> RuntimeSettings:
    """Build what keeps changed settings in force, and tells the database of quotas and the log of its level."""
    level = settings.logging.level

    async def use_quota_terms(live: LiveSettings) -> None:
        await set_quota_terms(database, Terms.of(live.limits, settings.assistant))

    async def use_log_level(live: LiveSettings) -> None:
        nonlocal level
        if live.logging.level != level:
            level = live.logging.level
            set_log_level(level)

    return RuntimeSettings(database, LiveSettings(settings), [use_quota_terms, use_log_level])


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Serve inside this context. Raises SchemaError, AnotherProcess, SettingsError or the database's errors at the start."""
    async with AsyncExitStack() as stack:
        await _open(parts, stack)
        loops: list[Callable[[], Coroutine[Any, Any, None]]] = [
            parts.process_lock.watch,
            parts.bus.run,
            parts.coordinator.run,
            parts.coordinator.transients.run,
            parts.queue.run,
            parts.sweeper.run,
            parts.answers.run,
            parts.event_log.run,
            parts.limits.run,
            parts.runtime.run,
            parts.library.run,
            parts.maintenance.run,
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop()) for loop in loops]
            runner = group.create_task(parts.runner.run())
            try:
                yield
            finally:
                parts.begin_drain()
                parts.sweeper.end_all()  # after a drain there are none; after a crash the server would wait for them
                await _end_generations(parts, runner)
                for task in tasks:
                    task.cancel()


async def _open(parts: Parts, stack: AsyncExitStack) -> None:
    report = await migrate(parts.dsn, connect_seconds=parts.settings.database.connect_timeout_seconds)
    for script in read_scripts():
        result = "applied" if script in report.applied else "unchanged"
        parts.metrics.db_bootstrap_scripts_total.labels(script.kind, result).inc()
    parts.metrics.db_bootstrap_duration_seconds.observe(report.seconds)
    log.info("database_ready", applied=len(report.applied), epoch=report.epoch, seconds=round(report.seconds, 3))

    stack.push_async_callback(parts.process_lock.close)
    await parts.process_lock.open()
    stack.push_async_callback(parts.database.close)
    await parts.database.open()
    stack.push_async_callback(parts.bus.close)
    parts.passwords.open()
    stack.callback(parts.passwords.close)
    await ensure_first_administrator(parts.database, parts.passwords, parts.settings)
    await parts.limits.open()
    await parts.runtime.open()
    # Only now is it sure that no other process uses the log.
    epoch = await begin_log(parts.database, is_kept=parts.settings.sse.persistence.enabled)
    log.info("log_begun", epoch=epoch, is_kept=parts.settings.sse.persistence.enabled)
    await parts.coordinator.open()
    # Before anybody is served: what a killed predecessor left running is closed within the first second.
    await parts.runner.reap()
    stack.push_async_callback(parts.catalogue.close)
    await parts.catalogue.open()


async def _end_generations(parts: Parts, runner: asyncio.Task[None]) -> None:
    """Give what runs its grace, then have it closed as interrupted."""
    grace = parts.settings.assistant.shutdown_grace_seconds
    try:
        async with asyncio.timeout(grace):
            await parts.runner.drained()
    except TimeoutError:
        log.warning("generations_cut_short", grace_seconds=grace)
    runner.cancel()
    await asyncio.wait([runner])


def readiness_checks(parts: Parts) -> dict[str, ReadinessCheck]:
    """Return what must hold before the process can be used, by name; each answers what is missing, or None."""
    scripts = read_scripts()

    async def schema() -> str | None:
        missing = await missing_scripts(parts.database, scripts)
        parts.metrics.db_readiness_checks_total.labels("failed" if missing else "ok").inc()
        return f"schema: {', '.join(missing)}" if missing else None

    async def coordinator() -> str | None:
        return None if parts.coordinator.is_tailing else "coordinator: does not follow the event log"

    async def runner() -> str | None:
        return None if parts.runner.is_working else "runner: does not claim generations"

    async def process_lock() -> str | None:
        return None if parts.process_lock.is_held else "process_lock: not held"

    async def bus() -> str | None:
        return None if parts.bus.is_connected else "bus: not connected"

    async def drain() -> str | None:
        return "drain: the process is ending" if parts.sweeper.is_draining else None

    checks: list[ReadinessCheck] = [schema, coordinator, runner, process_lock, bus, drain]
    return {check.__name__: check for check in checks}
