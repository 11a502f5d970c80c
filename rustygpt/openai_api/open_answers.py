"""The answers of /v1 that are under way in this process: none begins during a drain, and those that run get their grace, then a last word.

None outlives the credential that it was asked with: a request is watched from before its body is read, so no revocation falls between.
Signals are hints; what they miss is found in the database within `poll_seconds`.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final, Protocol
from uuid import UUID

import structlog

from rustygpt.auth.actor import Actor, KeyActor
from rustygpt.auth.procedures import ended_credentials
from rustygpt.database.pool import Database
from rustygpt.errors import AccountDisabled, AwaitsApproval, DomainError, KeyRevoked, SessionExpired, Unavailable
from rustygpt.signals import SignalKind

RETRY_SECONDS: Final = 5
ASK_SECONDS: Final = 0.5
"""So long may the database take to say why a credential ended, before the answer ends without."""

log = structlog.get_logger(__name__)


class Stoppable(Protocol):
    """An answer that can be told that the process or the right to it ends."""

    def stop_for_drain(self) -> None: ...
    def stop_for_refusal(self, refusal: DomainError) -> None: ...


class Watch:
    """One request, from its credential's check to its end; `attach` the answer once there is one."""

    def __init__(self, actor: Actor) -> None:
        self.credential_id = actor.credential_id
        self._is_key = isinstance(actor, KeyActor)
        self._refusal: DomainError | None = None
        self._answer: Stoppable | None = None

    def attach(self, answer: Stoppable) -> None:
        """Let this answer be stopped; at once when its credential has ended meanwhile."""
        self._answer = answer
        if self._refusal is not None:
            answer.stop_for_refusal(self._refusal)

    def stop_for_drain(self) -> None:
        """The process ends."""
        if self._answer is not None:
            self._answer.stop_for_drain()

    def end(self, user_status: str | None) -> None:
        """The credential has ended, perhaps because of its user's status. Twice is once."""
        if self._refusal is None:
            self._refusal = self._refusal_of(user_status)
            if self._answer is not None:
                self._answer.stop_for_refusal(self._refusal)

    def _refusal_of(self, user_status: str | None) -> DomainError:
        match user_status:
            case "disabled":
                return AccountDisabled()
            case "pending":
                return AwaitsApproval()
            case _:
                return KeyRevoked() if self._is_key else SessionExpired()


class OpenAnswers:
    """*grace_seconds*: what an answer gets after the drain has begun. *poll_seconds*: how often credentials are looked at without a signal."""

    def __init__(self, database: Database, grace_seconds: float, poll_seconds: float) -> None:
        self._database = database
        self._grace_seconds = grace_seconds
        self._poll_seconds = poll_seconds
        self._open: set[Watch] = set()
        self._revoked: set[UUID] = set()
        self._wake = asyncio.Event()
        self._is_draining = False

    def begin_drain(self) -> None:
        """Let nothing begin any more, and stop what is still running after the grace. In the event loop; twice is once."""
        if not self._is_draining:
            self._is_draining = True
            asyncio.get_running_loop().call_later(self._grace_seconds, self._stop_all)

    @contextmanager
    def watched(self, actor: Actor) -> Iterator[Watch]:
        """Keep a request among the open ones. Raises Unavailable during a drain."""
        if self._is_draining:
            raise Unavailable("The server is shutting down.", retry_after_seconds=RETRY_SECONDS)
        watch = Watch(actor)
        self._open.add(watch)
        try:
            yield watch
        finally:
            self._open.discard(watch)

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """End the answers of a revoked credential a moment later; look at all of them when a signal may have been missed."""
        if kind == "look":
            self._wake.set()
        elif kind == "session_revoked":
            revoked = {watch.credential_id for watch in self._open if str(watch.credential_id) == key}
            if revoked:
                self._revoked |= revoked
                self._wake.set()

    async def run(self) -> None:
        """Look at the credentials of open answers until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            revoked, self._revoked = self._revoked, set()
            await self._end_all(revoked)

    async def _end_all(self, revoked: Collection[UUID]) -> None:
        """End the answers whose credentials have ended, and those of *revoked* also when the database does not say why."""
        ended: dict[UUID, str | None] = dict.fromkeys(revoked)
        credentials = {watch.credential_id for watch in self._open}
        if not credentials:
            return
        try:
            async with asyncio.timeout(ASK_SECONDS if revoked else None):
                rows = await ended_credentials(self._database, credentials=list(credentials))
            ended |= {row.credential_id: row.user_status for row in rows}
        except TimeoutError:
            log.warning("session_poll_failed", code="TIMEOUT")
            self._wake.set()  # the others' turn
        except DomainError as error:
            log.warning("session_poll_failed", code=error.code)
        for watch in list(self._open):
            if watch.credential_id in ended:
                watch.end(ended[watch.credential_id])

    def _stop_all(self) -> None:
        for watch in list(self._open):
            watch.stop_for_drain()
