"""The server's own secret: from the settings, else made once and kept in the data folder, readable by its owner alone."""

import os
import secrets
from pathlib import Path
from typing import Final

FILE_NAME: Final = "secret.key"
_BYTES: Final = 48


class SecretKeyError(Exception):
    """The file of the secret cannot be used; the message names it and the remedy."""


def load_secret_key(configured: str, data_dir: Path) -> bytes:
    """Return the configured secret, or that of the data folder. Raises SecretKeyError, OSError.

    Two processes that start at once agree: the file appears whole, by a link that only one of them can make.
    """
    if configured:
        return configured.encode()
    path = data_dir / FILE_NAME
    if not path.exists():
        _make(path)
    secret = path.read_bytes().strip()
    if len(secret) < 32:
        raise SecretKeyError(f"{path} is damaged; delete it to have a new one made (page cursors and CSRF tokens change)")
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
