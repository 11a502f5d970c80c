"""The private PostgreSQL, with real processes: made once, for its owner alone, shared by who comes later, in any folder."""

import re
import sys
import threading
from pathlib import Path

import asyncpg
import pytest

from rustygpt.database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from rustygpt.database.processes import explain
from tests.database.starters import DEADLINE_SECONDS, START_SECONDS, Launch, Start, ask, report


def test_database_is_made_once(start: Start, data_dir: Path) -> None:
    """The first start makes the database, the next ones only start it; how long both took is printed."""
    cold = start(data_dir)
    assert ask(cold.dsn, "select current_user || '@' || current_database()") == "rustygpt@rustygpt"
    identity = "select system_identifier from pg_control_system()"
    made = ask(cold.dsn, identity)
    cold.terminate()
    warm = start(data_dir)
    sys.stdout.write(f"cold {cold.seconds:.3f} s, warm {warm.seconds:.3f} s")
    assert ask(warm.dsn, identity) == made


def test_only_the_owner_gets_in(start: Start, data_dir: Path) -> None:
    """No TCP port; a private socket; a password in a 0600 file that the server insists on; checksums and fsync are on."""
    dsn = start(data_dir).dsn
    assert ask(dsn, "select current_setting('listen_addresses')") == ""
    assert ask(dsn, "select current_setting('data_checksums') || current_setting('fsync')") == "onon"
    assert (data_dir / "postgres/password").stat().st_mode & 0o777 == 0o600
    assert (data_dir / "postgres/cluster").stat().st_mode & 0o777 == 0o700
    password = (data_dir / "postgres/password").read_text()
    assert password in dsn
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(dsn.replace(password, "guess"), "select 1")


def test_second_starter_joins(start: Start, data_dir: Path) -> None:
    """A second process uses the running server, and its stop does not stop it."""
    first = start(data_dir)
    for kind in ("command", "service"):
        second = start(data_dir, kind=kind)
        assert (second.dsn, second.is_joined) == (first.dsn, True)
        second.terminate()
    assert ask(first.dsn, "select 1") == 1


def test_two_first_starts_at_once(launch: Launch, data_dir: Path) -> None:
    """Of two processes that find no database one makes it and the other joins."""
    starters = [report(process) for process in [launch(data_dir), launch(data_dir)]]
    assert sorted(starter.is_joined for starter in starters) == [False, True]
    assert starters[0].dsn == starters[1].dsn


def test_a_service_outlives_the_command_it_met(launch: Launch, start: Start, data_dir: Path) -> None:
    """A service does not join the server of a short command: it waits for its end, with a deadline, and starts its own."""
    command = start(data_dir, kind="command")
    impatient = start(data_dir, start_seconds=0.2)
    assert "Another process holds the database" in impatient.error
    waiting = launch(data_dir)
    command.terminate()
    service = report(waiting)
    assert not service.is_joined
    assert ask(service.dsn, "select 1") == 1


def test_database_of_another_major_version_is_refused(start: Start, data_dir: Path) -> None:
    """A data folder that another major version made is left alone, with the remedy."""
    start(data_dir).terminate()
    version = data_dir / "postgres/cluster/PG_VERSION"
    version.write_text("14\n")
    error = start(data_dir).error
    assert re.search(r"made by PostgreSQL 14; this machine has .*\d+", error)
    assert "Install PostgreSQL 14" in error
    assert version.read_text() == "14\n"


def test_long_and_odd_paths(start: Start, open_folder: Path) -> None:
    """A data folder too long for a socket's path, or with odd characters in it, works; the short folder goes with the server."""
    for name in ("x" * 120, "a, b 'c' \"d\"", "ü+%&:"):
        data_dir = open_folder / name
        starter = start(data_dir)
        assert ask(starter.dsn, "select 1") == 1
        runtime = data_dir / "postgres/runtime"
        folder = Path(runtime.read_text()) if runtime.exists() else None
        assert (folder is not None) == (not name.startswith("ü"))
        joined = start(data_dir, kind="command")
        assert (joined.dsn, joined.is_joined) == (starter.dsn, True)
        starter.terminate()
        assert folder is None or not folder.exists()


def test_lost_password_file(start: Start, data_dir: Path) -> None:
    """Without its password file the server gets a new password, and keeps the data."""
    starter = start(data_dir)
    ask(starter.dsn, "create table kept ()")
    starter.terminate()
    (data_dir / "postgres/password").unlink()
    again = start(data_dir)
    assert again.dsn != starter.dsn
    assert ask(again.dsn, "select count(*) from kept") == 0


def test_log_is_bounded(start: Start, data_dir: Path) -> None:
    """A start puts a log of more than 1 MiB aside, in place of the one before."""
    start(data_dir).terminate()
    log = data_dir / "postgres/log"
    log.write_bytes(b"x" * 1_100_000)
    start(data_dir).terminate()
    assert log.stat().st_size < 100_000
    assert log.with_name("log.old").stat().st_size == 1_100_000


def test_start_outside_the_main_thread_is_refused(data_dir: Path) -> None:
    """A server dies with the thread that started it, so only the main thread may."""
    errors: list[BaseException] = []

    def start_it() -> None:
        try:
            EmbeddedPostgres(data_dir, start_seconds=1).start()
        except EmbeddedPostgresError as error:
            errors.append(error)

    thread = threading.Thread(target=start_it)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert "main thread" in str(errors[0])
    assert not data_dir.exists()


def test_stop_twice_and_start_again(data_dir: Path) -> None:
    """Stop may be called twice and before any start; the object can start again."""
    server = EmbeddedPostgres(data_dir, start_seconds=START_SECONDS)
    server.stop()
    try:
        for _ in range(2):
            assert ask(server.start(), "select 1") == 1
            server.stop()
            server.stop()
    finally:
        server.stop()


def test_errors_show_the_last_lines_and_the_remedy() -> None:
    """What a program said is cut to its last lines; the remedy fits it."""
    message = str(explain("It failed", "\n".join([*(f"line {number}" for number in range(20)), "No space left on device"])))
    assert message.startswith("It failed:\n  line 15")
    assert message.endswith("Free some disk space, or choose another folder with RUSTYGPT_DATA_DIR.")
