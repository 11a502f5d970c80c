"""Argon2id, never on the event loop and never unbounded.

Each hash takes 0.1 to 0.2 s of a core and `argon2_memory_kib` of memory, so at most `argon2_threads` run at once, few may wait, each source
has its turn, and who would wait longer is told to come back. An unknown account costs exactly as much as a wrong password.
"""

import asyncio
import base64
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from rustygpt.auth.turns import Crowded, Turns
from rustygpt.errors import Unavailable
from rustygpt.settings import AuthSettings

MAX_PENDING: Final = 128
"""Jobs running or waiting; the last of them starts after some ten seconds on two threads."""
MAX_OF_ONE: Final = 64
"""Of one source, so that no network fills the queue by itself."""
NICENESS: Final = 5
"""Of the threads that hash. Where they want all cores, the loop's thread was 9 to 17 ms late (p99), and so it is 4 to 6; they keep a third
of what they had when the machine is full of other work."""
DEADLINE_SECONDS: Final = 15.0
_HASH_BYTES: Final = 32
_SALT_BYTES: Final = 16

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """`new_hash` is set when the password is right and was hashed with other parameters than today's."""

    is_right: bool
    new_hash: str | None = None


class Passwords:
    """Hashes and checks passwords in threads of its own, from `open` to `close`."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
            hash_len=_HASH_BYTES,
            salt_len=_SALT_BYTES,
            type=Type.ID,
        )
        self._nobodys_hash = _unmatchable_hash(settings)
        self._threads: ThreadPoolExecutor | None = None
        self._turns = Turns(settings.argon2_threads, most=MAX_PENDING, most_of_one=MAX_OF_ONE)

    def open(self) -> None:
        """Allow hashing; the threads start when they are needed."""
        threads = self._settings.argon2_threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_let_others_go_first)

    def close(self) -> None:
        """Drop what has not begun; what has begun ends by itself within one hash."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def hash(self, password: str, source: str = "") -> str:
        """Return the Argon2id hash in PHC format, in *source*'s turn: who or where it comes from. Raises Unavailable when too many wait."""
        return await self._run(lambda: self._hasher.hash(_normalised(password)), source)

    async def check(self, password: str, known_hash: str | None, source: str = "") -> PasswordCheck:
        """Compare with *known_hash*; None means that there is no such account, and takes as long. Raises Unavailable, as `hash`."""
        return await self._run(lambda: self._check(password, known_hash), source)

    def _check(self, password: str, known_hash: str | None) -> PasswordCheck:
        try:
            self._hasher.verify(known_hash or self._nobodys_hash, _normalised(password))
        except (VerificationError, InvalidHashError):
            return PasswordCheck(is_right=False)
        if known_hash is None:
            return PasswordCheck(is_right=False)
        if self._hasher.check_needs_rehash(known_hash):
            return PasswordCheck(is_right=True, new_hash=self._hasher.hash(_normalised(password)))
        return PasswordCheck(is_right=True)

    async def _run(self, job: Callable[[], Answer], source: str = "") -> Answer:
        if self._threads is None:
            raise Unavailable("The server is ending.", retry_after_seconds=2)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._turns.take(source):
                return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except Crowded:
            raise Unavailable("Too many people are signing in right now.", retry_after_seconds=2) from None
        except TimeoutError:
            raise Unavailable("Too many people are signing in right now.", retry_after_seconds=5) from None


def _let_others_go_first() -> None:
    """Give this thread less of the processor than the event loop's has, where the system knows threads by numbers."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _normalised(password: str) -> bytes:
    """Return the bytes to hash: NFKC, as keyboards compose accents in different ways (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password).encode()


def _unmatchable_hash(settings: AuthSettings) -> str:
    """Return a hash of today's parameters whose password nobody knows, without the time of hashing one."""
    salt, digest = (base64.b64encode(os.urandom(size)).rstrip(b"=").decode() for size in (_SALT_BYTES, _HASH_BYTES))
    parameters = f"m={settings.argon2_memory_kib},t={settings.argon2_time_cost},p={settings.argon2_parallelism}"
    return f"$argon2id$v=19${parameters}${salt}${digest}"
