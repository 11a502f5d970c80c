"""Who may serve one database beside whom."""

import itertools
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from rustygpt.database.process_lock import AnotherProcess, ProcessLock
from rustygpt.settings import DatabaseSettings
from tests.assistant.exchange import until

KINDS = ("inprocess", "postgres", "redis")


@pytest.fixture
async def locks(dsn: str) -> AsyncIterator[Callable[[str], ProcessLock]]:
    """Make process locks for one database; all are let go at the end."""
    made: list[ProcessLock] = []

    def make(bus: str) -> ProcessLock:
        made.append(ProcessLock(dsn, DatabaseSettings(), bus=bus))
        return made[-1]

    yield make
    for lock in made:
        await lock.close()


@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)))
async def test_processes_that_cannot_hear_each_other(locks: Callable[[str], ProcessLock], first: str, second: str) -> None:
    """A second process may start if both have the same bus between processes; else it is refused by name, until the first is gone."""
    held, other = locks(first), locks(second)
    await held.open()
    if first == second != "inprocess":
        await other.open(deadline_seconds=0)
        await locks(second).open(deadline_seconds=0)
        return
    with pytest.raises(AnotherProcess, match=rf'bus\.kind = "{first}"'):
        await other.open(deadline_seconds=0)
    assert not other.is_held
    await held.close()
    await other.open()
    assert other.is_held


async def test_lost_lock_is_taken_again(locks: Callable[[str], ProcessLock], owner: asyncpg.Connection) -> None:
    """A lock whose connection PostgreSQL ended is not held, and a newcomer with another bus may come in between."""
    lock = locks("inprocess")
    await lock.open()
    await owner.fetch(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = "
        "(select oid from pg_database where datname = current_database())"
    )

    async def is_lost() -> bool:
        return not lock.is_held

    await until(is_lost)
    await locks("redis").open()
    with pytest.raises(AnotherProcess, match=r'bus\.kind = "redis"'):
        await lock.open(deadline_seconds=0)
