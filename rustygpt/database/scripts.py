"""The SQL files: where they are, in which order they run, and their checksums.

`sql/` stands at the top of a checkout and inside the package in a wheel; both are the same files.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ScriptKind = Literal["migration", "procedure"]

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Script:
    """One SQL file. `path` is relative to `sql/`, with forward slashes; `checksum` is SHA-256 in hex."""

    path: str
    kind: ScriptKind
    text: str
    checksum: str


def sql_folder() -> Path:
    """Return the folder of the SQL files. Raises FileNotFoundError when the installation has none."""
    for folder in (_PACKAGE / "_sql", _PACKAGE.parent / "sql"):
        if (folder / "migrations").is_dir():
            return folder
    raise FileNotFoundError("this installation lacks its SQL files; install rustygpt again")


def read_scripts(folder: Path | None = None) -> tuple[Script, ...]:
    """Read every script: migrations by number, then procedures by path. `access.sql` comes first among those."""
    root = folder or sql_folder()
    found = [_read(root, path, "migration") for path in sorted((root / "migrations").glob("*.sql"))]
    procedures = [_read(root, path, "procedure") for path in (root / "procedures").rglob("*.sql")]
    found += sorted(procedures, key=lambda script: (script.path.count("/"), script.path))
    return tuple(found)


def _read(root: Path, path: Path, kind: ScriptKind) -> Script:
    data = path.read_bytes()
    return Script(path.relative_to(root).as_posix(), kind, data.decode(), hashlib.sha256(data).hexdigest())
