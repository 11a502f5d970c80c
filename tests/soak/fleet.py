"""The server processes: each on a port and data folder of its own, all on one database, killed, stopped, frozen and started again.

A server that cannot start (its database is away) is started again, as a supervisor would.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from tests.cli.command import REPOSITORY
from tests.server_process import ServerProcess
from tests.soak.run import Run

SECRET_KEY = "the same on every process, 32 characters"
START_SECONDS = 90.0
ANSWER_SECONDS = 2.0
DRAIN_SECONDS = 3
GRACE_SECONDS = 2
HEARTBEAT_SECONDS = 3
LEASE_SECONDS = 6
SETTINGS = {
    "PYTHONPATH": str(REPOSITORY),
    "RUSTYGPT_SECRET_KEY": SECRET_KEY,
    "RUSTYGPT__ASSISTANT__LLAMA_CPP__ENABLED": "false",
    "RUSTYGPT__ASSISTANT__LEASE_SECONDS": str(LEASE_SECONDS),
    "RUSTYGPT__ASSISTANT__LEASE_HEARTBEAT_SECONDS": "2",
    "RUSTYGPT__ASSISTANT__SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
    "RUSTYGPT__DATABASE__POOL_MAX": "8",
    "RUSTYGPT__SSE__DRAIN_SECONDS": str(DRAIN_SECONDS),
    "RUSTYGPT__SSE__HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
    # Small, so that minutes show what else takes hours: streams that end of old age, rings that are left, readers that are too far behind.
    "RUSTYGPT__SSE__MAX_LIFETIME_SECONDS": "90",
    "RUSTYGPT__SSE__RING_EVENTS": "200",
    "RUSTYGPT__SSE__CHANNEL_CAPACITY": "16",
    "RUSTYGPT__SSE__PERSISTENCE__MAX_EVENTS_PER_USER": "600",
}
_TROUBLE = re.compile(rb'"level": ?"(?:error|critical)"|Traceback')


@dataclass(frozen=True, slots=True)
class Weight:
    """What a server process weighs."""

    rss_bytes: int
    descriptors: int


@dataclass(slots=True)
class Server:
    """One server. *began* and *ended* are the weights of the process that runs now, soon after its start and last seen."""

    name: str
    process: ServerProcess
    began: Weight | None = None
    ended: Weight | None = None
    starts: int = 0
    peak_bytes: int = 0
    is_up: bool = False

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def url(self) -> str:
        return self.process.url

    def processes(self) -> list[psutil.Process]:
        """Return those that serve: the workers where there are any, else the one."""
        main = psutil.Process(self.process.pid)
        return main.children() or [main]

    def weigh(self) -> None:
        """Look at the processes now, unless one is just gone. Workers share pages, so their unique memory is what counts."""
        if not self.is_up:
            return
        try:
            found = self.processes()
            sizes = [each.memory_full_info().uss if len(found) > 1 else each.memory_info().rss for each in found]
            self.ended = Weight(sum(sizes), sum(each.num_fds() for each in found))
        except psutil.Error:
            return
        self.peak_bytes = max(self.peak_bytes, self.ended.rss_bytes)
        self.began = self.began or self.ended


@dataclass(slots=True)
class Fleet:
    """All servers."""

    run: Run
    servers: list[Server] = field(default_factory=list)
    workers: int = 1

    @classmethod
    def of(cls, run: Run, folder: Path, count: int, workers: int, environment: dict[str, str]) -> "Fleet":
        """Make *count* servers of so many workers each, none started."""
        servers = []
        for number in range(count):
            data_dir = folder / f"server{number}"
            data_dir.mkdir(parents=True)
            servers.append(
                Server(
                    f"server {number}",
                    ServerProcess(data_dir, environment={**SETTINGS, **environment, "RUSTYGPT__SERVER__WORKERS": str(workers)}),
                )
            )
        return cls(run, servers, workers)

    async def start_all(self) -> None:
        """Start every server, side by side."""
        async with asyncio.TaskGroup() as group:
            for server in self.servers:
                group.create_task(self.start(server, patience_seconds=0.0))

    async def start(self, server: Server, *, patience_seconds: float = START_SECONDS) -> None:
        """Start a server until it is ready, however often that takes within *patience_seconds*. Raises RuntimeError."""
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                await server.process.start()
                break
            except (RuntimeError, TimeoutError):
                self.run.tally["starts that failed"] += 1
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)
        server.starts += 1
        server.began, server.is_up = None, True

    async def kill(self, server: Server) -> None:
        """kill -9."""
        server.is_up = False
        await server.process.kill()

    async def stop(self, server: Server) -> None:
        """SIGTERM; the exit code must be 0."""
        try:
            code = await server.process.stop()
        except TimeoutError:
            self.run.blame("bad exit", server.name, 0, f"not gone {self.run.seconds:.1f} s into the soak, long after SIGTERM")
            await server.process.kill()
        else:
            if code != 0:
                self.run.blame(
                    "bad exit", server.name, 0, f"exit code {code} at {self.run.seconds:.1f} s; see {server.process.log}"
                )
        server.is_up = False

    async def freeze(self, server: Server, seconds: float) -> None:
        """SIGSTOP of a process that serves, for a while."""
        process = self.run.dice.choice(server.processes())
        process.suspend()
        try:
            await self.run.pause(seconds)
        finally:
            process.resume()

    async def kill_worker(self, server: Server) -> None:
        """kill -9 of one worker, and wait until it is gone; its parent starts another."""
        worker = self.run.dice.choice(server.processes())
        worker.kill()
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and await self.run.pause(0.02):
            pass
        while len(server.processes()) < self.workers and await self.run.pause(0.05):
            pass

    async def kill_all(self) -> None:
        """End whatever still runs, at once."""
        for server in self.servers:
            if server.process._process is not None and server.process._process.returncode is None:
                for process in [psutil.Process(server.process.pid), *server.processes()]:
                    process.resume()
                await server.process.kill()

    async def all_ready(self, client: httpx2.AsyncClient) -> bool:
        """Say whether every server's /readyz is 200."""
        for server in self.servers:
            try:
                answer = await client.get(f"{server.url}/readyz", timeout=ANSWER_SECONDS)
            except httpx2.HTTPError:
                return False
            if answer.status_code != 200:
                return False
        return True

    def trouble(self) -> list[str]:
        """Lines of all servers' logs that speak of a defect."""
        return [
            f"{server.name}: {line[:600].decode(errors='replace')}"
            for server in self.servers
            for line in server.process.log.read_bytes().splitlines()
            if _TROUBLE.search(line)
        ]
