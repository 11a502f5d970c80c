"""`serve --workers N` as seen from outside: which process is which, who has which connection, what was logged."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.assistant.exchange import until
from tests.person import DEADLINE_SECONDS, Person, StreamReader
from tests.server_process import ServerProcess
from tests.streaming.bus.pair import at

SETTINGS = {
    "RUSTYGPT__SERVER__WORKERS": "2",
    "RUSTYGPT__ASSISTANT__LLAMA_CPP__ENABLED": "false",
    "RUSTYGPT__ASSISTANT__SHUTDOWN_GRACE_SECONDS": "0",
    "RUSTYGPT__SSE__DRAIN_SECONDS": "0",
}


class ManyWorkers(ServerProcess):
    """The parent as a process of its own; temporary files go into a folder that nobody else uses."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self._writers: list[asyncio.StreamWriter] = []
        super().__init__(folder / "data", environment={**SETTINGS, "TMPDIR": str(self.temporary), **settings})

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What was logged under a name."""
        lines = self.log.read_text().rpartition("\n")[0].splitlines() if self.log.exists() else []
        return [line for line in map(json.loads, (text for text in lines if text.startswith("{"))) if line["event"] == event]

    async def until_logged(self, event: str, count: int = 1) -> None:
        """Wait for *count* lines."""

        async def is_logged() -> bool:
            return len(self.logged(event)) >= count

        await until(is_logged)

    @property
    def workers(self) -> dict[int, int]:
        """The process ids of the workers by their numbers, as last told."""
        return {line["worker"]: line["pid"] for line in self.logged("worker_ready")}

    def family(self) -> list[psutil.Process]:
        """Everything that the parent started, and what that started."""
        return psutil.Process(self.pid).children(recursive=True)

    def family_so_far(self) -> list[psutil.Process]:
        """The same while it starts or has ended: what there is."""
        try:
            return self.family() if self._process is not None else []
        except psutil.NoSuchProcess:
            return []

    def ports_at(self, pid: int) -> set[int]:
        """The clients' ports of the connections that a process has."""
        connections = psutil.Process(pid).net_connections("tcp")
        return {each.raddr.port for each in connections if each.raddr and each.laddr.port == self.port}

    def worker_with(self, port: int) -> int | None:
        """The process id of the worker that has the connection of a client's port; None while none has taken it."""
        return next((pid for pid in self.workers.values() if port in self.ports_at(pid)), None)

    def worker_calling(self, port: int) -> int:
        """The process id of the worker that has a connection to a server of ours."""
        (found,) = (
            pid
            for pid in self.workers.values()
            if any(each.raddr and each.raddr.port == port for each in psutil.Process(pid).net_connections("tcp"))
        )
        return found

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, until the end of the test."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader, writer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """Open a connection, until the end of the test; return it with the process id of the worker that has it."""
        reader, writer = await self.dial()
        port = writer.get_extra_info("sockname")[1]

        async def is_taken() -> bool:
            return self.worker_with(port) is not None

        await until(is_taken)
        return reader, writer, self.worker_with(port) or 0

    async def close(self) -> None:
        """Close the connections, and end the server where it still runs."""
        for writer in self._writers:
            writer.close()
        if self._process is not None:
            await self.stop()

    @asynccontextmanager
    async def stream_at(self, pid: int, person: Person, path: str, **options: Any) -> AsyncIterator[StreamReader]:
        """Read a stream whose connection a certain worker has."""
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            before = {each: self.ports_at(each) for each in self.workers.values()}
            async with at(self.url, person) as there, there.stream(path, **options) as reader:
                await reader.until_type("stream.ready")
                if [each for each, ports in before.items() if self.ports_at(each) - ports] == [pid]:
                    yield reader
                    return
            while (ballast := await self.connect())[2] == pid:  # until another has one more, so that this one is next
                ballast[1].close()
        raise TimeoutError(f"process {pid} got no stream")

    async def metric(self, series: str) -> float:
        """One series of a scrape over a fresh connection."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=DEADLINE_SECONDS) as client:
            return value_in((await client.get("/metrics")).text, series)


def value_in(text: str, series: str) -> float:
    """The value of one series in a scrape."""
    (value,) = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(value)


async def until_gone(processes: list[psutil.Process]) -> None:
    """Wait until none of the processes runs any more; one that nobody has waited for yet does not."""

    async def are_gone() -> bool:
        return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]

    await until(are_gone)


def refuses(port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
