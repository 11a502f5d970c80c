"""What messages, threads and read marks look like in answers, as the database writes them."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.messages.procedures import Chunk
from rustygpt.wire import Message, Page, Snapshot, StreamCursor, Thread


class MessagePage(Snapshot):
    """Messages of a conversation, newest first."""

    items: list[Message]


class ThreadPage(Snapshot):
    """Threads of a conversation by last activity."""

    items: list[Thread]


class ThreadTree(Snapshot):
    """Messages of one thread by ordinal; `parent_id` says how they nest."""

    items: list[Message]

    root_id: UUID
    conversation_id: UUID


class SingleMessage(Message):
    """One message, and the place in the event log at which it is like that."""

    stream_cursor: StreamCursor


class ChunkPage(Page):
    """Stored pieces of a reply, in order."""

    items: list[Chunk]


class QueuedReply(TypedDict):
    """The reply that a message asked for."""

    message_id: UUID
    state: Literal["queued"]


class Posted(TypedDict):
    """What was posted."""

    message_id: UUID
    root_id: UUID
    conversation_id: UUID
    parent_id: UUID | None
    depth: int
    generation: Annotated[QueuedReply | None, Field(description="Null where the assistant was not asked.")]


class ReadState(TypedDict):
    """How far one has read in a thread."""

    root_id: UUID
    unread: int
    read_ordinal: int
