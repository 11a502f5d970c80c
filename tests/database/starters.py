"""Processes that start the embedded PostgreSQL, and what a test looks at: the report, the server's processes, the folders above."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

STARTER = Path(__file__).with_name("starter.py")
REPOSITORY = STARTER.parents[2]
START_SECONDS = 120.0
DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""
STRANGER = 54_321
"""A user id without an entry in /etc/passwd, as in `docker run --user 54321`."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; run the tests as root for this one")


@dataclass
class Starter:
    """A running starter process and what it reported."""

    process: subprocess.Popen[str]
    dsn: str = ""
    seconds: float = 0.0
    is_joined: bool = False
    error: str = ""

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)

    def terminate(self) -> None:
        self.process.terminate()
        assert self.process.wait(DEADLINE_SECONDS) == 0


Launch = Callable[..., subprocess.Popen[str]]
Start = Callable[..., Starter]


def report(process: subprocess.Popen[str]) -> Starter:
    """Wait for the starter's line. Raises ValueError when it ends without one, as it does when it takes too long and is killed."""
    assert process.stdout is not None
    # A read of a pipe has no deadline of its own.
    deadline = threading.Timer(START_SECONDS + DEADLINE_SECONDS, process.kill)
    deadline.start()
    try:
        return Starter(process, **json.loads(process.stdout.readline()))
    finally:
        deadline.cancel()


def ask(dsn: str, query: str) -> object:
    """Run one query on a new connection; return its first value."""

    async def connect_and_ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=DEADLINE_SECONDS)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(connect_and_ask())


def wait_for(fact: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for a fact with a deadline."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "the fact did not come true in time"
        os.sched_yield()


def server_processes(data_dir: Path) -> list[psutil.Process]:
    """The server of `data_dir` and its children."""
    pid = int((data_dir / "postgres/cluster/postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def server_users(data_dir: Path) -> set[int]:
    """As whom the server of `data_dir` and its children run; some of these come and go."""
    users: set[int] = set()
    for process in server_processes(data_dir):
        with suppress(psutil.NoSuchProcess):
            users.add(process.uids().real)
    return users


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended; a zombie that its new parent has not reaped yet has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def modes_above(*paths: Path) -> dict[str, tuple[int, int, int]]:
    """Mode and owner of every folder above the paths, up to /."""
    folders = {folder for path in paths for folder in path.parents}
    return {str(folder): (status.st_mode, status.st_uid, status.st_gid) for folder in folders for status in [folder.stat()]}
