"""The private PostgreSQL survives every kill, of its starter, of itself and of both, and leaves no process behind."""

import os
import signal
import subprocess
from pathlib import Path

from tests.database.starters import DEADLINE_SECONDS, Launch, Start, ask, is_gone, server_processes, wait_for


def test_server_ends_when_its_starter_is_killed(start: Start, data_dir: Path) -> None:
    """`kill -9` of the starter leaves no server behind."""
    starter = start(data_dir)
    processes = server_processes(data_dir)
    starter.kill()
    wait_for(lambda: all(map(is_gone, processes)))
    assert not (data_dir / "postgres/cluster/postmaster.pid").exists()


def test_start_straight_after_kill_keeps_the_data(start: Start, data_dir: Path) -> None:
    """A start in the same moment as the old starter's end waits for the old server and finds every committed row."""
    for count in range(1, 4):
        starter = start(data_dir)
        ask(starter.dsn, "create table if not exists kept (at timestamptz default now())")
        assert not starter.is_joined
        assert (
            ask(starter.dsn, "with added as (insert into kept default values returning 1) select count(*) + 1 from kept") == count
        )
        starter.kill()


def test_start_after_everything_was_killed(start: Start, data_dir: Path) -> None:
    """Starter and server killed at once, their pid now another's: the next start recovers from the log."""
    starter = start(data_dir)
    ask(starter.dsn, "create table kept ()")
    processes = server_processes(data_dir)
    os.kill(starter.process.pid, signal.SIGSTOP)
    processes[0].kill()
    starter.kill()
    # A pid file that names a living process of the same user, as after a reboot or a container's restart.
    pid_file = data_dir / "postgres/cluster/postmaster.pid"
    lines = pid_file.read_text().split("\n")
    owner = pid_file.stat()
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "600"], **as_owner) as innocent:
        try:
            pid_file.write_text("\n".join([str(innocent.pid), *lines[1:]]))
            assert ask(start(data_dir).dsn, "select count(*) from kept") == 0
            assert innocent.poll() is None
        finally:
            innocent.kill()


def test_sigterm_leaves_no_orphan(start: Start, data_dir: Path) -> None:
    """After SIGTERM to the starter, starter, server and the server's children are gone, and nothing needs recovery."""
    starter = start(data_dir)
    processes = server_processes(data_dir)
    starter.terminate()
    wait_for(lambda: all(map(is_gone, processes)))
    assert "database system is shut down" in (data_dir / "postgres/log").read_text()


def test_start_killed_while_making_the_database(launch: Launch, start: Start, open_folder: Path) -> None:
    """A start killed in the middle of initdb costs the next one nothing."""
    for attempt in range(20):  # a busy machine may let a start through before it lets this process look
        data_dir = open_folder / f"data-{attempt}"
        process = launch(data_dir)
        wait_for(lambda folder=data_dir: _has_begun(folder))
        process.kill()
        process.wait(DEADLINE_SECONDS)
        if not (data_dir / "postgres/cluster").exists():
            break
    assert not (data_dir / "postgres/cluster").exists()
    assert ask(start(data_dir).dsn, "select 1") == 1
    assert sorted(path.name for path in (data_dir / "postgres").iterdir()) == ["cluster", "lock", "log", "password"]


def _has_begun(data_dir: Path) -> bool:
    """Whether initdb has written the first files of a database."""
    try:
        return any(data_dir.glob("postgres/cluster*/base/1/*"))
    except FileNotFoundError:  # renamed while it was listed
        return True
