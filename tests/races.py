"""Races made certain: a second connection of the owner's holds a lock until somebody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""
WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One more connection of the owner's."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def until_somebody_waits(observer: asyncpg.Connection) -> None:
    """Wait until a session of the database waits for a lock. Raises TimeoutError."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await observer.fetchval(WAITING):  # noqa: ASYNC110 - nobody signals it
            await asyncio.sleep(0.005)
