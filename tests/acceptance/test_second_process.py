"""Two processes on one database: the second is refused while the first lives, and takes its place when it has gone."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import httpx2
import pytest

from tests.server_process import ServerProcess

pytestmark = pytest.mark.acceptance

MakeServer = Callable[[str], ServerProcess]


@pytest.fixture
async def make_server(dsn: str, tmp_path: Path) -> AsyncIterator[MakeServer]:
    """Make servers on one database, each with a data folder of its own; all are stopped at the end."""
    made: list[ServerProcess] = []

    def make(name: str) -> ServerProcess:
        made.append(ServerProcess(tmp_path / name, environment={"DATABASE_URL": dsn}))
        return made[-1]

    yield make
    for server in made:
        await server.stop()


def logged(server: ServerProcess, event: str) -> float | None:
    """When a server first logged *event*, in seconds of the epoch."""
    text = server.log.read_text() if server.log.exists() else ""
    lines = [json.loads(line) for line in text.rpartition("\n")[0].splitlines() if line.startswith("{")]
    return next((datetime.fromisoformat(line["at"]).timestamp() for line in lines if line["event"] == event), None)


async def test_second_process_is_refused_soon(make_server: MakeServer) -> None:
    """A second `serve` on the database of a living one ends within seconds and says why; the first goes on."""
    first, second = make_server("first"), make_server("second")
    await first.start()
    with pytest.raises(RuntimeError, match="the server ended with 3") as refused:
        await second.start()
    began_at = logged(second, "database_is_held")
    assert began_at is not None
    assert time.time() - began_at < 6  # two, and the time that a busy machine takes to end a process
    assert re.search(r"error: another RustyGPT process.* serves this database; stop it first", str(refused.value))
    assert httpx2.get(f"{first.url}/readyz").status_code == 200


async def test_second_process_takes_the_place_of_one_that_dies(make_server: MakeServer) -> None:
    """A process that finds the database held serves as soon as the holder is killed."""
    first, second = make_server("first"), make_server("second")
    await first.start()
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        starting = group.create_task(second.start())
        while logged(second, "database_is_held") is None and not starting.done():  # noqa: ASYNC110  # a file has no event to wait for
            await asyncio.sleep(0.01)
        await first.kill()
    assert httpx2.get(f"{second.url}/healthz").status_code == 200
