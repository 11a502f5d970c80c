"""Whoever guesses passwords of an account waits longer and longer; the account's owner, elsewhere, waits for nobody.

Counted by account and network, in the database, so that it holds on all processes. Accounts that do not exist are counted in the same
way: the wait tells nothing about them. What is stored is a digest.
"""

import hashlib
import math
from typing import Final

from rustygpt.database.call import Caller
from rustygpt.errors import Limit, RateLimited
from rustygpt.http.client_address import network_of

FREE_FAILURES: Final = 5
"""So many wrong passwords cost nothing; each one after that doubles the wait, from 1 s."""
MAX_SECONDS: Final = 300


class Backoff:
    """Asked before a password is checked, and told afterwards."""

    def __init__(self, database: Caller) -> None:
        self._database = database

    async def require_patience(self, email: str, ip: str | None) -> None:
        """Raise RateLimited while the caller has to wait for this account, and Unavailable."""
        seconds = await self._database.value("login_wait", float, subject=_subject(email, ip))
        if seconds > 0:
            wait = max(1, math.ceil(seconds))
            limit = Limit("passwords", FREE_FAILURES, 0, wait)
            raise RateLimited("Too many wrong passwords. Wait before you try again.", limit=limit, retry_after_seconds=wait)

    async def note(self, email: str, ip: str | None, *, is_success: bool) -> None:
        """Forget the failures, or count one more. Raises Unavailable."""
        await self._database.void(
            "note_login",
            subject=_subject(email, ip),
            is_success=is_success,
            free=FREE_FAILURES,
            max_seconds=MAX_SECONDS,
        )


def _subject(email: str, ip: str | None) -> bytes:
    return hashlib.sha256(f"{email.strip().lower()}\n{network_of(ip) if ip else ''}".encode()).digest()
