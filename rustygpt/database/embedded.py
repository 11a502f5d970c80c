"""A private PostgreSQL in the data folder: one server for all who use the folder, gone when its starter is gone.

Whoever holds the lock file may start, stop or repair the server; everyone else joins the one that runs. The kernel frees
the lock when its holder dies, however it dies. Nothing outside the data folder changes its owner or permissions.

    <data_dir>/postgres/  cluster/ (PGDATA, with the socket) · password · lock · log, log.old · runtime (see runtime_folder.py)
"""

import atexit
import fcntl
import os
import secrets
import threading
import time
from pathlib import Path
from subprocess import Popen
from typing import TextIO
from urllib.parse import quote

from rustygpt.database.binaries import Binaries, find_binaries, is_runnable_by
from rustygpt.database.cluster import NAME, Cluster, read_major, server_settings
from rustygpt.database.postmaster import (
    SOCKET_NAME,
    end_leftover,
    forget_dead_server,
    is_answering,
    read_pid_file,
    stop_process,
    wait_until,
)
from rustygpt.database.processes import (
    Account,
    EmbeddedPostgresError,
    choose_account,
    entrance,
    explain,
    open_plain,
    spawn,
)
from rustygpt.database.runtime_folder import RuntimeFolder, fits_socket

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.01
_LOG_BYTES = 1_048_576
_COMMAND, _SERVICE = "command", "service"
_STARTS_LATER = ("shared memory block", "lock file")
"""What PostgreSQL says while children of a killed server are still ending."""


class EmbeddedPostgres:
    """The server of one data folder; `start` and `stop` are called on the main thread, outside the event loop.

    *connections*: how many it bears at least, where postgresql.conf says less. A short-lived command sets `is_command`: it joins
    any server, and a lasting process never joins a server that ends with a command but waits until it ended and starts its own.
    """

    def __init__(self, data_dir: Path, *, start_seconds: float, is_command: bool = False, connections: int = 0) -> None:
        self._folder = data_dir.resolve() / "postgres"
        self._cluster = self._folder / "cluster"
        self._start_seconds = start_seconds
        self._connections = connections
        self._is_command = is_command
        self._lock: TextIO | None = None
        self._process: Popen[bytes] | None = None
        self._place: tuple[Cluster, str] | None = None  # what our server serves, and its socket's folder
        self._log_start = 0
        self._runtime = RuntimeFolder(self._folder / "runtime")
        self._starter = os.getpid()

    def start(self) -> str:
        """Make the database where it is missing, start its server or join the running one; return the DSN for asyncpg.

        Takes at most `start_seconds`. Raises EmbeddedPostgresError, whose message names the remedy.
        """
        if threading.current_thread() is not threading.main_thread():
            # PR_SET_PDEATHSIG fires when the starting thread ends.
            raise EmbeddedPostgresError("The embedded PostgreSQL must be started on the main thread.")
        self._starter = os.getpid()
        try:
            return self._start(time.monotonic() + self._start_seconds)
        except OSError as error:
            self.stop()
            raise explain(f"The embedded PostgreSQL cannot use {self._folder}", str(error)) from error
        except BaseException:  # also when interrupted: no server is left behind; raised on
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server if we started it (fast shutdown, 15 s, then harder) and let go of the folder. May be called twice."""
        if os.getpid() != self._starter:  # a forked child: the server is its parent's
            return
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        self._announce("")
        if process is not None:
            stop_process(process, _STOP_SECONDS)
        if self._lock is not None:
            self._runtime.remove()
            self._lock.close()
            self._lock = None

    @property
    def is_joined(self) -> bool:
        """Whether the server was started by another process, whose end will be its end."""
        return self._process is None

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._folder / "log"

    @property
    def exit_code(self) -> int | None:
        """How the server that we started ended, as of `Popen`; None while it runs, and where there is none of ours."""
        return None if self._process is None else self._process.poll()

    @property
    def last_words(self) -> str:
        """What the log got since the server was last launched."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read(_LOG_BYTES).decode(errors="replace")

    @property
    def starts_later(self) -> bool:
        """Whether the server ended at once because children of the one before are still ending."""
        return any(words in self.last_words for words in _STARTS_LATER)

    def relaunch(self) -> None:
        """Launch our server that died once more, where it was; `resume` says when it is ready. Returns within milliseconds.

        On the main thread, as `start`; the event loop may run. Raises OSError.
        """
        self._announce("")
        forget_dead_server(self._cluster)
        self._spawn()

    def resume(self) -> bool:
        """Say whether the server is ready, and if so let others join it again."""
        if not self._is_ready():
            return False
        self._announce(_COMMAND if self._is_command else _SERVICE)
        return True

    def _start(self, deadline: float) -> str:
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if owner := self._owner():
            os.chown(self._folder, owner.uid, owner.gid, follow_symlinks=False)
        while True:
            if self._take_lock():
                return self._serve(deadline)
            if dsn := self._join():
                return dsn
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"Another process holds the database in {self._folder} and its server did not become ready in time.\n"
                    "Wait for it to end, end it, or use another folder (RUSTYGPT_DATA_DIR)."
                )
            time.sleep(_POLL_SECONDS)

    def _take_lock(self) -> bool:
        lock = open_plain(self._folder / "lock", os.O_WRONLY | os.O_CREAT, self._owner())
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        self._announce("")
        return True

    def _join(self) -> str | None:
        """Return the DSN of the running server; None while there is none that will last for us."""
        kind = (self._folder / "lock").read_text()
        file = read_pid_file(self._cluster)
        if file is None or kind not in ((_COMMAND, _SERVICE) if self._is_command else (_SERVICE,)):
            return None
        socket_folder = str(self._cluster) if fits_socket(self._cluster) else file.socket_folder
        return self._dsn(socket_folder) if is_answering(socket_folder) else None

    def _serve(self, deadline: float) -> str:
        account = choose_account(self._cluster, self._folder.parent)
        if account is None and self._cluster.exists() and self._cluster.stat().st_uid != os.geteuid():
            raise EmbeddedPostgresError(
                f"{self._cluster} belongs to another user (id {self._cluster.stat().st_uid}). Start as that user, or use another "
                "folder (RUSTYGPT_DATA_DIR)."
            )
        if not end_leftover(self._cluster, deadline):
            raise EmbeddedPostgresError(
                f"A PostgreSQL server left behind in {self._cluster} does not end. Wait, or end the process named in postmaster.pid."
            )
        binaries = self._reachable(find_binaries(read_major(self._cluster)), account)
        cluster = Cluster(self._cluster, binaries, account)
        self._prepare(cluster, deadline)
        socket_folder = str(self._cluster)
        if not fits_socket(self._cluster):
            socket_folder = str(self._runtime.socket_folder(account))
        atexit.register(self.stop)
        self._place = (cluster, socket_folder)
        self._launch(deadline)
        self.resume()
        return self._dsn(socket_folder)

    def _reachable(self, binaries: Binaries, account: Account | None) -> Binaries:
        self._runtime.remove()  # of a server that was killed
        if is_runnable_by(binaries, account):
            return binaries
        if binaries.package is not None and account is not None:
            for moved in self._runtime.copies(binaries):
                if is_runnable_by(moved, account):
                    return moved
        raise EmbeddedPostgresError(
            f"We are root and PostgreSQL must not be, but user id {account.uid if account else '?'} may not execute {binaries.folder}.\n"
            "Start RustyGPT as an ordinary user, install it where everyone may read (such as /opt), or set DATABASE_URL."
        )

    def _prepare(self, cluster: Cluster, deadline: float) -> None:
        """Make sure that the cluster and its password are there."""
        path, draft = self._folder / "password", self._folder / "password.new"
        is_known = path.exists()
        password = path.read_text() if is_known else secrets.token_urlsafe(32)
        if read_major(self._cluster) is None:
            if self._cluster.exists():
                raise EmbeddedPostgresError(
                    f"{self._cluster} is not a database. Move it away, or use another folder (RUSTYGPT_DATA_DIR)."
                )
            cluster.create(password, deadline - time.monotonic())
        else:
            forget_dead_server(self._cluster)
            if not is_known:
                cluster.set_password(password, deadline - time.monotonic())
        if not is_known:  # only a password that the server has gets its file
            draft.unlink(missing_ok=True)
            with open_plain(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._owner()) as file:
                file.write(password)
            draft.replace(path)

    def _launch(self, deadline: float) -> None:
        while True:
            self._spawn()
            wait_until(self._is_settled, deadline)
            if self.exit_code is None:
                break
            if time.monotonic() > deadline or not self.starts_later:
                raise explain("The embedded PostgreSQL did not start", self.last_words)
            time.sleep(_POLL_SECONDS)
        if not self._is_ready():
            raise EmbeddedPostgresError(
                f"The embedded PostgreSQL was not ready after {self._start_seconds:g} s; see {self.log}.\n"
                "After a crash it may need longer: raise database.embedded_start_seconds."
            )

    def _spawn(self) -> None:
        if self._place is None:
            raise RuntimeError("the server was never started")
        cluster, socket_folder = self._place
        with entrance(self._cluster, cluster.account) as folder, self._open_log() as log:
            self._log_start = os.fstat(log.fileno()).st_size
            server_socket = folder.name if socket_folder == str(self._cluster) else socket_folder
            settings = server_settings(self._cluster, server_socket, self._connections)
            arguments = [cluster.binaries.program("postgres"), "-D", folder.name, *settings]
            self._process = spawn(arguments, cluster.account, descriptors=folder.descriptors, log=log)

    def _is_ready(self) -> bool:
        file = read_pid_file(self._cluster)
        return self._process is not None and file is not None and file.pid == self._process.pid and file.status == "ready"

    def _is_settled(self) -> bool:
        return self._is_ready() or self.exit_code is not None

    def _announce(self, kind: str) -> None:
        """Tell others in the lock file what kind of server they may join; nothing while it is not ready or stopping."""
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.seek(0)
            self._lock.write(kind)
            self._lock.flush()

    def _dsn(self, socket_folder: str) -> str:
        password = (self._folder / "password").read_text()
        return (
            f"postgresql://{NAME}:{password}@/{NAME}?host={quote(socket_folder, safe='/')}&port={SOCKET_NAME.rpartition('.')[2]}"
        )

    def _open_log(self) -> TextIO:
        path, flags = self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_name("log.old"))
        return open_plain(path, flags, self._owner())

    def _owner(self) -> Account | None:
        """As root: the owner of the data folder, who gets the files that we make and can start the server another time."""
        if os.geteuid() != 0:
            return None
        status = self._folder.parent.stat()
        return Account(status.st_uid, status.st_gid)
