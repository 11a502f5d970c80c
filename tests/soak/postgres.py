"""A PostgreSQL of the soak's own, which is killed and started again; the same cluster, the same DSN.

It is the product's private server, started as `rustygpt serve` does, but watched by nobody except the soak.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from rustygpt.database.embedded import EmbeddedPostgres

START_SECONDS = 60.0
STOP_SECONDS = 30.0
OWNER_SECONDS = 30.0


class Postgres:
    """`start` on the main thread before the event loop runs, `stop` after it."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder, start_seconds=START_SECONDS)
        self.dsn = ""

    def start(self) -> None:
        """Make the cluster and its server."""
        self.dsn = self._server.start()

    def stop(self) -> None:
        """End the server."""
        self._server.stop()

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._server.log

    async def end(self, number: int) -> None:
        """Send a signal that ends the postmaster, and wait until it is gone."""
        assert self._server._process is not None
        os.kill(self._server._process.pid, number)
        give_up_at = time.monotonic() + STOP_SECONDS
        while self._server.exit_code is None:
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL did not end within {STOP_SECONDS} s of signal {number}")
            await asyncio.sleep(0.02)

    async def restart(self) -> None:
        """Start it where it was. Children of a killed postmaster may still be ending: then try again."""
        deadline = time.monotonic() + START_SECONDS
        self._server.relaunch()
        while not self._server.resume():
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not come back: {self._server.last_words[-2_000:]}")
            if self._server.exit_code is not None:
                if not self._server.starts_later:
                    raise RuntimeError(f"PostgreSQL could not be started again: {self._server.last_words[-2_000:]}")
                self._server.relaunch()
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection of the owner, who may read tables; waits for a database that is just away."""
        deadline = time.monotonic() + OWNER_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(self.dsn, timeout=10, command_timeout=60)
                break
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)
        try:
            yield connection
        finally:
            connection.terminate()
