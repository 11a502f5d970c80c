"""The committer: log first, then send. No byte with an id leaves the process before its row is committed.

All replies of the process share one call at a time. When idle it commits at once; while a commit is under way, or within
`sse.flush_ms` of the last, what arrives is merged and goes in the next call. A commit of unknown outcome is repeated exactly: the
procedure answers a chunk it already has with the position it took.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.database.call import Caller
from rustygpt.errors import DomainError
from rustygpt.observability.metrics import Metrics
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.outbox import Outbox
from rustygpt.streaming.procedures import AppendedDelta, append_deltas

if TYPE_CHECKING:
    from rustygpt.settings_streaming import SseSettings

log = structlog.get_logger(__name__)

MAX_ROWS: Final = 500
RETRY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)


class Reply:
    """Which message an outbox writes to; what a frame needs beside the chunk."""

    __slots__ = ("conversation_id", "message_id", "outbox", "parent_id", "root_id")

    def __init__(self, conversation_id: UUID, root_id: UUID, parent_id: UUID | None, message_id: UUID, outbox: Outbox) -> None:
        self.conversation_id = conversation_id
        self.root_id = root_id
        self.parent_id = parent_id
        self.message_id = message_id
        self.outbox = outbox


class EventLog:
    """Commits deltas for every reply of this process, and hands the committed events to *publish* in log order."""

    def __init__(
        self,
        database: Caller,
        settings: SseSettings,
        metrics: Metrics,
        *,
        lease_seconds: float,
        publish: Callable[[Sequence[LoggedEvent]], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._lease_seconds = lease_seconds
        self._publish = publish
        self._replies: dict[UUID, Reply] = {}
        self._work = asyncio.Event()
        self._failing_since: float | None = None
        self._next_flush_at = 0.0

    def open(
        self,
        *,
        conversation_id: UUID,
        root_id: UUID,
        parent_id: UUID | None,
        message_id: UUID,
        fence: int,
        next_idx: int,
        on_cancelled: Callable[[], None],
    ) -> Outbox:
        """Return the outbox of a claimed generation. *on_cancelled* is called when a commit finds that a stop was asked for.

        A reply that goes on may be claimed again here while its former run is still about to be released: that one is closed.
        """
        if (former := self._replies.get(message_id)) is not None:
            former.outbox.close("refused")
        outbox = Outbox(
            message_id,
            fence,
            next_idx=next_idx,
            max_bytes=self._settings.outbox_bytes,
            on_work=self._work.set,
            on_cancelled=on_cancelled,
        )
        self._replies[message_id] = Reply(conversation_id, root_id, parent_id, message_id, outbox)
        return outbox

    def release(self, message_id: UUID, fence: int) -> None:
        """Forget a generation's outbox; what it still holds is dropped."""
        if (reply := self._replies.get(message_id)) is not None and reply.outbox.fence == fence:
            del self._replies[message_id]
            reply.outbox.close("refused")

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._work.wait()
            await self._pace()
            self._work.clear()
            batch = [reply for reply in self._replies.values() if reply.outbox.has_work][:MAX_ROWS]
            if batch:
                await self._commit(batch)
            if any(reply.outbox.has_work for reply in self._replies.values()):
                self._work.set()

    async def _pace(self) -> None:
        """Wait until sse.flush_ms after the last commit, unless a reply's first or last chunk is waiting."""
        while (remaining := self._next_flush_at - time.monotonic()) > 0:
            if any(reply.outbox.is_urgent for reply in self._replies.values()):
                return
            self._work.clear()
            try:
                async with asyncio.timeout(remaining):
                    await self._work.wait()
            except TimeoutError:
                return

    async def _commit(self, batch: list[Reply]) -> None:
        contents = [reply.outbox.take() for reply in batch]
        indexes = [reply.outbox.next_idx for reply in batch]
        started = time.monotonic()
        try:
            rows = await append_deltas(
                self._database,
                messages=[reply.message_id for reply in batch],
                fences=[reply.outbox.fence for reply in batch],
                indexes=indexes,
                contents=contents,
                lease_seconds=self._lease_seconds,
            )
        except DomainError as error:
            await self._on_failure(error)
            return
        self._failing_since = None
        self._next_flush_at = time.monotonic() + self._settings.flush_ms / 1000
        self._metrics.sse_commit_seconds.observe(time.monotonic() - started)
        self._metrics.sse_commit_batch_size.observe(len(batch))
        self._settle(batch, indexes, contents, rows)

    def _settle(self, batch: list[Reply], indexes: list[int], contents: list[str], rows: list[AppendedDelta]) -> None:
        committed: list[LoggedEvent] = []
        for reply, idx, content, row in zip(batch, indexes, contents, rows, strict=True):
            if row.position is None or row.at is None or row.prev is None:
                log.warning("delta_refused", message_id=str(reply.message_id), idx=idx)
                reply.outbox.close("refused")
                continue
            reply.outbox.settle(is_cancelled=bool(row.is_cancelled))
            committed.append(_event(reply, idx, content, row.position, row.prev, row))
        if committed:
            # A chunk that had been stored before keeps its old place, whatever its place in this batch.
            self._publish(sorted(committed, key=attrgetter("position")))

    async def _on_failure(self, error: DomainError) -> None:
        """Keep everything for the next attempt; past the deadline close every outbox, which ends its generation as an error."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            log.warning("commit_failing", code=error.code, replies=len(self._replies))
        failing_for = now - self._failing_since
        if failing_for > self._settings.persist_deadline_seconds:
            log.error("commit_abandoned", seconds=round(failing_for, 3), replies=len(self._replies))
            for reply in self._replies.values():
                reply.outbox.close("expired")
            self._failing_since = None
            return
        await asyncio.sleep(next((s for s in RETRY_SECONDS if s > failing_for), RETRY_SECONDS[-1]))
        self._work.set()


def _event(reply: Reply, idx: int, content: str, position: int, prev: int, row: AppendedDelta) -> LoggedEvent:
    assert row.at is not None  # noqa: S101 - the caller has just checked it
    return LoggedEvent(
        position=position,
        prev=prev,
        conversation_id=reply.conversation_id,
        audience_user_id=None,
        type="message.delta",
        root_id=reply.root_id,
        parent_id=reply.parent_id,
        message_id=reply.message_id,
        idx=idx,
        content=content,
        payload=None,
        created_at=row.at,
    )
