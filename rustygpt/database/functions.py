"""The stored functions of a database, made to be those of the scripts: in one transaction, all or none.

`create or replace` never removes a function and cannot change its result or its arguments. So the scripts are rehearsed without the
functions that are there; what then differs, or is no longer defined, is dropped by its own name, never with what depends on it.
What does not differ keeps its identity, so that a call that another process has under way never misses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from rustygpt.database.scripts import Script

_DEFINED_BY_MIGRATION = re.compile(r"^create (?:or replace )?function (\w+\.\w+)", re.IGNORECASE | re.MULTILINE)

_LIST_FUNCTIONS = """
select p.oid::regprocedure::text as signature, format('%I.%I', n.nspname, p.proname) as name, p.xmin::text as written_by,
       concat_ws(' ', pg_get_function_arguments(p.oid), '->', pg_get_function_result(p.oid)) as shape,
       exists (select from pg_depend d where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
                 and d.classid <> 'pg_proc'::regclass and d.deptype in ('n', 'a')) as is_used
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('rustygpt', 'rustygpt_api') and not exists (
  select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
"""

_CHECK_BODIES = """
select case l.lanname when 'sql' then fmgr_sql_validator(p.oid) else plpgsql_validator(p.oid) end
from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace in ('rustygpt'::regnamespace, 'rustygpt_api'::regnamespace) and l.lanname in ('sql', 'plpgsql')
"""


@dataclass(frozen=True, slots=True)
class _Function:
    """A function as it stands. `is_used`: a constraint, an index, a default or a trigger calls it. `written_by`: a transaction."""

    signature: str
    name: str
    written_by: str
    shape: str
    is_used: bool


async def replace_functions(connection: asyncpg.Connection[asyncpg.Record], scripts: Sequence[Script]) -> None:
    """Make the functions of both schemas those of *scripts*: the migrations' base functions, and all procedures. In a transaction.

    Raises asyncpg's errors: of a script or a body that is wrong, and DependentObjectsStillExistError for a function that is no longer
    defined but used by a table.
    """
    base = {name for script in scripts if script.kind == "migration" for name in _DEFINED_BY_MIGRATION.findall(script.text)}
    procedures = [script for script in scripts if script.kind == "procedure"]
    # Functions may call functions of later files, so their bodies are checked when all are there.
    await connection.execute("set local check_function_bodies = off")
    before = [function for function in await _functions(connection) if function.name not in base]
    if before:
        await _drop(connection, await _find_outdated(connection, before, procedures))
    for script in procedures:
        await connection.execute(script.text)
    await connection.execute("set local check_function_bodies = on")
    await connection.execute("set local search_path = rustygpt, pg_temp")
    await connection.execute(_CHECK_BODIES)
    await connection.execute("select rustygpt.grant_access()")


async def _find_outdated(
    connection: asyncpg.Connection[asyncpg.Record], before: Sequence[_Function], procedures: Sequence[Script]
) -> list[_Function]:
    """Return which of *before* the scripts do not define, or not so. What the rehearsal did is undone."""
    rehearsal = connection.transaction()
    await rehearsal.start()
    try:
        # One that a table uses cannot go; `create or replace` says so where it would have to.
        await _drop(connection, [function for function in before if not function.is_used])
        for script in procedures:
            await connection.execute(script.text)
        after = {function.signature: function for function in await _functions(connection)}
    finally:
        await rehearsal.rollback()
    return [function for function in before if not _is_defined(function, after.get(function.signature))]


def _is_defined(before: _Function, after: _Function | None) -> bool:
    return after is not None and after.shape == before.shape and after.written_by != before.written_by


async def _functions(connection: asyncpg.Connection[asyncpg.Record]) -> list[_Function]:
    return [_Function(**row) for row in await connection.fetch(_LIST_FUNCTIONS)]


async def _drop(connection: asyncpg.Connection[asyncpg.Record], functions: Iterable[_Function]) -> None:
    if signatures := ", ".join(function.signature for function in functions):
        await connection.execute(f"drop routine {signatures}")
