"""What events hold, field by field: the payload of each type. Built by the database and by frames.py, never here."""

from datetime import datetime
from typing import Annotated, Literal, NotRequired
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.streaming.events import GapReason
from rustygpt.wire import (
    AssistantMode,
    Failure,
    FinishReason,
    MemberRole,
    Message,
    Person,
    PromptContext,
    SamplingParameters,
    ThreadSummary,
    Timing,
    Usage,
)


class NewThread(TypedDict):
    """A thread has begun."""

    root_id: UUID
    summary: ThreadSummary


class ThreadActivity(TypedDict):
    """A thread has grown."""

    root_id: UUID
    last_activity_at: datetime
    message_count: int
    participant_count: int


class CreatedMessage(TypedDict):
    """A message is there, as in lists."""

    message: Message


class DeltaText(TypedDict):
    """A piece of text; `role` comes with the first."""

    role: NotRequired[Literal["assistant"]]
    content: str


class DeltaChoice(TypedDict):
    """OpenAI's wrapping of a piece."""

    index: Literal[0]
    delta: DeltaText
    finish_reason: None


class Delta(TypedDict):
    """A piece of a reply, written as OpenAI's `chat.completion.chunk`."""

    id: str
    object: Literal["chat.completion.chunk"]
    root_id: UUID
    message_id: UUID
    parent_id: UUID | None
    idx: Annotated[int, Field(description="The number of the stored chunk, from 0; the last one of a merged frame.")]
    idx_from: NotRequired[Annotated[int, Field(description="The first one of a merged frame.")]]
    choices: list[DeltaChoice]


class DoneMessage(TypedDict):
    """A reply, or one attempt at it, has ended."""

    message_id: UUID
    root_id: UUID
    finish_reason: FinishReason
    usage: Usage | None
    chunks: int
    model: str | None
    attempt: int
    context: PromptContext | None
    timing: Timing


class EditedMessage(TypedDict):
    """A message says something else now."""

    message_id: UUID
    root_id: UUID
    content: str
    edited_at: datetime


class DeletedMessage(TypedDict):
    """A message was taken back."""

    message_id: UUID
    root_id: UUID
    deleted_at: datetime
    deleted_by: Person | None
    next_idx: Annotated[int, Field(description="How many chunks of a reply this is about; one that has more is there again.")]


class RestoredMessage(TypedDict):
    """A message is there again."""

    message_id: UUID
    root_id: UUID
    content: str
    next_idx: Annotated[int, Field(description="How many chunks of a reply `content` holds.")]


class ContinuedMessage(TypedDict):
    """A reply runs again."""

    message_id: UUID
    root_id: UUID
    next_idx: int
    attempt: int


class MemberChanged(TypedDict):
    """Somebody came, went, or has another role."""

    user_id: UUID
    role: MemberRole
    action: Literal["added", "removed", "role_updated"]
    user: Person
    member_count: int
    assistant_mode: AssistantMode


class ConversationChanged(TypedDict, total=False):
    """What changed of a conversation; `archived_at` is its end."""

    title: str
    is_group: bool
    model: str | None
    system_prompt: str
    parameters: SamplingParameters
    assistant_mode: AssistantMode
    archived_at: datetime


class UnreadChanged(TypedDict):
    """How far one has read in a thread; to oneself alone."""

    root_id: UUID
    unread: int
    read_ordinal: int


class EventFailure(Failure):
    """Why a reply, or the stream, has ended."""

    message_id: NotRequired[UUID]
    attempt: NotRequired[int]


class QueuePlace(TypedDict):
    """A reply waits for a model; position 1 is next."""

    message_id: UUID
    position: int
    estimated_seconds: int | None


class Greeting(TypedDict):
    """Where a stream begins, and how often it says that it lives."""

    resumed: bool
    cursor: str
    heartbeat_seconds: float


# `from` is a word of Python's own. What follows `refetch` comes with slow_consumer, where some deltas were left out.
Gap = TypedDict(
    "Gap",
    {
        "reason": GapReason,
        "from": str,
        "to": str,
        "refetch": list[str],
        "conversation_id": NotRequired[UUID],
        "message_id": NotRequired[UUID],
        "from_idx": NotRequired[int],
        "to_idx": NotRequired[int],
    },
)
Gap.__doc__ = "Something is missing: read the addresses in `refetch` anew."
