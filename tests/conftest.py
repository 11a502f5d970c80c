"""Fixtures that every test may use: a real PostgreSQL, and a fresh database per test cloned from a migrated template."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import hypothesis
import pytest

from rustygpt.database.embedded import EmbeddedPostgres
from rustygpt.database.migrate import migrate
from rustygpt.database.pool import Database
from rustygpt.settings import DatabaseSettings
from tests.contract import examine_answer, examine_event
from tests.person import Person, StreamReader
from tests.site import Site, serving, settings_for

SERVER_VARIABLE = "RUSTYGPT_TEST_DATABASE_URL"
TEMPLATE = f"rustygpt_template_{os.getpid()}"
_numbers = itertools.count(1)

# Examples that take long, or are long in the making, are no fault of the code where other processes want the processor too.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

Person.examine_answer = staticmethod(examine_answer)
StreamReader.examine_event = staticmethod(examine_event)


def with_database(dsn: str, name: str) -> str:
    """Return *dsn* with another database's name."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def postgres_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server for the whole run: $RUSTYGPT_TEST_DATABASE_URL (a superuser), else our own embedded one."""
    if given := os.environ.get(SERVER_VARIABLE):
        yield given
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("cluster"), start_seconds=60)
    dsn = server.start()
    try:
        yield dsn
    finally:
        server.stop()


@pytest.fixture(scope="session")
def template_dsn(postgres_dsn: str) -> Iterator[str]:
    """A migrated database that is only ever copied."""
    asyncio.run(_execute(postgres_dsn, f"create database {TEMPLATE}"))
    asyncio.run(_migrate_only(with_database(postgres_dsn, TEMPLATE)))
    yield postgres_dsn
    asyncio.run(_execute(postgres_dsn, f"drop database {TEMPLATE} with (force)"))


@pytest.fixture
def dsn(template_dsn: str) -> Iterator[str]:
    """The DSN of a fresh, migrated database; its login role is the owner, so a test can look at tables."""
    name = f"rustygpt_test_{os.getpid()}_{next(_numbers)}"
    asyncio.run(_execute(template_dsn, f"create database {name} template {TEMPLATE} strategy file_copy"))
    yield with_database(template_dsn, name)
    asyncio.run(_execute(template_dsn, f"drop database {name} with (force)"))


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """The application's own view of a fresh database: procedures only."""
    opened = Database(dsn, DatabaseSettings())
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def owner(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The owner's connection to the same database, to look at tables and to move clocks."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder of a server process."""
    return tmp_path / "data"


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate_only(dsn: str) -> None:
    await migrate(dsn)


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The application on a real socket, with the demo model as fast as possible."""
    async with serving(settings_for(data_dir), dsn) as served:
        yield served


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Person]:
    """The first administrator."""
    async with Person(site.url) as person:
        yield await person.set_up("Ada")


@pytest.fixture
async def bob(site: Site, ada: Person) -> AsyncIterator[Person]:
    """A second user."""
    async with Person(site.url) as person:
        yield await person.register("Bob")
