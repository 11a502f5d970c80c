"""What Python calls is what PostgreSQL has: names, arguments, result columns, both ways."""

import ast
import dataclasses
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

PACKAGE = Path(__file__).resolve().parents[2] / "rustygpt"
METHODS = {"one", "optional", "many", "value", "void"}


@dataclass(frozen=True)
class Call:
    """A call site: which procedure, with which arguments, into which row type (None for value and void)."""

    where: str
    procedure: str
    arguments: frozenset[str]
    row: type[Any] | None


def _calls() -> list[Call]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("rustygpt", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
                continue
            if not (node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)):
                continue
            names = frozenset(keyword.arg or "**" for keyword in node.keywords)
            row = None
            if node.func.attr in ("one", "optional", "many"):
                assert isinstance(node.args[1], ast.Name)
                row = getattr(importlib.import_module(module), node.args[1].id)
            found.append(Call(f"{module}:{node.lineno}", node.args[0].value, names, row))
    return found


async def _functions(owner: "asyncpg.Connection[asyncpg.Record]") -> dict[str, tuple[frozenset[str], list[str] | None]]:
    """Every function of rustygpt_api: the names of its inputs, and of its result columns (None when it returns one value)."""
    rows = await owner.fetch(
        """select p.proname, p.proargnames, p.proargmodes::text[] as modes, p.pronargs, count(*) over (partition by p.proname) as twins
           from pg_proc p where p.pronamespace = 'rustygpt_api'::regnamespace"""
    )
    functions = {}
    for row in rows:
        assert row["twins"] == 1, f"{row['proname']} is overloaded"
        names = row["proargnames"] or []
        modes = row["modes"] or ["i"] * len(names)
        inputs = frozenset(name.removeprefix("p_") for name, mode in zip(names, modes, strict=True) if mode in "ib")
        columns = [name for name, mode in zip(names, modes, strict=True) if mode == "t"]
        functions[row["proname"]] = inputs, columns or None
    return functions


async def test_every_call_matches_a_procedure(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A call's arguments are the procedure's, and its row type has the result columns in their order."""
    functions = await _functions(owner)
    calls = _calls()
    assert len(calls) > 30
    for call in calls:
        assert call.procedure in functions, f"{call.where} calls {call.procedure}, which does not exist"
        inputs, columns = functions[call.procedure]
        assert call.arguments == inputs, f"{call.where}: {call.procedure}"
        if call.row is not None:
            assert [field.name for field in dataclasses.fields(call.row)] == columns, f"{call.where}: {call.procedure}"


async def test_every_procedure_is_called(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """No procedure is left that nobody calls."""
    assert set(await _functions(owner)) == {call.procedure for call in _calls()}


async def test_procedures_are_confined(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Every callable function is a definer with a pinned search path, and PUBLIC may execute none of them."""
    rows = await owner.fetch(
        """select p.proname, p.prosecdef, p.proconfig, has_function_privilege('public', p.oid, 'execute') as is_public
           from pg_proc p where p.pronamespace = 'rustygpt_api'::regnamespace"""
    )
    for row in rows:
        assert row["prosecdef"], row["proname"]
        assert set(row["proconfig"]) - {"jit=off"} == {"search_path=rustygpt, pg_temp"}, row["proname"]
        assert not row["is_public"], row["proname"]


async def test_every_function_has_a_header() -> None:
    """Each function opens with a comment that begins with its name."""
    for path in (PACKAGE.parent / "sql" / "procedures").rglob("*.sql"):
        for match in re.finditer(r"create or replace function rustygpt(?:_api)?\.(\w+)", text := path.read_text()):
            assert f"-- {match[1]}:" in text[: match.start()], f"{path.name}: {match[1]} has no header"


async def test_every_foreign_key_has_an_index(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """The columns of each foreign key begin some index."""
    missing = await owner.fetch(
        """select c.conname from pg_constraint c
           where c.contype = 'f' and c.connamespace = 'rustygpt'::regnamespace and not exists (
             select from pg_index i where i.indrelid = c.conrelid
               and (i.indkey::smallint[])[0:cardinality(c.conkey) - 1] = c.conkey)"""
    )
    assert [row["conname"] for row in missing] == []
