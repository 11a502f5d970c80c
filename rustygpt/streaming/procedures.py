"""Typed calls of the event log's procedures, one each, under the same names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from rustygpt.database.call import Caller
from rustygpt.ids import ConversationId, UserId
from rustygpt.streaming.events import GapReason, LoggedEvent


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends; positions below `first_position` have been pruned."""

    epoch: str
    position: int
    first_position: int


@dataclass(frozen=True, slots=True)
class OpenedStream:
    """Where a stream starts. With a `gap_reason`, `start` is the position after the hole and `gap_from` where it begins."""

    epoch: str
    head: int
    start: int
    gap_reason: GapReason | None
    gap_from: int | None


@dataclass(frozen=True, slots=True)
class OpenedUserStream(OpenedStream):
    """The same for a user's own stream, with the conversations that the user is in at `head`, and has been since `start` if `is_settled`."""

    conversations: list[UUID]
    is_settled: bool


@dataclass(frozen=True, slots=True)
class AppendedDelta:
    """What became of one chunk: status is appended, duplicate or refused; the rest is None when refused."""

    status: str
    position: int | None
    prev: int | None
    at: datetime | None
    is_cancelled: bool | None


async def stream_head(database: Caller) -> Head:
    """Read where the log ends."""
    return await database.one("stream_head", Head)


async def renew_epoch(database: Caller, *, epoch: str, position: int) -> str:
    """Start a new epoch when the log of *epoch* ends before *position*, which it had reached; return the epoch that holds now."""
    return await database.value("renew_epoch", str, epoch=epoch, position=position)


async def read_events(database: Caller, *, after: int, limit: int) -> list[LoggedEvent]:
    """Read the log of all conversations after a position, in order."""
    return await database.many("read_events", LoggedEvent, after=after, limit=limit)


async def read_log(database: Caller, *, after: int, upto: int, limit: int) -> list[LoggedEvent]:
    """Read the log of all conversations in (after, upto], in order. Raises NotFound when some of it is gone."""
    return await database.many("read_log", LoggedEvent, after=after, upto=upto, limit=limit)


async def read_conversation_events(
    database: Caller, *, conversation: ConversationId, after: int, upto: int, limit: int
) -> list[LoggedEvent]:
    """Read one conversation's log in (after, upto], personal events of everybody included. Raises NotFound when some of it is gone."""
    return await database.many(
        "read_conversation_events", LoggedEvent, conversation=conversation, after=after, upto=upto, limit=limit
    )


async def read_user_events(database: Caller, *, user: UserId, after: int, upto: int, limit: int) -> list[LoggedEvent]:
    """Read what a user may see of the log in (after, upto]. Raises NotFound when some of it is gone."""
    return await database.many("read_user_events", LoggedEvent, user=user, after=after, upto=upto, limit=limit)


async def open_conversation_stream(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId,
    epoch: str | None,
    after: int | None,
    since: datetime | None,
    max_backlog: int,
) -> OpenedStream:
    """Pass the gate and find the start. Raises NotFound."""
    return await database.one(
        "open_conversation_stream",
        OpenedStream,
        actor=actor,
        conversation=conversation,
        epoch=epoch,
        after=after,
        since=since,
        max_backlog=max_backlog,
    )


async def open_user_stream(
    database: Caller, *, actor: UserId, epoch: str | None, after: int | None, since: datetime | None, max_backlog: int
) -> OpenedUserStream:
    """Find the start of a user's own stream, and the user's conversations."""
    return await database.one(
        "open_user_stream", OpenedUserStream, actor=actor, epoch=epoch, after=after, since=since, max_backlog=max_backlog
    )


async def begin_log(database: Caller, *, is_kept: bool) -> str:
    """Prepare the log at a start, and return its epoch; a log that is not kept is emptied."""
    return await database.value("begin_log", str, is_kept=is_kept)


async def prune_events(database: Caller, *, retention_seconds: float, keep: int | None, limit: int) -> int:
    """Delete up to *limit* of the oldest events: those that are too old, and all but the newest *keep*. Return how many went."""
    return await database.value("prune_events", int, retention_seconds=retention_seconds, keep=keep, limit=limit)


async def append_deltas(
    database: Caller,
    *,
    messages: Sequence[UUID],
    fences: Sequence[int],
    indexes: Sequence[int],
    contents: Sequence[str],
    lease_seconds: float,
) -> list[AppendedDelta]:
    """Store one chunk for each of several replies; the answers come in the given order."""
    return await database.many(
        "append_deltas",
        AppendedDelta,
        messages=messages,
        fences=fences,
        indexes=indexes,
        contents=contents,
        lease_seconds=lease_seconds,
    )


async def notify_bus(database: Caller, *, payload: str) -> None:
    """Tell every process that listens. *payload* has less than 8000 bytes."""
    await database.void("notify_bus", payload=payload)


async def bus_channel(database: Caller) -> str:
    """Return the name under which the processes of this database meet elsewhere."""
    return await database.value("bus_channel", str)
