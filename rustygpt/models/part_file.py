"""A model on its way into the folder: written aside, checked, and put in its place whole or not at all.

A part is locked by whoever writes it, until its process ends, however that ends: two processes never write the same part, and one that
nobody holds is known to be abandoned. What `sync` has returned is on the disk also after a power cut.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from rustygpt.models.failure import ModelFailure
from rustygpt.models.gguf_header import GgufHeader, Incomplete, NotAModel, read_header

PART_SUFFIX: Final = ".part"
BLOCK_BYTES: Final = 1_048_576
"""Written and hashed at a time, in a thread."""
FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_LINK_ERRNOS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
FIRST_LOOK_BYTES: Final = 24

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def in_thread(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run *work* in a thread. When cancelled, wait for its end first: nobody may close a file under it. Raises ModelFailure for OSError."""
    future = asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        with suppress(Exception):
            future.result()
        raise
    except OSError as error:
        raise folder_failure(error) from error


def folder_failure(error: OSError) -> ModelFailure:
    """Say what is wrong with the folder, without its path."""
    if error.errno in FULL_ERRNOS:
        return ModelFailure("disk_full", "The disk is full, or the file is larger than may be written there.")
    return ModelFailure("folder_unusable", f"The models folder cannot be used: {error.strerror or type(error).__name__}.")


class PartFile:
    """An open, locked part, for several tasks. `open` it, `begin`, `write` and `sync`; then `settle` it, and `remove` it when that is noted; `close` in any case."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = 0
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._block = bytearray()
        self._next_look = FIRST_LOOK_BYTES
        self._header: GgufHeader | None = None
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> "PartFile":
        """Open or make the part. Raises ModelFailure when another process writes it, or the folder cannot be used."""
        opened: list[PartFile] = []
        try:
            await in_thread(cls._open, path, opened)
        except asyncio.CancelledError:
            for part in opened:
                await part.close()
            raise
        return opened[0]

    @classmethod
    def _open(cls, path: Path, opened: "list[PartFile]") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        if not lock(descriptor, path):
            os.close(descriptor)
            raise ModelFailure("folder_unusable", "Another process still writes this file.", is_passing=True)
        opened.append(cls(path, descriptor))

    async def begin(self, offset: int) -> int:
        """Keep the first *offset* bytes and return how many were kept: none when there are fewer."""
        async with self._turn:
            return await in_thread(self._begin, offset)

    def _begin(self, offset: int) -> int:
        kept = offset if os.fstat(self._descriptor).st_size >= offset else 0
        os.ftruncate(self._descriptor, kept)
        self.size, self._digest, self._next_look, self._header = kept, hashlib.sha256(), FIRST_LOOK_BYTES, None
        self._block.clear()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        left = kept
        while left:
            block = os.read(self._descriptor, min(left, BLOCK_BYTES))
            self._digest.update(block)
            left -= len(block)
        return kept

    async def write(self, data: bytes, total: int | None) -> None:
        """Add *data*, of a file of *total* bytes. Raises ModelFailure, also as soon as it is plain that this will be no model."""
        async with self._turn:
            self._block += data
            if len(self._block) >= BLOCK_BYTES or self.size + len(self._block) >= self._next_look:
                await in_thread(self._flush)
                await in_thread(self._look, total)

    async def sync(self) -> int:
        """Bring everything to the disk and return its size in bytes."""
        async with self._turn:
            await in_thread(self._sync)
            return self.size

    async def settle(self, target: Path, *, sha256: str | None) -> tuple[str, GgufHeader]:
        """Check the whole file and put it in its place; return its checksum and header. The part stays until `remove`.

        Raises ModelFailure: checksum_mismatch, not_a_model, name_taken.
        """
        async with self._turn:
            return await in_thread(self._settle, target, sha256)

    async def remove(self) -> None:
        """Delete the part."""
        await in_thread(self.path.unlink, missing_ok=True)

    async def close(self) -> None:
        """Let go of the part, which stays as it is. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            await in_thread(os.close, descriptor)

    def _flush(self) -> None:
        with memoryview(bytes(self._block)) as block:
            self._block.clear()
            written = 0
            while written < len(block):
                written += os.write(self._descriptor, block[written:])
            self._digest.update(block)
            self.size += len(block)

    def _sync(self) -> None:
        self._flush()
        os.fdatasync(self._descriptor)

    def _look(self, total: int | None) -> None:
        """Read the header once enough may be there; looks grow apart, so that they cost no more than reading the header twice."""
        if self._header is not None or self.size < self._next_look:
            return
        self._next_look = max(BLOCK_BYTES, 2 * self.size)
        with suppress(Incomplete):
            self._header = self._read_header(total)

    def _read_header(self, total: int | None) -> GgufHeader:
        try:
            with self.path.open("rb") as file:
                return read_header(file, self.size, total)
        except NotAModel as error:
            raise ModelFailure("not_a_model", f"This is no GGUF model that can be used: {error}.") from None

    def _settle(self, target: Path, sha256: str | None) -> tuple[str, GgufHeader]:
        self._sync()
        digest = self._digest.hexdigest()
        if sha256 is not None and digest != sha256:
            raise ModelFailure("checksum_mismatch", f"The file's SHA-256 is {digest}, and should be {sha256}.")
        try:
            header = self._read_header(self.size)
        except Incomplete:
            raise ModelFailure("not_a_model", "The file ends in the middle of its header.") from None
        os.fsync(self._descriptor)
        _put_in_place(self.path, target)
        sync_folder(target.parent)
        return digest, header


def lock(descriptor: int, path: Path) -> bool:
    """Lock the open file that *path* still names. False when somebody else holds it, or has replaced it meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _put_in_place(part: Path, target: Path) -> None:
    """Give the part its name, unless another file has it. A part that has it already (its process was killed right then) is well."""
    try:
        os.link(part, target)
    except FileExistsError:
        if not part.samefile(target):
            raise ModelFailure("name_taken", f"There is a model {target.stem} already.") from None
    except OSError as error:
        if error.errno not in NO_LINK_ERRNOS:
            raise
        if target.exists():  # a file system without hard links: here two that finish at once would be told apart too late
            raise ModelFailure("name_taken", f"There is a model {target.stem} already.") from None
        part.rename(target)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
