"""What is done to the running system. Each fault ends with everything started again; none waits for what comes after.

A process that is to be weighed over the whole soak, the last server, is never ended, only frozen and cut off from its database.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.soak.fleet import Fleet, Server
from tests.soak.postgres import Postgres
from tests.soak.run import Run
from tests.soak.valkey import Valkey

DOWN_SECONDS = (0.0, 4.0)
LONG_DOWN_SECONDS = (7.0, 12.0)
"""Longer than a lease."""
LONG_DOWN_SHARE = 0.2
FROZEN_SECONDS = (1.0, 12.0)
"""Up to twice the lease: a frozen owner of a reply may wake up to find it closed by another."""

_LISTENERS = "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen %' and pid <> pg_backend_pid()"
_ALL = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rustygpt'"


@dataclass(slots=True)
class Faults:
    """Every kind by name; `inject` returns when what it broke runs again, with the moment from which recovery counts."""

    run: Run
    fleet: Fleet
    postgres: Postgres
    valkey: Valkey | None

    @property
    def kinds(self) -> dict[str, Callable[[], Awaitable[float]]]:
        """Name -> fault."""
        kinds: dict[str, Callable[[], Awaitable[float]]] = {
            "server_kill": self._kill_server,
            "server_stop": self._stop_server,
            "server_freeze": self._freeze_server,
            "postgres_kill": lambda: self._end_postgres(signal.SIGKILL),
            "postgres_immediate": lambda: self._end_postgres(signal.SIGQUIT),
            "postgres_fast": lambda: self._end_postgres(signal.SIGINT),
            "listeners_cut": self._cut_listeners,
            "connections_cut": self._cut_all,
            "server_and_postgres_kill": self._kill_both,
        }
        if self.fleet.workers > 1:
            kinds["worker_kill"] = self._kill_worker
        if self.valkey is not None:
            kinds["valkey_kill"] = self._kill_valkey
            del kinds["listeners_cut"]  # nobody listens there
        return kinds

    def _down_seconds(self) -> float:
        return self.run.dice.uniform(*DOWN_SECONDS)

    def _victim(self) -> Server:
        return self.run.dice.choice(self.fleet.servers[:-1])

    async def _kill_server(self) -> float:
        server, seconds = self._victim(), self._down_seconds()
        await self.fleet.kill(server)
        await self.run.pause(seconds)
        since = time.monotonic()
        await self.fleet.start(server)
        return since

    async def _stop_server(self) -> float:
        server = self._victim()
        await self.fleet.stop(server)
        since = time.monotonic()
        await self.fleet.start(server)
        return since

    async def _freeze_server(self) -> float:
        await self.fleet.freeze(self.run.dice.choice(self.fleet.servers), self.run.dice.uniform(*FROZEN_SECONDS))
        return time.monotonic()

    async def _kill_worker(self) -> float:
        since = time.monotonic()
        await self.fleet.kill_worker(self._victim())
        return since

    async def _end_postgres(self, number: int) -> float:
        is_long = self.run.dice.random() < LONG_DOWN_SHARE
        seconds = self.run.dice.uniform(*LONG_DOWN_SECONDS) if is_long else self._down_seconds()
        self.run.database_left()
        await self.postgres.end(number)
        await self.run.pause(seconds)
        since = time.monotonic()
        await self.postgres.restart()
        self.run.database_is_back()
        return since

    async def _cut_listeners(self) -> float:
        async with self.postgres.owner() as owner:
            self.run.tally["listeners cut"] += len(await owner.fetch(_LISTENERS))
        return time.monotonic()

    async def _cut_all(self) -> float:
        self.run.database_left()
        async with self.postgres.owner() as owner:
            self.run.tally["connections cut"] += len(await owner.fetch(_ALL))
        self.run.database_is_back()
        return time.monotonic()

    async def _kill_both(self) -> float:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._kill_server()), group.create_task(self._end_postgres(signal.SIGKILL))]
        return max(task.result() for task in tasks)

    async def _kill_valkey(self) -> float:
        assert self.valkey is not None
        seconds = self._down_seconds()
        await self.valkey.kill()
        await self.run.pause(seconds)
        since = time.monotonic()
        await self.valkey.start()
        return since
