"""What can be known of a server process from outside: its metrics, its files, its memory, its sockets."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.server_process import ServerProcess


async def until(fact: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> None:
    """Wait until *fact* is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await fact():  # noqa: ASYNC110 - nobody signals it
            await asyncio.sleep(0.02)


async def metric(url: str, series: str, *, absent: float | None = None) -> float:
    """The sum over all series of a server's metrics that begin like this; *absent* where there is none, else that is a failure."""
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        text = (await client.get("/metrics")).text
    found = re.findall(rf"^{re.escape(series)}\S* (\S+)$", text, re.MULTILINE)
    if not found and absent is not None:
        return absent
    assert found, f"no {series}"
    return sum(map(float, found))


async def subscribers(server: ServerProcess) -> float:
    """How many streams are open at a server, as its gauge says."""
    return await metric(server.url, "sse_subscribers")


def descriptors(pid: int) -> int:
    """How many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_bytes(pid: int) -> int:
    """A process's resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP during the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def logged(server: ServerProcess, event: str) -> list[dict[str, Any]]:
    """What a server logged under a name."""
    lines = server.log.read_text().rpartition("\n")[0].splitlines()
    return [line for line in map(json.loads, filter(_is_json, lines)) if line.get("event") == event]


def _is_json(line: str) -> bool:
    return line.startswith("{")


async def seconds_until(fact: Callable[[], Awaitable[Any]], seconds: float = 60.0) -> float:
    """Wait until *fact* is true; return how long that took."""
    began = time.monotonic()
    await until(fact, seconds)
    return time.monotonic() - began
