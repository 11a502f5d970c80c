"""A PostgreSQL of the tests' own that may be stopped, killed and started again under whoever uses it.

The DSN stays the same over every restart. Nothing here blocks the event loop while readers record.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Literal

from rustygpt.database.embedded import EmbeddedPostgres
from rustygpt.database.postmaster import read_pid_file

DEADLINE_SECONDS = 60.0
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
"""What `pg_ctl stop -m` sends."""


class OwnPostgres:
    """One cluster in a folder. `start` and `close` are for fixtures; `stop` and `start_again` for the middle of a test."""

    def __init__(self, folder: Path) -> None:
        self.cluster = folder / "postgres" / "cluster"
        self.dsn = ""
        self._server = EmbeddedPostgres(folder, start_seconds=DEADLINE_SECONDS)

    def start(self) -> None:
        """Make the cluster where it is missing, and start its server."""
        self.dsn = self._server.start()

    def close(self) -> None:
        """Stop it for good."""
        self._server.stop()

    async def stop(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop the server as `pg_ctl stop -m` does, and wait until it has gone."""
        file = read_pid_file(self.cluster)
        assert file is not None, "it does not run"
        os.kill(file.pid, SIGNALS[mode])
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self._server.exit_code is None:  # noqa: ASYNC110 - a process that has ended tells nobody
                await asyncio.sleep(0.01)

    async def start_again(self) -> None:
        """Start the stopped server where it was, and wait until it takes connections."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            self._server.relaunch()
            while not self._server.resume():
                if self._server.exit_code is not None:  # children of the one before were still ending
                    self._server.relaunch()
                await asyncio.sleep(0.01)
