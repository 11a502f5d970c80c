"""Two processes on one database: the second is refused while the first lives, and takes its place when it has gone."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from tests.person import DEADLINE_SECONDS
from tests.server_process import START_SECONDS, ServerProcess

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


def logged(server: ServerProcess, event: str) -> bool:
    """Whether a server has logged *event*."""
    text = server.log.read_text() if server.log.exists() else ""
    lines = [json.loads(line) for line in text.rpartition("\n")[0].splitlines() if line.startswith("{")]
    return any(line["event"] == event for line in lines)


async def test_second_process_is_refused_soon(make_server: MakeServer) -> None:
    """A second `serve` on the database of a living one ends by itself and says why; the first goes on."""
    first, second = make_server("first"), make_server("second")
    await first.start()
    with pytest.raises(RuntimeError, match="the server ended with 3") as refused:
        await second.start()
    assert logged(second, "database_is_held")
    assert re.search(r"error: another RustyGPT process.* serves this database; stop it first", str(refused.value))
    assert httpx2.get(f"{first.url}/readyz", timeout=DEADLINE_SECONDS).status_code == 200


async def test_second_process_takes_the_place_of_one_that_dies(make_server: MakeServer) -> None:
    """A process that finds the database held serves as soon as the holder is killed."""
    first, second = make_server("first"), make_server("second")
    await first.start()
    async with asyncio.timeout(2 * START_SECONDS), asyncio.TaskGroup() as group:
        starting = group.create_task(second.start())
        while not logged(second, "database_is_held") and not starting.done():  # noqa: ASYNC110  # a file has no event to wait for
            await asyncio.sleep(0.01)
        await first.kill()
    assert httpx2.get(f"{second.url}/healthz", timeout=DEADLINE_SECONDS).status_code == 200
