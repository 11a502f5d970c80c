"""The private PostgreSQL starts for root and for anyone, with rights of its own, and touches no other folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rustygpt.database.binaries import find_binaries
from tests.database.starters import (
    DEADLINE_SECONDS,
    STRANGER,
    Launch,
    Start,
    ask,
    modes_above,
    needs_root,
    report,
    server_processes,
    server_users,
)


@needs_root
@pytest.mark.parametrize("uid", [65_534, STRANGER])
def test_ordinary_users_start_it(start: Start, open_folder: Path, open_wheel: Path, uid: int) -> None:
    """An ordinary user gets a server of its own, with or without a name in /etc/passwd."""
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, uid, uid)
    data_dir = home / "data"
    before = modes_above(data_dir, open_wheel)
    cold = start(data_dir, uid=uid, wheel=open_wheel)
    assert cold.error == ""
    assert server_users(data_dir) == {uid}
    cold.terminate()
    warm = start(data_dir, uid=uid, wheel=open_wheel)
    sys.stdout.write(f"uid {uid}: cold {cold.seconds:.3f} s, warm {warm.seconds:.3f} s")
    assert ask(warm.dsn, "select 1") == 1
    assert modes_above(data_dir, open_wheel) == before


@needs_root
def test_root_drops_its_rights_and_touches_no_folder_above(start: Start, data_dir: Path) -> None:
    """As root below 0700 folders the server runs as another user, and no folder above changes its mode or owner."""
    data_dir.parent.chmod(0o700)
    before = modes_above(data_dir, Path(find_binaries(None).program("postgres")))
    starter = start(data_dir)
    assert ask(starter.dsn, "select 1") == 1
    assert 0 not in server_users(data_dir)
    starter.terminate()
    assert modes_above(data_dir, Path(find_binaries(None).program("postgres"))) == before


@needs_root
def test_root_with_the_wheel_under_a_private_home(start: Start, data_dir: Path, tmp_path: Path, open_wheel: Path) -> None:
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
def test_root_in_the_data_folder_of_another_user(start: Start, open_folder: Path, open_wheel: Path) -> None:
    """Started by root in a user's data folder, it runs as that user and leaves files that the user can use."""
    data_dir = open_folder / "data"
    data_dir.mkdir()
    os.chown(data_dir, STRANGER, STRANGER)
    starter = start(data_dir)
    assert ask(starter.dsn, "select 1") == 1
    assert server_users(data_dir) == {STRANGER}
    starter.terminate()
    assert start(data_dir, uid=STRANGER, wheel=open_wheel).error == ""


def test_system_programs_stand_in_for_the_wheel(start: Start, data_dir: Path) -> None:
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


@needs_root
def test_full_disk_names_the_remedy(tmp_path: Path, launch: Launch) -> None:
    """On a full disk the error says so and what to do, and no half database stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        process = launch(disk / "data")
        assert "Free some disk space" in report(process).error
        process.wait(DEADLINE_SECONDS)
        assert not any((disk / "data/postgres").glob("cluster*"))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@needs_root
def test_folder_of_another_user_names_the_remedy(start: Start, open_folder: Path, open_wheel: Path) -> None:
    """A data folder that may not be written ends in an error with the remedy, not in a traceback."""
    error = start(open_folder / "data", uid=STRANGER, wheel=open_wheel).error
    assert "Permission denied" in error
    assert "RUSTYGPT_DATA_DIR" in error
