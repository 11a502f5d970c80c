"""A database for the length of one command: DATABASE_URL, else the private server of the data folder, started when nobody runs it.

Whatever goes wrong while connecting is told as one line with the address and the remedy, never with the password.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.database.cluster import read_major
from rustygpt.database.embedded import EmbeddedPostgres
from rustygpt.database.migrate import status
from rustygpt.database.pool import Database
from rustygpt.database.supervisor import Supervisor
from rustygpt.observability.logging import configure_logging

if TYPE_CHECKING:
    from rustygpt.settings import LoggingSettings, Settings
    from rustygpt.signals import Announcer
    from rustygpt.streaming.bus.base import Bus

OTHER_CONNECTIONS = 2
"""Of each process beside its pool: the process lock's and the bus's."""
COMMAND_CONNECTIONS = 10
"""For commands beside the server, and PostgreSQL's own reserve."""
_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


def quiet_logging(settings: "LoggingSettings") -> None:
    """Log only warnings, unless debugging: a command's own output is what was asked for."""
    level = "debug" if settings.level == "debug" else "warning"
    configure_logging(settings.model_copy(update={"level": level}))


@contextmanager
def database_server(settings: "Settings") -> Iterator[str]:
    """Give the DSN of a running server; the private one is stopped afterwards if it was started here.

    To be entered on the main thread, outside the event loop. Raises EmbeddedPostgresError.
    """
    if url := settings.database.url.get_secret_value():
        yield url
        return
    server = EmbeddedPostgres(settings.data_dir, start_seconds=settings.database.embedded_start_seconds, is_command=True)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def lasting_server(settings: "Settings") -> Iterator[tuple[str, Callable[[], None]]]:
    """Give the DSN as `database_server` does, and the check that keeps the private server alive (Supervisor.check)."""
    if url := settings.database.url.get_secret_value():
        yield url, lambda: None
        return
    start_seconds = settings.database.embedded_start_seconds
    connections = settings.server.workers * (settings.database.pool_max + OTHER_CONNECTIONS) + COMMAND_CONNECTIONS
    server = EmbeddedPostgres(settings.data_dir, start_seconds=start_seconds, connections=connections)
    try:
        yield server.start(), Supervisor(server, start_seconds=start_seconds).check
    finally:
        server.stop()


def require_private_database(settings: "Settings") -> None:
    """Refuse to make a database only to say that it is empty. Raises CommandError."""
    if not settings.database.url.get_secret_value() and read_major(settings.data_dir / "postgres" / "cluster") is None:
        raise CommandError(
            f"there is no database in {settings.data_dir} yet",
            "`rustygpt serve` makes it, or `rustygpt db migrate`. Another folder? --data-dir.",
            ExitCode.DATABASE,
        )


@contextmanager
def explained(settings: "Settings", dsn: str) -> Iterator[None]:
    """Turn the errors of connecting to *dsn* into a CommandError."""
    try:
        yield
    except (OSError, asyncpg.PostgresConnectionError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # a file's trouble, not the network's
            raise
        reason = str(error) or type(error).__name__
        raise CommandError(
            f"the database at {place(settings, dsn)} cannot be reached: {reason}",
            "Is PostgreSQL running there? Check database.url (DATABASE_URL).",
            ExitCode.DATABASE,
        ) from error
    except _REFUSALS as error:
        raise CommandError(
            f"the database at {place(settings, dsn)} refused: {error}",
            "Check the name, user and password in database.url (DATABASE_URL).",
            ExitCode.DATABASE,
        ) from error


@asynccontextmanager
async def open_database(settings: "Settings", dsn: str) -> AsyncIterator[Database]:
    """Give an open pool on a database whose schema is this version's. Raises CommandError."""
    with explained(settings, dsn):
        found = await status(dsn, connect_seconds=settings.database.connect_timeout_seconds)
    if not found.is_current:
        raise CommandError(
            "the database's schema is not the one of this version", "Run `rustygpt db migrate` first.", ExitCode.DATABASE
        )
    database = Database(dsn, settings.database)
    with explained(settings, dsn):
        await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def announcing(settings: "Settings", database: Database) -> AsyncIterator["Announcer"]:
    """Give the bus of the processes that serve this database, to tell them something; it is sent at the end of the block.

    A lone process listens to nobody: it finds out by itself. Where the server was started with --workers this command does not know
    of them, so PostgreSQL is told in any case but Redis: where nobody listens it costs nothing.
    """
    from rustygpt.observability.metrics import Metrics
    from rustygpt.streaming.bus.postgres import PostgresBus

    bus: Bus
    if settings.bus.kind == "redis":
        from rustygpt.streaming.bus.redis import RedisBus

        bus = RedisBus(settings.bus.url, database, Metrics(), str)
    else:
        bus = PostgresBus("", settings.database, database, Metrics(), str)
    try:
        yield bus
    finally:
        await bus.close()


def place(settings: "Settings", dsn: str) -> str:
    """Say where a database is, without user and password."""
    if not settings.database.url.get_secret_value():
        return str(settings.data_dir / "postgres")
    try:
        parts = urlsplit(dsn)
        return f"{parts.hostname or 'localhost'}:{parts.port or 5432}{Path(parts.path)}"
    except ValueError:
        return "database.url"
