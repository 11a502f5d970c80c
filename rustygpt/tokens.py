"""Secrets that are shown once: sessions, API keys, invites. Each has 256 random bits, and the database holds its SHA-256 alone."""

import hashlib
import re
import secrets
from typing import Final

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """Return a fresh token: 43 characters of unpadded base64url."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Return the 32 bytes under which the database knows *token*. The token is random, so one fast hash is enough."""
    return hashlib.sha256(token.encode()).digest()


def is_token(text: str) -> bool:
    """Say whether *text* has a token's shape; what has not never reaches the database."""
    return _TOKEN.fullmatch(text) is not None
