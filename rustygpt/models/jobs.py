"""Runs the jobs of the library: as many at once as the settings allow, each on one process at a time, none lost with its process.

A process claims what waits or was orphaned, and says every second how far it is; so everybody can see, and anybody can stop it. A
process that ends lets its jobs wait for the next one, which goes on where they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from rustygpt.errors import DomainError
from rustygpt.models.download import FileDownload, Progress
from rustygpt.models.failure import ModelFailure
from rustygpt.models.folder import Folder
from rustygpt.models.part_file import PartFile, in_thread
from rustygpt.models.procedures import JobClaim, JobEnd, finish_model_job, release_model_job, renew_model_job

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.models.shelf import Shelf
    from rustygpt.settings_models import ModelSettings

LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 1.0
CHECKPOINT_SECONDS: Final = 0.5
FINISH_RETRY_SECONDS: Final = 0.5
RELEASE_SECONDS: Final = 5.0
MAX_ATTEMPTS: Final = 5
"""Claims of a job that brought not a byte: then it is the job that ends its processes."""
MAX_MESSAGE_CHARACTERS: Final = 500

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Ending:
    """How a job ended; `file` is what is to be noted of one that is in its place."""

    state: JobEnd
    message: str
    code: str | None = None
    file: dict[str, Any] | None = None


class Job:
    """Runs one claim to its end. `run` never raises but for cancellation of its task."""

    def __init__(self, claim: JobClaim, database: Caller, shelf: Shelf, folder: Folder, settings: ModelSettings) -> None:
        self.claim = claim
        self._database = database
        self._shelf = shelf
        self._folder = folder
        self._settings = settings
        self._progress = Progress(claim.bytes_done, claim.bytes_total, claim.validator)
        self._beat = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self._is_cancelled = claim.is_cancelled
        self._is_lost = False
        self._part: PartFile | None = None

    def look(self) -> None:
        """Ask the database now whether somebody wants this stopped."""
        self._beat.set()

    async def run(self) -> None:
        """Do it, and write how it ended."""
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep())
                try:
                    ending = await self._work()
                    if not self._is_lost:
                        await self._finish(ending)
                finally:
                    keeper.cancel()
            if self.claim.kind == "file" and not self._is_lost:
                await self._discard()
        except asyncio.CancelledError:
            await self._release()
            raise
        finally:
            if self._part is not None:
                await self._part.close()
        log.info("model_job_ended", **self._facts(), state="lost" if self._is_lost else ending.state, code=ending.code)

    async def _work(self) -> Ending:
        """Every way in which the work can end becomes an ending."""
        if self.claim.attempts > MAX_ATTEMPTS:
            return Ending("error", "This pull ended the server's process several times.", "internal")
        try:
            async with asyncio.timeout(0 if self._is_cancelled else None) as self._scope:
                file = await (self._pull_file() if self.claim.kind == "file" else self._pull_by_name())
            return Ending("done", "Done.", file=file)
        except TimeoutError:
            if self._is_cancelled or self._is_lost:
                return Ending("cancelled", "Cancelled.")
            log.exception("model_job_crashed", **self._facts())
            return Ending("error", "Something went wrong on the server.", "internal")
        except ModelFailure as failure:
            return Ending("error", failure.message, failure.code)
        except Exception:  # a defect must still end the job: somebody waits for it
            log.exception("model_job_crashed", **self._facts())
            return Ending("error", "Something went wrong on the server.", "internal")
        finally:
            self._scope = None

    async def _pull_file(self) -> dict[str, Any]:
        self._part = part = await self._open_part()
        download = FileDownload(self.claim, self._progress, self._folder, self._settings)
        try:
            async with asyncio.TaskGroup() as group:
                checking = group.create_task(_every(CHECKPOINT_SECONDS, download.checkpoint))
                try:
                    return await download.run(part)
                finally:
                    checking.cancel()
        except* ModelFailure as failures:
            raise _first(failures) from None

    async def _open_part(self) -> PartFile:
        """Open the part, waiting for an owner that has lost the job and does not know it yet."""
        while True:
            try:
                return await PartFile.open(self._folder.job_part(self.claim.id))
            except ModelFailure as failure:
                if not failure.is_passing:
                    raise
                self._progress.message = failure.message
                await asyncio.sleep(RENEW_SECONDS)

    async def _pull_by_name(self) -> None:
        async with aclosing(self._shelf.pull(self.claim.provider, self.claim.model)) as steps:
            async for step in steps:
                self._progress.message = step.message
                self._progress.bytes_done = step.bytes_done
                self._progress.bytes_total = step.bytes_total

    async def _keep(self) -> None:
        """Write how far it is every second, which keeps the lease, and hear of a stop or of another owner."""
        while True:
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._beat.wait()
            except TimeoutError:
                pass
            self._beat.clear()
            try:
                renewal = await self._renew()
            except DomainError as error:
                log.warning("model_job_not_renewed", **self._facts(), code=error.code)
                continue
            if renewal != "kept":
                self._is_cancelled = self._is_cancelled or renewal == "cancelled"
                self._is_lost = self._is_lost or renewal == "lost"
                self._stop()

    async def _renew(self) -> str:
        progress = self._progress
        return await renew_model_job(
            self._database,
            job=self.claim.id,
            fence=self.claim.fence,
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            validator=progress.validator,
            message=_bounded(progress.message),
            lease_seconds=LEASE_SECONDS,
        )

    async def _finish(self, ending: Ending) -> None:
        """Write the end, trying again as long as the database is away: the row must not stay open while we live."""
        while not self._is_lost:
            try:
                self._is_lost = not await finish_model_job(
                    self._database,
                    job=self.claim.id,
                    fence=self.claim.fence,
                    state=ending.state,
                    code=ending.code,
                    message=_bounded(ending.message),
                    bytes_done=self._progress.bytes_done,
                    bytes_total=self._progress.bytes_total,
                    file=ending.file,
                )
                return
            except DomainError as error:
                log.warning("model_job_unfinished", **self._facts(), code=error.code)
                await asyncio.sleep(FINISH_RETRY_SECONDS)

    async def _release(self) -> None:
        """The process ends: let another go on. Should that fail, the lease runs out."""
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._renew()
                await release_model_job(self._database, job=self.claim.id, fence=self.claim.fence)
        except (DomainError, TimeoutError):
            log.warning("model_job_left_open", **self._facts())

    async def _discard(self) -> None:
        try:
            await in_thread(self._folder.job_part(self.claim.id).unlink, missing_ok=True)
        except ModelFailure as failure:  # the next sweep tries again
            log.warning("model_part_left", **self._facts(), reason=failure.message)

    def _stop(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _facts(self) -> dict[str, str]:
        return {"job_id": str(self.claim.id), "provider": self.claim.provider, "model": self.claim.model}


async def _every(seconds: float, step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await step()


def _first(failures: BaseExceptionGroup[ModelFailure]) -> ModelFailure:
    """Return the failure that came first; the other is its echo."""
    found = failures.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _bounded(text: str) -> str:
    """Return *text* as PostgreSQL can hold it and a person may want to read it."""
    return text.replace("\0", "\ufffd")[:MAX_MESSAGE_CHARACTERS]
