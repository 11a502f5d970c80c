"""Looks for jobs and for changes of the library, once every second and a half and whenever it is told to.

So whatever any process changes, every process knows within two seconds, also when no signal came through.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.errors import DomainError
from rustygpt.ids import new_uuid
from rustygpt.models.failure import ModelFailure
from rustygpt.models.folder import Folder
from rustygpt.models.jobs import LEASE_SECONDS, Job
from rustygpt.models.part_file import in_thread
from rustygpt.models.procedures import claim_model_job, list_open_model_jobs, look_at_models

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.models.shelf import Shelf
    from rustygpt.settings_models import ModelSettings
    from rustygpt.signals import Announcer, SignalKind

LOOK_SECONDS: Final = 1.5
SWEEP_SECONDS: Final = 600.0

log = structlog.get_logger(__name__)


class JobRunner:
    """Runs jobs of the library. *is_alone*: no other process serves this database, so what others own is orphaned."""

    def __init__(
        self, database: Caller, shelf: Shelf, folder: Folder, settings: ModelSettings, announcer: Announcer, *, is_alone: bool
    ) -> None:
        self._database = database
        self._shelf = shelf
        self._folder = folder
        self._settings = settings
        self._announcer = announcer
        self._is_alone = is_alone
        self._owner = str(new_uuid())
        self._running: dict[UUID, Job] = {}
        self._wake = asyncio.Event()
        self._version: int | None = None
        self._sweep_at = 0.0
        self._is_draining = False

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """Hear that the library may have changed, or that a job (*key*) was asked to stop."""
        if kind in ("models_changed", "look"):
            self._wake.set()
            for job_id, job in self._running.items():
                if key in ("", str(job_id)):
                    job.look()

    def begin_drain(self) -> None:
        """Claim nothing more."""
        self._is_draining = True

    async def run(self) -> None:
        """Work until cancelled; then what still runs waits for the next process."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._look(group)
                except DomainError as error:  # the database is away: what runs goes on
                    log.debug("models_unreadable", code=error.code)
                except ModelFailure as failure:
                    log.warning("models_folder_unusable", reason=failure.message)
                await self._wait()

    async def run_one(self, job_id: UUID) -> bool:
        """Claim this job and run it to its end; False when it is not to be had."""
        job = await self._claim(job_id)
        if job is not None:
            await job.run()
        return job is not None

    async def _look(self, group: asyncio.TaskGroup) -> None:
        look = await look_at_models(self._database)
        if look.version != self._version:
            is_first, self._version = self._version is None, look.version
            if not is_first:
                await self._shelf.look_again()
        while look.has_work and not self._is_draining:
            job = await self._claim(None)
            if job is None:
                break
            self._running[job.claim.id] = job
            group.create_task(self._run(job))
        if asyncio.get_running_loop().time() >= self._sweep_at:
            self._sweep_at = asyncio.get_running_loop().time() + SWEEP_SECONDS
            swept = await in_thread(self._folder.sweep, [row.id for row in await list_open_model_jobs(self._database)])
            if swept:
                log.info("model_parts_swept", parts=swept)

    async def _claim(self, job_id: UUID | None) -> Job | None:
        claim = await claim_model_job(
            self._database,
            owner=self._owner,
            is_alone=self._is_alone,
            job=job_id,
            lease_seconds=LEASE_SECONDS,
            max_running=self._settings.max_concurrent_jobs,
        )
        if claim is None:
            return None
        log.info("model_job_begun", job_id=str(claim.id), model=claim.model, bytes_done=claim.bytes_done)
        return Job(claim, self._database, self._shelf, self._folder, self._settings)

    async def _run(self, job: Job) -> None:
        try:
            await job.run()
        except Exception:  # a defect must not take the other jobs along; the lease runs out
            log.exception("model_job_crashed", job_id=str(job.claim.id))
        finally:
            del self._running[job.claim.id]
        self._announcer.signal("models_changed", str(job.claim.id))  # also to this process: the next job may begin

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
