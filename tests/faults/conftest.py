"""Parts of the faults: real server processes, a PostgreSQL and a Valkey of the tests' own, people who know each process."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import with_database
from tests.faults.cluster import OwnPostgres
from tests.person import Person
from tests.server_process import ServerProcess
from tests.streaming.bus.conftest import bus, shared_valkey, upstream, valkey
from tests.streaming.bus.pair import SECRET_KEY, at

__all__ = ["bus", "shared_valkey", "upstream", "valkey"]

MakeServer = Callable[..., ServerProcess]
Measured = Callable[[str], None]
QUICK = {
    "RUSTYGPT_SECRET_KEY": SECRET_KEY,
    "RUSTYGPT__ASSISTANT__LLAMA_CPP__ENABLED": "false",
    "RUSTYGPT__ASSISTANT__SHUTDOWN_GRACE_SECONDS": "0",
    "RUSTYGPT__SSE__DRAIN_SECONDS": "0",
    "RUSTYGPT__SSE__MAX_STREAMS_PER_USER": "100",
}
"""What every server of these tests is started with, unless the test says otherwise."""


_measured: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures: a bound that holds says little about how far away it is."""
    if _measured:
        terminalreporter.section("faults: what was measured")
        for line in _measured:
            terminalreporter.write_line(line)


@pytest.fixture
def measured() -> Callable[[str], None]:
    """Takes one line for the summary."""
    return _measured.append


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder start server processes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture
async def make_server(tmp_path: Path) -> AsyncIterator[MakeServer]:
    """Make servers by name: `make_server("a", dsn, SSE__HEARTBEAT_SECONDS=1)`; all are ended after the test."""
    made: list[ServerProcess] = []

    def make(name: str, dsn: str, *, environment: dict[str, str] | None = None, **settings: object) -> ServerProcess:
        (tmp_path / name).mkdir()
        given = {f"RUSTYGPT__{key}": str(value) for key, value in settings.items()}
        server = ServerProcess(tmp_path / name, environment={"DATABASE_URL": dsn, **QUICK, **given, **(environment or {})})
        made.append(server)
        return server

    yield make
    for server in made:
        if server._process is not None:
            await server.stop()


class People:
    """Persons whose connections are closed after the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def set_up(self, server: ServerProcess, name: str = "Ada") -> Person:
        """The first administrator of a server."""
        return await self._new(server.url).set_up(name)

    async def register(self, server: ServerProcess, name: str) -> Person:
        """One more user."""
        return await self._new(server.url).register(name)

    def at(self, url: str, person: Person) -> Person:
        """The same person, with the same session, at another address."""
        other = at(url, person)
        self._stack.push_async_callback(other.close)
        return other

    def _new(self, url: str) -> Person:
        person = Person(url)
        self._stack.push_async_callback(person.close)
        return person


@pytest.fixture
async def people() -> AsyncIterator[People]:
    """Makes persons."""
    async with AsyncExitStack() as stack:
        yield People(stack)


@pytest.fixture(scope="session")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    """A PostgreSQL that tests of this folder may stop and start; each leaves it running."""
    postgres = OwnPostgres(tmp_path_factory.mktemp("own"))
    postgres.start()
    yield postgres
    postgres.close()


@pytest.fixture
async def own_dsn(own_postgres: OwnPostgres, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """An empty database in it."""
    name = f"fault_{abs(hash(request.node.nodeid)) % 10**12}"
    await execute(own_postgres.dsn, f"create database {name}")
    yield with_database(own_postgres.dsn, name)
    await execute(own_postgres.dsn, f"drop database {name} with (force)")


async def execute(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def bus_of(bus: dict[str, str]) -> dict[str, dict[str, str]]:
    """`make_server`'s argument for a bus."""
    return {"environment": {"RUSTYGPT__BUS__KIND": bus["kind"], "REDIS_URL": bus.get("url", "")}}
