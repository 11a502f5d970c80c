"""A pull of one file: asked for again and again, going on where it was, until it is whole and checked.

The row of the job never claims a byte that is not on the disk: `progress` moves only after a sync. So a process that is killed, or a
machine that loses power, costs a second of download.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import structlog

from rustygpt.models.failure import ModelFailure
from rustygpt.models.fetch import Opened, RangeLost, Wanted, open_download
from rustygpt.models.folder import Folder
from rustygpt.models.notes import file_note
from rustygpt.models.part_file import PartFile, in_thread
from rustygpt.models.procedures import JobClaim
from rustygpt.settings_models import ModelSettings

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 15.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a job is; written to its row every second. See the comments of rustygpt.model_jobs."""

    bytes_done: int
    bytes_total: int | None
    validator: str | None
    message: str = "Begins."


class FileDownload:
    """Fetches the file of a claimed job into the folder."""

    def __init__(self, claim: JobClaim, progress: Progress, folder: Folder, settings: ModelSettings) -> None:
        self._claim = claim
        self._progress = progress
        self._folder = folder
        self._settings = settings
        self._sha256 = claim.expected_sha256
        self._is_hf = claim.source.startswith("hf:")
        self._part: PartFile | None = None

    async def run(self, part: PartFile) -> dict[str, Any]:
        """Return what is to be noted of the file, which is in its place then. Raises ModelFailure."""
        progress = self._progress
        kept = await part.begin(progress.bytes_done if progress.validator else 0)
        if kept < progress.bytes_done:
            progress.bytes_done, progress.validator = 0, None
            await part.begin(0)
        self._part = part
        await self._require_new(part)
        await self._fetch(part)
        progress.message = "Checks the file."
        digest, header = await part.settle(self._folder.target(self._claim.model), sha256=self._sha256)
        return file_note(part.size, digest, header)

    async def checkpoint(self) -> None:
        """Bring what has come to the disk, and let the row say so; to be called every second. Raises ModelFailure when the disk is full."""
        if self._part is not None:
            self._progress.bytes_done = await self._part.sync()
            await in_thread(self._folder.require_space, max((self._progress.bytes_total or 0) - self._part.size, 0))

    async def _require_new(self, part: PartFile) -> None:
        """Refuse a name that is taken before anything is downloaded, unless it is by this very part."""
        target = self._folder.target(self._claim.model)
        if not await in_thread(lambda: target.exists() and part.path.samefile(target)):
            await in_thread(self._folder.require_new, self._claim.model)

    async def _fetch(self, part: PartFile) -> None:
        """Try until the part is whole, or the source has failed for `retry_seconds` without a byte in between."""
        clock, progress = asyncio.get_running_loop().time, self._progress
        give_up_at, pause = clock() + self._settings.retry_seconds, FIRST_PAUSE_SECONDS
        while progress.bytes_total is None or part.size != progress.bytes_total:
            before = part.size
            try:
                await self._try(part)
                return
            except RangeLost:
                await self._begin_anew(part)
            except ModelFailure as failure:
                progress.bytes_done = await part.sync()
                if part.size > before:
                    give_up_at, pause = clock() + self._settings.retry_seconds, FIRST_PAUSE_SECONDS
                if not failure.is_passing or clock() + pause > give_up_at:
                    raise
                log.info("model_pull_retried", job_id=str(self._claim.id), code=failure.code, bytes_done=part.size)
                progress.message = f"{failure.message} Trying again."
                if progress.validator is None:
                    await self._begin_anew(part)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _begin_anew(self, part: PartFile) -> None:
        await part.begin(0)
        self._progress.bytes_done, self._progress.bytes_total, self._progress.validator = 0, None, None

    async def _try(self, part: PartFile) -> None:
        """Make one request and write what it brings."""
        progress = self._progress
        progress.message = "Connects." if not part.size else "Connects again."
        wanted = Wanted(self._claim.url, part.size, progress.validator, self._is_hf)
        async with open_download(wanted, self._settings) as opened:
            await self._accept(opened, part)
            progress.message = "Downloads."
            await self._write_all(opened, part)
        progress.bytes_done = await part.sync()
        if opened.total is not None and part.size != opened.total:
            raise ModelFailure("source_garbage", f"The source sent {part.size} of {opened.total} bytes.", is_passing=True)

    async def _accept(self, opened: Opened, part: PartFile) -> None:
        """Judge what is offered before the first byte is written."""
        progress = self._progress
        if opened.sha256 is not None:
            if self._sha256 is not None and self._sha256 != opened.sha256:
                raise ModelFailure(
                    "checksum_mismatch", f"The repository's file has the SHA-256 {opened.sha256}, not the one given."
                )
            self._sha256 = opened.sha256
        if opened.offset == 0 and part.size:
            await part.begin(0)
        elif part.size and opened.total is not None and opened.total != (progress.bytes_total or opened.total):
            raise RangeLost  # another file under the same validator
        progress.bytes_done, progress.bytes_total, progress.validator = opened.offset, opened.total, opened.validator
        if opened.total is not None:
            self._require_size(opened.total)
            await in_thread(self._folder.require_space, opened.total - opened.offset)

    async def _write_all(self, opened: Opened, part: PartFile) -> None:
        received = opened.offset
        async for chunk in opened.chunks:
            received += len(chunk)
            self._require_size(received)
            await part.write(chunk, opened.total)

    def _require_size(self, size: int) -> None:
        if size > self._settings.max_bytes:
            raise ModelFailure(
                "too_large", f"The file has {size} bytes or more, and models.max_bytes is {self._settings.max_bytes}."
            )
