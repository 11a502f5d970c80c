"""Procedures only, as a fact: the application's connections cannot touch a table."""

import asyncpg
import pytest

from rustygpt.database.pool import Database


async def _refused(database: Database, statement: str) -> str:
    with pytest.raises(asyncpg.PostgresError) as raised:
        await database._fetch(statement, ())
    return raised.value.sqlstate or ""


async def test_direct_select_is_refused(database: Database, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A SELECT, an INSERT and a private function fail with 42501 on every table and function."""
    tables = await owner.fetch("select tablename from pg_tables where schemaname = 'rustygpt'")
    assert len(tables) > 10
    for row in tables:
        assert await _refused(database, f"select * from rustygpt.{row['tablename']}") == "42501"
    assert await _refused(database, "delete from rustygpt.messages") == "42501"
    assert await _refused(database, "select rustygpt.new_uuid()") == "42501"
    assert await _refused(database, "create table rustygpt_api.mine ()") == "42501"


async def test_the_role_owns_nothing(database: Database, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Connections run as rustygpt_app, which cannot log in and owns no object."""
    assert [row[0] for row in await database._fetch("select current_user", ())] == ["rustygpt_app"]
    assert await owner.fetchval("select rolcanlogin from pg_roles where rolname = 'rustygpt_app'") is False
    owned = "select count(*) from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = 'rustygpt_app'"
    assert await owner.fetchval(owned) == 0
