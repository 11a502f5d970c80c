"""A connection of its own that hears NOTIFY: never from the pool, never behind a pooler that shares connections between transactions.

What is sent while it is not connected is lost, and PostgreSQL does not say that it was. Whoever listens looks for itself afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from rustygpt.database.pool import confine, server_settings
from rustygpt.database.sqlstate import domain_error

if TYPE_CHECKING:
    from rustygpt.settings import DatabaseSettings


@asynccontextmanager
async def listening(
    dsn: str, settings: DatabaseSettings, channel: str, on_payload: Callable[[str], None]
) -> AsyncIterator[asyncio.Event]:
    """Hear *channel* inside this context, from its start on; the event is set when the connection is lost.

    *on_payload* must return at once and not raise. Raises Unavailable when PostgreSQL cannot be reached.
    """
    lost = asyncio.Event()

    def on_notify(_connection: object, _pid: int, _channel: str, payload: Any) -> None:
        on_payload(payload)

    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=settings.connect_timeout_seconds,
            command_timeout=settings.statement_timeout_seconds,
            statement_cache_size=0,
            server_settings=server_settings(settings),
        )
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await confine(connection)
            await connection.add_listener(channel, on_notify)
            yield lost
        finally:
            # Closing politely would wait for a server that may not answer any more.
            connection.terminate()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        if (translated := domain_error(error)) is None:
            raise
        raise translated from error
