"""What messages, threads and read marks look like in answers, as the database writes them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.messages.procedures import Chunk
from rustygpt.wire import Message, Page, Person, Snapshot, StreamCursor, Thread


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


class Edited(TypedDict):
    """A message that says something else now."""

    message_id: UUID
    root_id: UUID
    conversation_id: UUID
    content: str
    edited_at: Annotated[datetime | None, Field(description="Null where the text is the first one still.")]


class Deleted(TypedDict):
    """A message that was taken back."""

    message_id: UUID
    root_id: UUID
    conversation_id: UUID
    deleted_at: datetime
    deleted_by: Person | None


class Restored(TypedDict):
    """A message that is there again."""

    message_id: UUID
    root_id: UUID
    conversation_id: UUID
    content: str


class ReadState(TypedDict):
    """How far one has read in a thread."""

    root_id: UUID
    unread: int
    read_ordinal: int
