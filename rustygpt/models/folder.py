"""The folder of GGUF files: what is there, what fits, what goes. Every function blocks, and is for a thread.

Only files that the library could have made are touched: models by the names it gives, and parts that nobody holds.
"""

import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog

from rustygpt.models.failure import ModelFailure
from rustygpt.models.gguf_header import GgufHeader, Incomplete, NotAModel, read_header
from rustygpt.models.part_file import PART_SUFFIX, lock, sync_folder
from rustygpt.models.source import SUFFIX

FIRST_PART: Final = re.compile(r"(?P<stem>.*)-00001-of-(?P<count>\d{5})")
UPLOAD_PREFIX: Final = "upload-"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that need not be there yet; *min_free_bytes* of its disk stay free."""

    path: Path
    min_free_bytes: int

    def target(self, model: str) -> Path:
        """Where the file of *model* is."""
        return self.path / f"{model}{SUFFIX}"

    def job_part(self, job: UUID) -> Path:
        """Where the part of a job's file is."""
        return self.path / f"{job}{PART_SUFFIX}"

    def upload_part(self, upload: UUID) -> Path:
        """Where the part of an upload is."""
        return self.path / f"{UPLOAD_PREFIX}{upload}{PART_SUFFIX}"

    def make(self) -> None:
        """Make the folder, if it can be made: one that is only read may be another's to make."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("models_folder_missing", reason=error.strerror)

    def require_new(self, model: str) -> None:
        """Raise ModelFailure when there is a model of this name."""
        if os.path.lexists(self.target(model)):
            raise ModelFailure(
                "name_taken", f"There is a model {model} already. Delete it first, or give the new one another name."
            )

    def require_space(self, size_bytes: int) -> None:
        """Raise ModelFailure unless so many more bytes fit."""
        self.path.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.path).free
        if free - size_bytes < self.min_free_bytes:
            raise ModelFailure(
                "disk_full", f"The disk has {free} bytes free, {size_bytes} more are needed, and {self.min_free_bytes} stay free."
            )

    def files(self, model: str) -> list[Path]:
        """Return the files of a model: one, or all parts of a split one. Empty when it is not in the folder."""
        target = self.target(model)
        if Path(model).name != model or not target.is_file():
            return []
        match = FIRST_PART.fullmatch(model)
        if match is None:
            return [target]
        count = int(match["count"])
        parts = [self.target(f"{match['stem']}-{number:05}-of-{match['count']}") for number in range(1, min(count, 999) + 1)]
        return [part for part in parts if part.is_file()]

    def size_bytes(self, model: str) -> int | None:
        """Return how much of the disk a model takes; None when it is not in the folder."""
        files = self.files(model)
        return sum(file.stat().st_size for file in files) if files else None

    def header(self, model: str) -> GgufHeader | None:
        """Read the header of a model's first file; None when it cannot be read."""
        files = self.files(model)
        try:
            with files[0].open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                return read_header(file, size, size)
        except (IndexError, OSError, Incomplete, NotAModel):
            return None

    def delete(self, model: str) -> bool:
        """Delete a model's files, the first last; False when there are none. Raises OSError."""
        files = self.files(model)
        for file in reversed(files):
            file.unlink(missing_ok=True)
        if files:
            sync_folder(self.path)
        return bool(files)

    def sweep(self, wanted: Collection[UUID]) -> int:
        """Delete the parts that nobody writes and no job of *wanted* will go on with; return how many."""
        swept = 0
        for part in self.path.glob(f"*{PART_SUFFIX}"):
            if _is_ours(part.name) and part.name not in {f"{job}{PART_SUFFIX}" for job in wanted}:
                swept += _delete_abandoned(part)
        return swept


def _is_ours(name: str) -> bool:
    try:
        return bool(UUID(name.removeprefix(UPLOAD_PREFIX).removesuffix(PART_SUFFIX)))
    except ValueError:
        return False  # somebody else's download


def _delete_abandoned(part: Path) -> bool:
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not lock(descriptor, part):
            return False
        part.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return True
