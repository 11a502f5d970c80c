"""A running server is known by its own pid file and a check that the process is what the file says.

A pid alone proves nothing: after a crash the number may belong to anyone. The file's interlock on shared memory stays
intact, so two servers never write to one cluster.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rustygpt.database.processes import HAS_PROC, open_plain

SOCKET_NAME = ".s.PGSQL.5432"
_POLL_SECONDS = 0.005
_CONNECT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """What `postmaster.pid` says: process, socket folder as the server names it, and `starting`, `ready`, `stopping` or ''."""

    pid: int
    socket_folder: str
    status: str


def read_pid_file(cluster: Path) -> PidFile | None:
    """Read the pid file of `cluster`; None where it is missing or not yet whole."""
    try:
        lines = (cluster / "postmaster.pid").read_text(errors="replace").splitlines()
        return PidFile(int(lines[0]), lines[4] if len(lines) > 4 else "", lines[7].strip() if len(lines) > 7 else "")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def find_server(cluster: Path) -> int | None:
    """The pid of the live server of `cluster`, or None."""
    file = read_pid_file(cluster)
    return file.pid if file and _is_server(file.pid, cluster) else None


def forget_dead_server(cluster: Path) -> None:
    """Let a new server start where a dead one left its pid file, even if its pid now belongs to another process.

    The pid is replaced by ours, which PostgreSQL takes as stale when it is its parent's; the line that names the shared
    memory stays, so surviving children of the dead server still keep the new one out.
    """
    for lock in (cluster / f"{SOCKET_NAME}.lock", cluster / SOCKET_NAME):
        lock.unlink(missing_ok=True)
    path = cluster / "postmaster.pid"
    if read_pid_file(cluster) is None:
        path.unlink(missing_ok=True)
        return
    _, rest = path.read_text(errors="replace").split("\n", 1)
    with open_plain(path, os.O_WRONLY | os.O_TRUNC, None) as file:
        file.write(f"{os.getpid()}\n{rest}")


def is_answering(folder: str) -> bool:
    """Whether a server accepts connections at the socket in `folder`."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            probe.connect(f"{folder}/{SOCKET_NAME}")
        except OSError:
            return False
    return True


def wait_until(fact: Callable[[], bool], deadline: float) -> bool:
    """Poll `fact` until it holds or `time.monotonic()` passes `deadline`; return whether it held."""
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def stop_process(process: subprocess.Popen[bytes], timeout_seconds: float) -> None:
    """Stop our server: fast shutdown, past the timeout immediate shutdown, at last SIGKILL; reap it."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            continue


def end_leftover(cluster: Path, deadline: float) -> bool:
    """End a server whose starter is gone and wait for it; return whether none is left."""
    pid = find_server(cluster)
    if pid is None:
        return True
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return True
    return wait_until(lambda: find_server(cluster) != pid, deadline)


def _is_server(pid: int, cluster: Path) -> bool:
    if HAS_PROC:
        try:
            name = Path(f"/proc/{pid}/comm").read_text()
            return name.startswith("postgres") and cluster.samefile(f"/proc/{pid}/cwd")
        except OSError:  # gone, a zombie, or another user's
            return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    file = read_pid_file(cluster)
    return file is not None and is_answering(file.socket_folder)
