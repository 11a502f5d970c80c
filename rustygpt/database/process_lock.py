"""The lock by which processes on one database know that they can hear each other: all have the same bus.

A bus that lives inside one process bears no second one. Held by a connection of its own for as long as the process lives; a crash
frees it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from typing_extensions import override

from rustygpt.database.call import Caller
from rustygpt.database.pool import server_settings
from rustygpt.errors import DomainError

if TYPE_CHECKING:
    from rustygpt.settings import DatabaseSettings

log = structlog.get_logger(__name__)

OPEN_SECONDS: Final = 10.0
ALIVE_SECONDS: Final = 2.0
"""A killed process's connection ends within milliseconds, on a very busy machine within a second."""
RETRY_SECONDS: Final = 0.2


class AnotherProcess(Exception):
    """A process that this one could not hear serves the database already."""

    def __init__(self, bus: str, other: str) -> None:
        what = f'another RustyGPT process, with bus.kind = "{other}", serves this database'
        remedy = "stop it first, or give this one a database of its own"
        if bus == other:
            remedy += '; several on one database need bus.kind = "postgres" or "redis"'
        else:
            remedy += f'; this one has bus.kind = "{bus}", and all on one database need the same'
        super().__init__(f"{what}; {remedy}")


@dataclass(frozen=True, slots=True)
class DatabaseHolder:
    """A connection to the database, by the process id of its backend, of a process that serves it."""

    pid: int


@dataclass(frozen=True, slots=True)
class _Rival:
    """The bus of what stands in the way, and the backends of all holders; none when they have just gone."""

    bus: str
    pids: frozenset[int]


class ProcessLock(Caller):
    """Holds the lock. `open` before anything else touches the log; `watch` takes it again when the connection was lost.

    *bus* is `bus.kind`.
    """

    def __init__(self, dsn: str, settings: DatabaseSettings, *, bus: str) -> None:
        self._dsn = dsn
        self._settings = settings
        self._bus = bus
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._lost = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Say whether the lock is held now."""
        return self._connection is not None and not self._connection.is_closed()

    async def open(self, *, deadline_seconds: float = OPEN_SECONDS) -> None:
        """Take the lock, waiting for a process that is just ending. Raises AnotherProcess, Unavailable.

        A holder whose connection is there for ALIVE_SECONDS is alive, and not waited for any longer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_seconds
        seen: dict[int, float] = {}
        while rival := await self._try():
            now = loop.time()
            if not seen:
                log.info("database_is_held", holder_pids=sorted(rival.pids))
            seen = {pid: seen.get(pid, now) for pid in rival.pids}
            if now > deadline or any(now - since > ALIVE_SECONDS for since in seen.values()):
                raise AnotherProcess(self._bus, rival.bus)
            await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        """Let go."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            await connection.close(timeout=5)

    async def watch(self) -> None:
        """Take the lock again whenever the connection is lost, until cancelled."""
        while True:
            await self._lost.wait()
            log.warning("process_lock_lost")
            while True:
                try:
                    await self.open()
                    break
                except (AnotherProcess, DomainError) as error:
                    log.warning("process_lock_not_regained", reason=str(error))
                    await asyncio.sleep(RETRY_SECONDS * 5)
            log.info("process_lock_regained")

    async def _try(self) -> _Rival | None:
        """Take the lock; return who stands in the way, or None once it is held."""
        await self.close()
        self._lost.clear()
        if not (bus := await self.value("hold_database", str, bus=self._bus)):
            return None
        holders = await self.many("list_database_holders", DatabaseHolder)
        await self.close()
        return _Rival(bus, frozenset(holder.pid for holder in holders))

    @override
    async def _fetch(self, statement: str, values: Sequence[object]) -> list[asyncpg.Record]:
        if self._connection is None:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=self._settings.connect_timeout_seconds,
                statement_cache_size=0,
                server_settings=server_settings(self._settings),
            )
            connection.add_termination_listener(self._on_termination)
            self._connection = connection
        return await self._connection.fetch(statement, *values, timeout=self._settings.statement_timeout_seconds)

    def _on_termination(self, connection: object) -> None:
        if connection is self._connection:
            self._lost.set()


async def is_database_served(database: Caller) -> bool:
    """Say whether a server holds this database. Raises Unavailable."""
    return bool(await database.many("list_database_holders", DatabaseHolder))
