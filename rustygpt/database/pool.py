"""The pool of connections. Each runs as role rustygpt_app, which owns nothing: a direct SELECT on a table is refused (42501)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson
import structlog
from typing_extensions import override

from rustygpt.database.call import Caller
from rustygpt.settings import DatabaseSettings

log = structlog.get_logger(__name__)


class Database(Caller):
    """Connections to one PostgreSQL database, opened once and shared by every part of the process."""

    def __init__(self, dsn: str, settings: DatabaseSettings) -> None:
        self._dsn = dsn
        self._settings = settings
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect. Raises OSError, TimeoutError or asyncpg.PostgresError when the server cannot be reached."""
        settings = self._settings
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            timeout=settings.connect_timeout_seconds,
            # The server's own statement_timeout comes first; this one notices a server that is silent.
            command_timeout=settings.statement_timeout_seconds + 5,
            statement_cache_size=settings.statement_cache_size,
            server_settings=server_settings(settings),
            init=_prepare,
            reset=_keep_as_is,
        )

    async def close(self) -> None:
        """Close every connection, waiting a few seconds for calls under way."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    def connections(self) -> tuple[int, int]:
        """Return how many connections are idle and how many are in use."""
        if self._pool is None:
            return 0, 0
        idle = self._pool.get_idle_size()
        return idle, self._pool.get_size() - idle

    @override
    async def _fetch(self, statement: str, values: Sequence[object]) -> list[asyncpg.Record]:
        if self._pool is None:
            raise asyncpg.InterfaceError("the database is not open")
        async with self._pool.acquire(timeout=self._settings.connect_timeout_seconds) as connection:
            return await connection.fetch(statement, *values)


async def confine(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Let a connection do no more than call procedures and listen; where the role is missing, say so and go on."""
    try:
        await connection.execute("set role rustygpt_app")
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError):
        log.warning("database_role_not_confined", remedy="create role rustygpt_app and grant it to the login role")


def server_settings(settings: DatabaseSettings) -> dict[str, str]:
    """Return the session settings of every connection."""
    return {
        "application_name": "rustygpt",
        "timezone": "UTC",
        "statement_timeout": str(int(settings.statement_timeout_seconds * 1000)),
    }


async def register_codecs(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Make jsonb arrive as Python objects, and leave as them."""
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode_json, decoder=orjson.loads, format="text")


def _encode_json(value: Any) -> str:
    return orjson.dumps(value).decode()


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await register_codecs(connection)
    await confine(connection)


async def _keep_as_is(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Do nothing when a connection returns to the pool: calls leave no session state, and a reset costs a round trip each."""
