"""The functions of a database are those of the scripts, whatever they were before: changed, removed, or used by a table."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import pytest

from rustygpt.database.migrate import migrate, status
from rustygpt.database.pool import Database
from rustygpt.database.scripts import Script, read_scripts

Owner = asyncpg.Connection

FIRST = """
create or replace function rustygpt_api.weather(p_town text) returns table (degrees integer)
language sql stable security definer set search_path = rustygpt, pg_temp as $$ select char_length(p_town) $$;
"""
WARMER = """
create or replace function rustygpt_api.weather(p_town text) returns table (degrees integer, is_sunny boolean)
language sql stable security definer set search_path = rustygpt, pg_temp as $$ select char_length(p_town), true $$;
"""
OTHER_ARGUMENT = FIRST.replace("p_town text", "p_town text, p_day date")
EVEN = (
    "create or replace function rustygpt.is_even(p_n integer) returns boolean language sql immutable as $$ select p_n % 2 = 0 $$;"
)


@dataclass(frozen=True, slots=True)
class _Weather:
    degrees: int
    is_sunny: bool


def scripts_with(text: str | None, path: str = "procedures/zz_weather.sql") -> Sequence[Script]:
    """Return the real scripts, and one more with *text*, if any."""
    if text is None:
        return read_scripts()
    return [*read_scripts(), Script(path, "procedure", text, hashlib.sha256(text.encode()).hexdigest())]


async def signatures(owner: Owner, name: str) -> list[str]:
    """Return every function of that name."""
    rows = await owner.fetch("select oid::regprocedure::text as signature from pg_proc where proname = $1 order by 1", name)
    return [row["signature"] for row in rows]


async def test_changed_columns_apply(dsn: str, database: Database) -> None:
    """A result with another column replaces the former one, and the application may call it."""
    await migrate(dsn, scripts_with(FIRST))
    await migrate(dsn, scripts_with(WARMER))
    assert await database.one("weather", _Weather, town="Oslo") == _Weather(4, is_sunny=True)


async def test_changed_arguments_leave_no_twin(dsn: str, owner: Owner) -> None:
    """Other arguments make another function in PostgreSQL; the former one goes."""
    await migrate(dsn, scripts_with(FIRST))
    await migrate(dsn, scripts_with(OTHER_ARGUMENT))
    assert await signatures(owner, "weather") == ["rustygpt_api.weather(text,date)"]


@pytest.mark.parametrize("after", [EVEN, None], ids=["function", "file"])
async def test_what_no_script_defines_goes(dsn: str, owner: Owner, after: str | None) -> None:
    """A function that left its file, or whose file left, is gone; nothing is left to do, and it may come back."""
    await migrate(dsn)
    everything = len(await owner.fetch("select from pg_proc where pronamespace::regnamespace::text like 'rustygpt%'"))
    await migrate(dsn, scripts_with(FIRST))
    assert not (await status(dsn, scripts_with(after))).is_current
    await migrate(dsn, scripts_with(after))
    assert await signatures(owner, "weather") == []
    assert (await status(dsn, scripts_with(after))).is_current
    left = len(await owner.fetch("select from pg_proc where pronamespace::regnamespace::text like 'rustygpt%'"))
    assert left == everything + (after is not None), "the others stay, those of the migrations too"
    assert [script.path for script in (await migrate(dsn, scripts_with(FIRST))).applied] == ["procedures/zz_weather.sql"]
    assert await signatures(owner, "weather") == ["rustygpt_api.weather(text)"]


async def test_failing_script_leaves_the_old_functions(dsn: str, owner: Owner) -> None:
    """When one script fails, no function has changed or gone, and the next start tries again."""
    await migrate(dsn, scripts_with(FIRST))
    before = await owner.fetch(
        "select oid, prosrc, proacl::text from pg_proc where pronamespace::regnamespace::text like 'rustygpt%'"
    )
    bad = scripts_with(WARMER + "create or replace function rustygpt.bad() returns nonsense language sql as $$ select 1 $$;")
    worse = scripts_with(WARMER + "create or replace function rustygpt.bad() returns int language sql as $$ select nothing $$;")
    for scripts, error in ((bad, asyncpg.UndefinedObjectError), (worse, asyncpg.UndefinedColumnError)):
        with pytest.raises(error):
            await migrate(dsn, scripts)
        assert (await status(dsn, scripts)).changed_procedures == ("procedures/zz_weather.sql",)
    query = "select oid, prosrc, proacl::text from pg_proc where pronamespace::regnamespace::text like 'rustygpt%'"
    assert await owner.fetch(query) == before


async def test_function_that_a_table_uses_is_never_dropped_silently(dsn: str, owner: Owner) -> None:
    """Its body may change; where it would have to be dropped, the start stops and the constraint stands."""
    await migrate(dsn, scripts_with(EVEN))
    await owner.execute("create table rustygpt.pairs (n integer constraint pairs_even check (rustygpt.is_even(n)))")
    await migrate(dsn, scripts_with(EVEN.replace("% 2 = 0", "% 4 = 0")))
    with pytest.raises(asyncpg.DependentObjectsStillExistError, match="is_even"):
        await migrate(dsn, scripts_with(None))
    with pytest.raises(asyncpg.InvalidFunctionDefinitionError, match="return type"):
        await migrate(dsn, scripts_with(EVEN.replace("returns boolean", "returns integer").replace("p_n % 2 = 0", "1")))
    await owner.execute("insert into rustygpt.pairs values (4)")
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute("insert into rustygpt.pairs values (2)")


async def test_calls_go_on_while_functions_are_replaced(dsn: str, database: Database, owner: Owner) -> None:
    """A migration beside a running server: what did not change is the same function as before, and no call misses it."""
    await migrate(dsn, scripts_with(FIRST))
    query = "select oid, proname from pg_proc where pronamespace::regnamespace::text like 'rustygpt%' and proname <> 'weather' order by oid"
    before = await owner.fetch(query)
    is_over = asyncio.Event()

    async def call() -> int:
        calls = 0
        while not is_over.is_set():
            await database.value("count_active_sessions", int)
            calls += 1
        return calls

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(call()) for _ in range(2)]
        for text in (WARMER, OTHER_ARGUMENT, FIRST):
            await migrate(dsn, scripts_with(text))
        is_over.set()
    assert all(caller.result() > 0 for caller in callers)
    assert await owner.fetch(query) == before


def test_procedure_files_hold_functions_only() -> None:
    """Dropping is not for the files: an author who does it by hand forgets one database or the other."""
    statement = re.compile(r"^(?:drop|alter|grant|revoke|create(?! or replace function))\b.*", re.MULTILINE)
    for script in read_scripts():
        if script.kind == "procedure":
            assert statement.findall(script.text) == [], script.path
