"""Typed calls of the message procedures, one each, under the same names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from rustygpt.database.call import Caller
from rustygpt.ids import ConversationId, MessageId, UserId


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """The answer of a post; `position` is None when it is an earlier one; `is_queued` says that a reply waits for a model."""

    answer: dict[str, Any]
    position: int | None
    is_queued: bool


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """What a POST with the same key was answered, or None."""

    answer: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages, newest first, with their seqs, from the snapshot in which the log ended at `stream_cursor`."""

    items: list[dict[str, Any]]
    seqs: list[int]
    stream_cursor: str


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """Threads by last activity with their sort keys, from one snapshot."""

    items: list[dict[str, Any]]
    ats: list[datetime]
    roots: list[UUID]
    stream_cursor: str


@dataclass(frozen=True, slots=True)
class TreePage:
    """Messages of one thread with their ordinals, from one snapshot."""

    conversation_id: UUID
    items: list[dict[str, Any]]
    ordinals: list[int]
    stream_cursor: str


@dataclass(frozen=True, slots=True)
class MessageNow:
    """One message and the log's end in the same snapshot."""

    message: dict[str, Any]
    stream_cursor: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """One stored delta of a reply."""

    idx: int
    content: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReadMark:
    """Where the actor's watermark is now; `position` is None when it did not move."""

    root_id: UUID
    unread: int
    read_ordinal: int
    position: int | None


@dataclass(frozen=True, slots=True)
class Changed:
    """The answer of a change to a message; `position` is None when nothing changed."""

    answer: dict[str, Any]
    position: int | None


async def post_message(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId | None,
    parent: UUID | None,
    content: str,
    model: str | None,
    mention: str | None,
    key: str | None,
    max_queued: int,
    max_queued_per_user: int,
) -> PostedMessage:
    """Say something. *mention*: None not at all, "" the assistant by its general name, else a model.

    Raises NotFound, Forbidden, Conflict; RateLimited and Unavailable where a reply cannot be queued: then nothing was stored.
    """
    return await database.one(
        "post_message",
        PostedMessage,
        actor=actor,
        conversation=conversation,
        parent=parent,
        content=content,
        model=model,
        mention=mention,
        key=key,
        max_queued=max_queued,
        max_queued_per_user=max_queued_per_user,
    )


async def recall_post(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId | None,
    parent: UUID | None,
    content: str,
    model: str | None,
    key: str | None,
) -> EarlierAnswer:
    """Find what the same post was answered earlier. Raises NotFound, Forbidden, Conflict."""
    return await database.one(
        "recall_post",
        EarlierAnswer,
        actor=actor,
        conversation=conversation,
        parent=parent,
        content=content,
        model=model,
        key=key,
    )


async def list_messages(
    database: Caller, *, actor: UserId, conversation: ConversationId, before: int | None, limit: int
) -> MessagePage:
    """List a conversation's messages, newest first. Raises NotFound."""
    return await database.one("list_messages", MessagePage, actor=actor, conversation=conversation, before=before, limit=limit)


async def list_threads(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId,
    before_at: datetime | None,
    before_root: UUID | None,
    limit: int,
) -> ThreadPage:
    """List a conversation's threads by last activity. Raises NotFound."""
    return await database.one(
        "list_threads",
        ThreadPage,
        actor=actor,
        conversation=conversation,
        before_at=before_at,
        before_root=before_root,
        limit=limit,
    )


async def read_tree(
    database: Caller, *, actor: UserId, root: UUID, after: int | None, before: int | None, newest_first: bool, limit: int
) -> TreePage:
    """Read a thread between two ordinals, both exclusive. Raises NotFound."""
    return await database.one(
        "read_tree", TreePage, actor=actor, root=root, after=after, before=before, newest_first=newest_first, limit=limit
    )


async def ordinal_of(database: Caller, *, actor: UserId, root: UUID, message: UUID) -> int:
    """Return a message's ordinal in its thread. Raises NotFound."""
    return await database.value("ordinal_of", int, actor=actor, root=root, message=message)


async def get_message(database: Caller, *, actor: UserId, message: MessageId) -> MessageNow:
    """Return one message. Raises NotFound."""
    return await database.one("get_message", MessageNow, actor=actor, message=message)


async def list_chunks(database: Caller, *, actor: UserId, message: MessageId, start: int, limit: int) -> list[Chunk]:
    """List a reply's stored deltas from chunk *start* on. Raises NotFound."""
    return await database.many("list_chunks", Chunk, actor=actor, message=message, start=start, limit=limit)


async def mark_read(database: Caller, *, actor: UserId, root: UUID, ordinal: int | None, message: UUID | None) -> ReadMark:
    """Move the actor's watermark forward. Raises NotFound."""
    return await database.one("mark_read", ReadMark, actor=actor, root=root, ordinal=ordinal, message=message)


async def edit_message(database: Caller, *, actor: UserId, message: MessageId, content: str) -> Changed:
    """Replace the text of one's own message. Raises NotFound, Forbidden, Conflict, RateLimited."""
    return await database.one("edit_message", Changed, actor=actor, message=message, content=content)


async def delete_message(database: Caller, *, actor: UserId, message: MessageId) -> Changed:
    """Take a message back; twice is once. Raises NotFound, Forbidden, Conflict, RateLimited."""
    return await database.one("delete_message", Changed, actor=actor, message=message)


async def restore_message(database: Caller, *, actor: UserId, message: MessageId) -> Changed:
    """Undo a deletion; twice is once. Raises NotFound, Forbidden, RateLimited."""
    return await database.one("restore_message", Changed, actor=actor, message=message)
