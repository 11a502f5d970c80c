"""`rustygpt serve` as a process of its own, started, killed and started again like an operator's."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 40.0
CHEAP_PASSWORDS = {
    "RUSTYGPT__AUTH__ARGON2_TIME_COST": "1",
    "RUSTYGPT__AUTH__ARGON2_MEMORY_KIB": "8",
    "RUSTYGPT__AUTH__SIGNUP": "true",
}


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


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
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := await self._process.stdout.readline():
                with self.log.open("ab") as log:
                    log.write(line)
                if b"is ready on" in line:
                    return
        raise RuntimeError(f"the server ended with {await self._process.wait()}:\n{self.log.read_text()[-4_000:]}")

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._reap()

    async def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self._reap()

    async def ended(self) -> int:
        """Wait for an end that nobody asked for; return the exit code."""
        return await self._reap()

    async def _reap(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(STOP_SECONDS):
            # Nothing is written after the banner; reading on lets the process end without a full pipe.
            await self._process.communicate()
        return int(self._process.returncode or 0)
