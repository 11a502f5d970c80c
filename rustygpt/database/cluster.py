"""The cluster's folder appears complete, synced and with its database, or not at all.

It is made in a sibling folder and renamed, so a start killed half-way costs nothing but a new try. Nobody connects
without the password: the socket's folder is private, and SCRAM asks besides.
"""

import ctypes
import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rustygpt.database.binaries import Binaries
from rustygpt.database.processes import Account, entrance, explain, open_plain, run_tool

NAME = "rustygpt"
"""The name of the database and of the role that owns it."""

# Room for one chat server on a small machine; whoever wants more edits the file, it is written only once.
_SETTINGS = """
# RustyGPT: values for one chat server on a small machine. Yours to change: this file is written once.
max_connections = 100
shared_buffers = 64MB
max_wal_size = 512MB
min_wal_size = 48MB
wal_compression = on
fsync = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
jit = off
log_checkpoints = off
log_line_prefix = '%m [%p] '
timezone = 'UTC'
log_timezone = 'UTC'
"""
_SETTINGS_SINCE_18 = "io_method = sync    # three processes less; the data fits into memory\n"
_HBA = "# TYPE  DATABASE  USER  METHOD: only the private socket, only with the password\nlocal  all  all  scram-sha-256\n"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster at `folder` (PGDATA), which exists or not, with the programs and the user that serve it."""

    folder: Path
    binaries: Binaries
    account: Account | None

    def create(self, password: str, timeout_seconds: float) -> None:
        """Make the cluster with its database and role. Raises EmbeddedPostgresError; leaves no half cluster behind."""
        for leftover in self.folder.parent.glob(f"{self.folder.name}.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        staging = self.folder.with_name(f"{self.folder.name}.new-{os.getpid()}-{secrets.token_hex(4)}")
        staging.mkdir(mode=0o700)
        try:
            self._fill(staging, password, timeout_seconds)
            sync_file_system(staging)
            staging.rename(self.folder)
        except BaseException:  # also when cancelled or interrupted: no half cluster stays; raised on
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_file_system(self.folder.parent)

    def set_password(self, password: str, timeout_seconds: float) -> None:
        """Give the role a new password while no server runs, for a data folder whose password file was lost."""
        self._run_sql(self.folder, (f"alter role {NAME} password '{password}'",), timeout_seconds)

    def _fill(self, staging: Path, password: str, timeout_seconds: float) -> None:
        if self.account:
            os.chown(staging, self.account.uid, self.account.gid, follow_symlinks=False)
        self._initialise(staging, timeout_seconds)
        settings = _SETTINGS + (_SETTINGS_SINCE_18 if self.binaries.major >= 18 else "")
        for name, flag, text in (("postgresql.conf", os.O_APPEND, settings), ("pg_hba.conf", os.O_TRUNC, _HBA)):
            with open_plain(staging / name, os.O_WRONLY | flag, self.account) as file:
                file.write(text)
        statements = (f"alter role {NAME} password '{password}'", f"create database {NAME} owner {NAME}")
        # The whole file system is synced afterwards, once: 30 ms. A sync of each file: 1.1 s.
        self._run_sql(staging, statements, timeout_seconds, "-F")

    def _initialise(self, staging: Path, timeout_seconds: float) -> None:
        arguments = [
            self.binaries.program("initdb"),
            f"--username={NAME}",
            "--encoding=UTF8",
            "--auth=trust",
            "--data-checksums",
            "--no-sync",
            "--no-instructions",
        ]
        if self.binaries.major >= 17:  # sorts alike on every machine, whatever its C library
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]

        def initdb(locale: str) -> subprocess.CompletedProcess[str]:
            with entrance(staging, self.account) as folder:
                command = [*arguments, f"--locale={locale}", f"--pgdata={folder.name}"]
                return run_tool(command, self.account, timeout_seconds, descriptors=folder.descriptors)

        result = initdb("C.UTF-8")
        if result.returncode != 0 and "invalid locale" in result.stdout:  # some systems lack it; the encoding stays UTF-8
            result = initdb("C")
        if result.returncode != 0:
            raise explain(f"The database could not be created in {self.folder.parent}", result.stdout)

    def _run_sql(self, folder: Path, statements: tuple[str, ...], timeout_seconds: float, *options: str) -> None:
        with entrance(folder, self.account) as entered:
            result = run_tool(
                [
                    self.binaries.program("postgres"),
                    *("--single", "-j", "-D", entered.name),
                    *("-c", "exit_on_error=on", "-c", "log_statement=none", "-c", "log_min_error_statement=panic", *options),
                    "postgres",
                ],
                self.account,
                timeout_seconds,
                descriptors=entered.descriptors,
                text="".join(f"{statement};\n\n" for statement in statements),
            )
        if result.returncode != 0:
            raise explain(f"The database in {self.folder.parent} could not be prepared", result.stdout)


def read_major(folder: Path) -> int | None:
    """The major version that made the cluster at `folder`; None where there is no cluster."""
    try:
        return int((folder / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        return None


def sync_file_system(folder: Path) -> None:
    """Write everything on the file system that holds `folder` to the disk."""
    if sys.platform != "linux":
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "the file system could not be synced", str(folder))
    finally:
        os.close(descriptor)


def server_settings(folder: Path, socket_folder: str, connections: int) -> list[str]:
    """What the file postgresql.conf in *folder* may not change, and `max_connections` where it says less than *connections*."""
    quoted = '"' + socket_folder.replace('"', '""') + '"'
    settings = {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": quoted,
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
        "cluster_name": NAME,
    }
    said = re.findall(r"^\s*max_connections\s*=?\s*(\d+)", (folder / "postgresql.conf").read_text(errors="replace"), re.MULTILINE)
    if said and int(said[-1]) < connections:
        settings["max_connections"] = str(connections)
    return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
