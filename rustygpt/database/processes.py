"""PostgreSQL's programs run unprivileged, get at the cluster whatever lies above it, and never outlive us.

As root they run as another user, who may be unable to search the folders above the cluster (`/root` is 0700). They inherit
the opened folder, and `/proc/self/fd/N` names it without a walk from `/`: so no permission of any folder has to change.
PR_SET_PDEATHSIG is set after the user changed, which would clear it.
"""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _CLONE_NEWUSER = 1, 4, 0x1000_0000
_LIBC = ctypes.CDLL(None, use_errno=True)
_SHOWN_LINES = 6
HAS_PROC = Path("/proc/self/fd").exists()
"""Whether a process can be seen, and see itself, through /proc (Linux)."""

REMEDIES = (
    ("No space left on device", "Free some disk space, or choose another folder with RUSTYGPT_DATA_DIR."),
    ("Disk quota exceeded", "Free some disk space, or choose another folder with RUSTYGPT_DATA_DIR."),
    ("Read-only file system", "Choose a writable folder with RUSTYGPT_DATA_DIR."),
    ("Operation not permitted", "Start RustyGPT as an ordinary user, or set DATABASE_URL."),
    ("Permission denied", "Choose a folder of your own with RUSTYGPT_DATA_DIR, or set DATABASE_URL."),
    ("could not look up effective user ID", "Give this user id an entry in /etc/passwd, or set DATABASE_URL."),
)


class EmbeddedPostgresError(Exception):
    """The private PostgreSQL cannot serve. The message says why and what to do; it is shown to the operator as it is."""


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user who owns the cluster when we are root."""

    uid: int
    gid: int


def choose_account(*owned: Path) -> Account | None:
    """Whom PostgreSQL runs as: None for ourselves; as root the first owner of `owned` who is not root, else `rustygpt` or `nobody`."""
    if os.geteuid() != 0:
        return None
    for path in owned:
        if path.exists() and (status := path.stat()).st_uid != 0:
            return Account(status.st_uid, status.st_gid)
    for name in ("rustygpt", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    return Account(65_534, 65_534)


def open_plain(path: Path, flags: int, owner: Account | None) -> TextIO:
    """Open a file for writing (0600 when made) for its `owner`; a symbolic link, which its owner may have set as a trap for root, is refused."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if owner is not None:
        os.fchown(descriptor, owner.uid, owner.gid)
    return os.fdopen(descriptor, "w")


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a program names the cluster's folder, and the descriptor it must inherit for that, if any."""

    name: str
    descriptors: tuple[int, ...] = ()


@contextmanager
def entrance(folder: Path, account: Account | None) -> Iterator[Entrance]:
    """Make `folder` known to programs that are started as `account` within the block; they may use the name for life.

    Not by the working folder: PostgreSQL 15 leaves it for a moment and could not come back.
    """
    if account is None or not HAS_PROC:
        yield Entrance(str(folder))
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Entrance(f"/proc/self/fd/{descriptor}", (descriptor,))
    finally:
        os.close(descriptor)


def explain(what: str, output: str) -> EmbeddedPostgresError:
    """Build the error for a program that failed: the last lines of its output and the remedy that fits them."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()][-_SHOWN_LINES:]
    remedy = next((remedy for sign, remedy in REMEDIES if sign in output), "Set DATABASE_URL to use a PostgreSQL of your own.")
    return EmbeddedPostgresError("\n".join([f"{what}:", *(f"  {line}" for line in lines), remedy]))


def run_tool(
    arguments: list[str],
    account: Account | None,
    timeout_seconds: float,
    *,
    descriptors: tuple[int, ...] = (),
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as `account`, with `text` on its standard input.

    The result holds stdout and stderr together. Raises EmbeddedPostgresError past the timeout, OSError when it cannot be run.
    """
    before = _before_tool(account)
    process = _popen(arguments, account, descriptors, before, stdin=subprocess.PIPE, output=subprocess.PIPE)
    with process:
        try:
            output, _ = process.communicate(text.encode(), timeout=max(timeout_seconds, 0.1))
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise EmbeddedPostgresError(
                f"{Path(arguments[0]).name} did not end in time. Raise database.embedded_start_seconds."
            ) from error
        except BaseException:  # also when interrupted: the child does not outlive the call; raised on
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, output.decode(errors="replace"))


def spawn(arguments: list[str], account: Account | None, *, descriptors: tuple[int, ...], log: TextIO) -> subprocess.Popen[bytes]:
    """Start the server as `account`, output to `log`; it gets SIGINT (fast shutdown) when the calling thread ends."""
    before = die_with_parent(signal.SIGINT)
    return _popen(arguments, account, descriptors, before, stdin=subprocess.DEVNULL, output=log)


def _popen(
    arguments: list[str],
    account: Account | None,
    descriptors: tuple[int, ...],
    before: Callable[[], None] | None,
    *,
    stdin: int,
    output: TextIO | int,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own arguments, no shell
        arguments,
        cwd="/",
        pass_fds=descriptors,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # A session of its own: Ctrl-C in the terminal is for us, who stop the server last.
        start_new_session=True,
        preexec_fn=before,  # noqa: PLW1509 - two system calls, no locks; we are on the main thread
    )


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child calls first, so that it gets *number* when the thread that made it ends; None where there is no such thing."""
    if sys.platform != "linux":
        return None
    parent = os.getpid()

    def before() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before


def _before_tool(account: Account | None) -> Callable[[], None] | None:
    """Tools are killed with us. initdb wants its user in /etc/passwd: a user without a name (`docker run --user 12345`) borrows `nobody`'s."""
    die = die_with_parent(signal.SIGKILL)
    uid, gid = (account.uid, account.gid) if account else (os.geteuid(), os.getegid())
    if die is None or _has_name(uid):
        return die

    maps = (("setgroups", b"deny"), ("uid_map", b"65534 %d 1" % uid), ("gid_map", b"65534 %d 1" % gid))

    def before() -> None:
        _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is root's after the change of user
        if _LIBC.unshare(_CLONE_NEWUSER) == 0:  # where it is refused, initdb says what it misses
            try:
                for name, line in maps:
                    Path(f"/proc/self/{name}").write_bytes(line)
            except OSError:
                os.write(2, b"could not look up effective user ID: no name, and no user namespace to borrow one\n")
                os._exit(1)
        die()

    return before


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
