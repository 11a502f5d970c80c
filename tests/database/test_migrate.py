"""The ledger: whole scripts only, once, in order, whoever else starts at the same time."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from rustygpt.database.migrate import SchemaError, migrate, status
from rustygpt.database.pool import Database
from rustygpt.database.readiness import missing_scripts
from rustygpt.database.scripts import Script, read_scripts
from tests.conftest import with_database

_numbers = itertools.count(1)


@pytest.fixture
async def empty_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """A database without our schema."""
    name = f"rustygpt_empty_{next(_numbers)}"
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(f"create database {name}")
    yield with_database(postgres_dsn, name)
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()


async def test_processes_that_start_at_once_apply_each_script_once(empty_dsn: str) -> None:
    """Of eight racing starts one applies everything and seven nothing."""
    reports = await asyncio.gather(*(migrate(empty_dsn) for _ in range(8)))
    assert sorted(len(report.applied) for report in reports) == [0] * 7 + [len(read_scripts())]
    assert len({report.epoch for report in reports}) == 1
    assert (await status(empty_dsn)).is_current


async def test_status_names_what_is_missing(empty_dsn: str) -> None:
    """An empty database lacks every script, by path."""
    found = await status(empty_dsn)
    assert found.missing == tuple(script.path for script in read_scripts())
    assert not found.is_current


async def test_readiness_names_a_missing_script(database: Database) -> None:
    """With the application's own rights, a script that was never applied is named."""
    extra = Script("procedures/new.sql", "procedure", "", "0")
    assert await missing_scripts(database, [*read_scripts(), extra]) == ["procedures/new.sql"]


async def test_changed_migration_is_refused(dsn: str) -> None:
    """An applied migration whose file changed stops the start and is named."""
    scripts = [dataclasses.replace(s, checksum="0" * 64) if s.path.startswith("migrations/0003") else s for s in read_scripts()]
    with pytest.raises(SchemaError, match="0003_conversations"):
        await migrate(dsn, scripts)


async def test_changed_procedure_is_applied_again(dsn: str) -> None:
    """A procedure whose file changed is applied again, alone."""
    scripts = [
        dataclasses.replace(s, text=s.text + "\n-- changed", checksum="1" * 64) if s.path == "procedures/process.sql" else s
        for s in read_scripts()
    ]
    assert [script.path for script in (await migrate(dsn, scripts)).applied] == ["procedures/process.sql"]


async def test_newer_ledger_is_refused(dsn: str, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A database that a newer version has migrated is not touched."""
    await owner.execute(
        "insert into rustygpt.schema_ledger (path, kind, checksum, app_version) values ('migrations/9999_x.sql', 'migration', '', '9.0')"
    )
    with pytest.raises(SchemaError, match="newer RustyGPT"):
        await migrate(dsn)


async def test_failing_script_leaves_no_half(empty_dsn: str) -> None:
    """A script that fails in its middle leaves nothing of itself, and what came before stays."""
    bad = Script("migrations/0007_bad.sql", "migration", "create table rustygpt.half (); select 1 / 0;", "2" * 64)
    scripts = [*read_scripts(), bad]
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_dsn, scripts)
    connection = await asyncpg.connect(empty_dsn)
    assert await connection.fetchval("select to_regclass('rustygpt.half')") is None
    await connection.close()
    missing = (await status(empty_dsn, scripts)).missing
    assert "migrations/0006_generations.sql" not in missing
    assert "migrations/0007_bad.sql" in missing


async def test_broken_function_body_is_found_at_once(dsn: str) -> None:
    """A function that names a table which does not exist stops the start, though its creation alone would pass."""
    text = "create function rustygpt.broken() returns bigint language sql as $$ select count(*) from rustygpt.nowhere $$;"
    broken = Script("procedures/zz.sql", "procedure", text, "3" * 64)
    for _ in range(2):
        with pytest.raises(asyncpg.UndefinedTableError):
            await migrate(dsn, [*read_scripts(), broken])
    assert (await status(dsn, [*read_scripts(), broken])).missing == ("procedures/zz.sql",)


async def test_restored_backup_begins_a_new_epoch(dsn: str, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A log that another cluster wrote gets a new epoch at the start; the same cluster keeps it."""
    first = (await migrate(dsn)).epoch
    assert (await migrate(dsn)).epoch == first
    await owner.execute("update rustygpt.event_head set system_identifier = 1")
    second = (await migrate(dsn)).epoch
    assert second != first
    assert (await migrate(dsn)).epoch == second
