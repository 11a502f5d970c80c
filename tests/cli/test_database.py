"""`rustygpt db` and `rustygpt users` against a real PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from rustygpt.cli.failure import ExitCode
from rustygpt.ids import new_uuid
from tests.cli.command import rustygpt
from tests.conftest import with_database
from tests.person import Person
from tests.site import serving, settings_for

PASSWORD = "correct horse battery"
FAST = {"RUSTYGPT__AUTH__ARGON2_TIME_COST": "1", "RUSTYGPT__AUTH__ARGON2_MEMORY_KIB": "1024"}


@pytest.fixture
async def empty_dsn(postgres_dsn: str) -> AsyncIterator[str]:
    """A database without a schema."""
    name = f"rustygpt_cli_{new_uuid().hex}"
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(f"create database {name} template template0")
    yield with_database(postgres_dsn, name)
    await connection.execute(f"drop database {name} with (force)")
    await connection.close()


async def test_database_is_migrated_once(empty_dsn: str, tmp_path: Path) -> None:
    """`db status` fails with 3 and names what is missing, `db migrate` applies it, and a second time nothing is left to do."""
    extra = {"DATABASE_URL": empty_dsn}
    before = rustygpt("db", "status", cwd=tmp_path, extra=extra)
    assert (before.returncode, before.stdout.splitlines()[0]) == (ExitCode.DATABASE, "missing: migrations/0001_foundation.sql")
    assert "rustygpt db migrate" in before.stderr
    first = rustygpt("db", "migrate", cwd=tmp_path, extra=extra)
    assert first.returncode == 0, first.stderr
    assert "applied migrations/0001_foundation.sql" in first.stdout
    second = rustygpt("db", "migrate", cwd=tmp_path, extra=extra)
    assert "0 scripts applied" in second.stdout
    after = rustygpt("db", "status", "--json", cwd=tmp_path, extra=extra)
    assert (after.returncode, json.loads(after.stdout)["is_current"]) == (0, True)


async def test_new_epoch_is_begun_by_hand(empty_dsn: str, tmp_path: Path) -> None:
    """`db new-epoch` changes the epoch once each time, and says which holds now."""
    extra = {"DATABASE_URL": empty_dsn}
    assert rustygpt("db", "migrate", cwd=tmp_path, extra=extra).returncode == 0
    said = [rustygpt("db", "new-epoch", cwd=tmp_path, extra=extra) for _ in range(2)]
    assert [run.returncode for run in said] == [0, 0], said[0].stderr
    assert said[0].stdout != said[1].stdout
    connection = await asyncpg.connect(empty_dsn)
    epoch = await connection.fetchval("select epoch from rustygpt.event_head")
    await connection.close()
    assert said[1].stdout == f"Epoch {epoch} has begun.\n"


async def test_database_of_a_newer_version_is_refused(owner: asyncpg.Connection, dsn: str, tmp_path: Path) -> None:
    """Neither command touches it, and both say which version to use."""
    await owner.execute("update rustygpt.schema_ledger set app_version = '99.0.0'")
    status = rustygpt("db", "status", cwd=tmp_path, extra={"DATABASE_URL": dsn})
    assert (status.returncode, "newer version: 99.0.0" in status.stdout) == (ExitCode.DATABASE, True)
    assert "Install the version" in status.stderr
    migrate = rustygpt("db", "migrate", cwd=tmp_path, extra={"DATABASE_URL": dsn})
    assert (migrate.returncode, "99.0.0" in migrate.stderr) == (ExitCode.DATABASE, True)


async def test_wrong_password_is_said_without_it(dsn: str, tmp_path: Path) -> None:
    """A refused login is told apart from a server that is away."""
    extra = {"DATABASE_URL": with_database(dsn, "no_such_database")}
    run = rustygpt("db", "status", cwd=tmp_path, extra=extra)
    assert run.returncode == ExitCode.DATABASE
    assert "refused" in run.stderr
    assert "Traceback" not in run.stderr


async def test_administrator_is_made_from_the_command_line(dsn: str, owner: asyncpg.Connection, tmp_path: Path) -> None:
    """The password comes by standard input and is stored as a hash; the set-up page is closed afterwards."""
    extra = {"DATABASE_URL": dsn, **FAST}
    arguments = ["users", "create", "--email", "ada@example.org", "--name", "Ada", "--admin", "--password-stdin", "--json"]
    run = rustygpt(*arguments, cwd=tmp_path, extra=extra, stdin=f"{PASSWORD}\n")
    assert run.returncode == 0, run.stderr
    made = json.loads(run.stdout)
    assert (made["email"], made["display_name"], made["role"]) == ("ada@example.org", "Ada", "admin")
    assert await owner.fetchval("select rustygpt_api.is_set_up()")
    assert PASSWORD not in run.stdout + run.stderr


async def test_second_account_of_an_address_is_refused(dsn: str, tmp_path: Path) -> None:
    """The first account stays as it is."""
    arguments = ["users", "create", "--email", "ada@example.org", "--password-stdin"]
    extra = {"DATABASE_URL": dsn, **FAST}
    assert "Made user ada@example.org" in rustygpt(*arguments, cwd=tmp_path, extra=extra, stdin=PASSWORD).stdout
    again = rustygpt(*arguments, cwd=tmp_path, extra=extra, stdin=PASSWORD)
    assert (again.returncode, "Traceback" in again.stderr) == (ExitCode.FAILURE, False)


@pytest.mark.parametrize(
    ("stdin", "flags", "said"),
    [("short\n", ["--password-stdin"], "the password must have"), ("", [], "no terminal to ask")],
)
async def test_unusable_password_makes_nobody(dsn: str, tmp_path: Path, stdin: str, flags: list[str], said: str) -> None:
    """A short password, or none because nobody can be asked, is a usage error."""
    run = rustygpt(
        "users", "create", "--email", "ada@example.org", *flags, cwd=tmp_path, extra={"DATABASE_URL": dsn}, stdin=stdin
    )
    assert (run.returncode, said in run.stderr) == (ExitCode.USAGE, True)


def test_data_folder_serves_commands_one_after_another(tmp_path: Path) -> None:
    """Without DATABASE_URL each command starts the private server of the data folder and leaves none behind."""
    data = ["--data-dir", str(tmp_path / "data")]
    assert rustygpt("db", "migrate", *data, cwd=tmp_path).returncode == 0
    made = rustygpt(
        "users", "create", "--email", "ada@example.org", "--password-stdin", *data, cwd=tmp_path, extra=FAST, stdin=PASSWORD
    )
    assert made.returncode == 0, made.stderr
    assert rustygpt("db", "status", *data, cwd=tmp_path).stdout == "The database is up to date.\n"
    assert not (tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid").exists()


async def test_accounts_are_listed_and_changed_from_the_command_line(dsn: str, owner: asyncpg.Connection, tmp_path: Path) -> None:
    """Role and status change with a note in the audit log; who is disabled is signed out; unknown addresses are an error."""
    extra = {"DATABASE_URL": dsn}
    for name, role in (("ada", "admin"), ("bob", "user")):
        await owner.execute("select rustygpt.insert_user($1 || '@example.org', $1, null, $2)", name, role)
    bob = ["--email", "BOB@example.org"]
    raised = rustygpt("users", "set-role", *bob, "--role", "admin", cwd=tmp_path, extra=extra)
    assert raised.stdout == "Changed bob@example.org: role admin, status active.\n", raised.stderr
    assert rustygpt("users", "set-status", *bob, "--status", "disabled", cwd=tmp_path, extra=extra).returncode == 0
    assert "Nothing to change" in rustygpt("users", "set-status", *bob, "--status", "disabled", cwd=tmp_path, extra=extra).stdout
    listed = json.loads(rustygpt("users", "list", "--json", cwd=tmp_path, extra=extra).stdout)
    assert [(user["email"], user["role"], user["status"]) for user in listed] == [
        ("ada@example.org", "admin", "active"),
        ("bob@example.org", "admin", "disabled"),
    ]
    assert "disabled  admin  bob@example.org  bob" in rustygpt("users", "list", cwd=tmp_path, extra=extra).stdout
    assert await owner.fetchval("select array_agg(action order by id) from rustygpt.audit_log") == [
        "user.role_changed",
        "user.status_changed",
    ]
    last = rustygpt("users", "set-role", "--email", "ada@example.org", "--role", "user", cwd=tmp_path, extra=extra)
    assert (last.returncode, "last active administrator" in last.stderr) == (ExitCode.FAILURE, True)
    nobody = rustygpt("users", "set-role", "--email", "no@example.org", "--role", "user", cwd=tmp_path, extra=extra)
    assert (nobody.returncode, "no such account" in nobody.stderr) == (ExitCode.FAILURE, True)


async def test_who_is_disabled_by_a_command_is_out_at_once(dsn: str, data_dir: Path, tmp_path: Path) -> None:
    """The command tells the serving processes by their bus: a live stream ends, however seldom sessions are looked at."""
    settings = settings_for(data_dir, bus={"kind": "postgres"}, sse={"session_poll_seconds": 86_400.0})
    async with serving(settings, dsn) as site, Person(site.url) as ada, Person(site.url) as bob:
        await ada.set_up("Ada")
        await bob.register("Bob")
        async with bob.stream("/api/stream") as stream:
            await stream.until_type("stream.ready")
            command = ("users", "set-status", "--email", bob.email, "--status", "disabled")
            done = await asyncio.to_thread(rustygpt, *command, cwd=tmp_path, extra={"DATABASE_URL": dsn})
            assert done.returncode == 0, done.stderr
            await stream.until_closed()
