"""A private folder under the system's temporary ones, for what cannot live in the data folder; removed when the server stops.

Two things may need it: the socket, whose path has a limit of 103 bytes, and as root the server's programs where their user
cannot search the folders above them. Its path is recorded in the data folder, so a killed server's is removed by the next.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rustygpt.database.binaries import Binaries, copy_server
from rustygpt.database.postmaster import SOCKET_NAME
from rustygpt.database.processes import Account, EmbeddedPostgresError

SOCKET_PATH_BYTES = 103
"""sun_path without its closing NUL: 107 on Linux, 103 on macOS and the BSDs."""

_PREFIX = "rustygpt-"
# mkdtemp makes ours private. Hardened machines mount the first three without the right to execute.
_FALLBACKS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/cache")  # noqa: S108


def fits_socket(folder: Path) -> bool:
    """Whether a socket in `folder` has a path that the kernel and asyncpg take (a comma would part a list of hosts)."""
    return "," not in str(folder) and len(os.fsencode(folder / SOCKET_NAME)) <= SOCKET_PATH_BYTES


class RuntimeFolder:
    """The folder, made when first needed; `record` is the file in the data folder that remembers where it is."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._path: Path | None = None
        self._guard: int | None = None

    def socket_folder(self, account: Account | None) -> Path:
        """Return a folder for the socket that only the server's user may enter, or root."""
        parent = next(_parents(), None)
        if parent is None:
            raise EmbeddedPostgresError(
                "No temporary folder is writable and has a short path. Set TMPDIR to one, or use a shorter RUSTYGPT_DATA_DIR."
            )
        folder = (self._path or self._make(parent)) / "socket"
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account.uid, account.gid)
        return folder

    def copies(self, binaries: Binaries) -> Iterator[Binaries]:
        """Yield copies of the programs, each in another place, until one of them suits; the others are removed."""
        if binaries.package is None:
            return
        for parent in _parents():
            try:
                path = self._make(parent)
                yield Binaries(copy_server(binaries.package, path / "server"), binaries.major, None)
            except OSError:  # full, or read-only: the next one may do
                pass
            self.remove()

    def remove(self) -> None:
        """Remove the folder, ours or the one that a killed process left; without one do nothing."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            path = Path(self._record.read_text())
            if path.name.startswith(_PREFIX) and path.parent in _parents() and path.lstat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)
        self._record.unlink(missing_ok=True)
        if self._guard is not None:
            os.close(self._guard)
        self._path = self._guard = None

    def _make(self, parent: Path) -> Path:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        self._path = path
        self._record.write_text(str(path))
        if os.geteuid() == 0:
            path.chmod(0o711)  # the server's user passes through to `server` and `socket`
        self._guard = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._guard, fcntl.LOCK_SH)  # systemd-tmpfiles spares a folder that is locked
        return path


def _parents() -> Iterator[Path]:
    """Yield the folders where we may make ours, the best first. Not XDG_RUNTIME_DIR: it goes when its user logs out."""
    candidates: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        candidates.append(tempfile.gettempdir())
    for parent in map(Path, dict.fromkeys([*candidates, *_FALLBACKS])):
        is_short = fits_socket(parent / f"{_PREFIX}12345678" / "socket")
        if is_short and parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            yield parent
