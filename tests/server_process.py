"""`rustygpt serve` as a process of its own, started, killed and started again like an operator's."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from pathlib import Path

START_SECONDS = 120.0
STOP_SECONDS = 90.0
"""For machines under load; nothing waits that long when all is well."""
PORTS = range(20_000, 30_000)
"""Below those that Linux gives to clients (from 32 768 on): while a server restarts, no connection of a reader can take its port."""
CHEAP_PASSWORDS = {
    "RUSTYGPT__AUTH__ARGON2_TIME_COST": "1",
    "RUSTYGPT__AUTH__ARGON2_MEMORY_KIB": "8",
    "RUSTYGPT__AUTH__SIGNUP": "true",
}


def free_port() -> int:
    """Return a TCP port of loopback that nobody uses now, and that the system gives to nobody."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("no port is free")


class ServerProcess:
    """A server on a fixed port and data folder; `start` after `kill` continues where it was."""

    def __init__(self, data_dir: Path, *, environment: dict[str, str] | None = None, log: Path | None = None) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log or data_dir.with_name(f"{data_dir.name}.log")
        self._environment = {**CHEAP_PASSWORDS, "OLLAMA_BASE_URL": "http://127.0.0.1:9", **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start, and wait until it says that it is ready. Raises RuntimeError with its log when it ends instead."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUSTYGPT", "DATABASE_URL", "OPENAI"))}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "rustygpt", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir)),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**kept, **self._environment, "LOG_FORMAT": "json"},
                cwd=self.data_dir.parent,
            )
        try:
            async with asyncio.timeout(START_SECONDS):
                if await self._is_ready(self._process):
                    return
        except BaseException:
            await self._end(self._process)
            raise
        raise RuntimeError(f"the server ended with {await self._reap()}:\n{self.log.read_text()[-4_000:]}")

    async def _is_ready(self, process: asyncio.subprocess.Process) -> bool:
        """Read what it says until it is ready; False when it ends before."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            with self.log.open("ab") as log:
                log.write(line)
            if b"is ready on" in line:
                return True
        return False

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._reap()

    async def stop(self) -> int:
        """SIGTERM; return the exit code, also of a process that has ended already, and 0 of one that was never started."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._reap()

    async def ended(self) -> int:
        """Wait for an end that nobody asked for; return the exit code."""
        return await self._reap()

    async def _reap(self) -> int:
        assert self._process is not None
        try:
            async with asyncio.timeout(STOP_SECONDS):
                # Nothing is written after the banner; reading on lets the process end without a full pipe.
                await self._process.communicate()
        except BaseException:
            await self._end(self._process)
            raise
        return int(self._process.returncode or 0)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Leave nothing behind where a test has failed."""
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
