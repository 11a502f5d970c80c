"""What streams send: one shape for each type of event, `type` says which. Tests compare them with the frames that they read."""

from datetime import datetime
from typing import Annotated, Final, Literal, NotRequired
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.operation import Answer
from rustygpt.streaming.events import GapReason
from rustygpt.wire import (
    AssistantMode,
    Failure,
    FinishReason,
    MemberRole,
    Message,
    Person,
    SamplingParameters,
    ThreadSummary,
    Usage,
)


class Event(TypedDict):
    """An event of a stream, the `data` of one frame. The frame's `id` is the cursor after it; what has no `id` is not in the log."""

    conversation_id: Annotated[UUID | None, Field(description="Null for what a stream says of itself.")]
    prev: Annotated[int | None, Field(description="The position before, in the same conversation; null where there is no `id`.")]
    at: datetime | None


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
    user: Person | None
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


# `from` is a word of Python's own
Gap = TypedDict("Gap", {"reason": GapReason, "from": str, "to": str, "refetch": list[str], "message_id": NotRequired[UUID]})
Gap.__doc__ = "Something is missing: read the addresses in `refetch` anew."


class ThreadNew(Event):
    """A thread has begun."""

    type: Literal["thread.new"]
    payload: NewThread


class ThreadActivityEvent(Event):
    """A thread has grown."""

    type: Literal["thread.activity"]
    payload: ThreadActivity


class MessageCreated(Event):
    """A message is there."""

    type: Literal["message.created"]
    payload: CreatedMessage


class MessageDelta(Event):
    """A reply has grown."""

    type: Literal["message.delta"]
    payload: Delta


class MessageDone(Event):
    """A reply has ended."""

    type: Literal["message.done"]
    payload: DoneMessage


class MessageContinued(Event):
    """A reply runs again."""

    type: Literal["message.continued"]
    payload: ContinuedMessage


class MembershipChanged(Event):
    """Somebody came, went, or has another role."""

    type: Literal["membership.changed"]
    payload: MemberChanged


class ConversationUpdated(Event):
    """A conversation has changed."""

    type: Literal["conversation.updated"]
    payload: ConversationChanged


class UnreadUpdate(Event):
    """One has read on, in this tab or another."""

    type: Literal["unread.update"]
    payload: UnreadChanged


class ErrorEvent(Event):
    """Something has failed."""

    type: Literal["error"]
    payload: EventFailure


class GenerationQueued(Event):
    """A reply waits."""

    type: Literal["generation.queued"]
    payload: QueuePlace


class StreamReady(Event):
    """The stream has begun."""

    type: Literal["stream.ready"]
    payload: Greeting


class StreamGap(Event):
    """Something is missing."""

    type: Literal["stream.gap"]
    payload: Gap


StreamEvent = Annotated[
    ThreadNew
    | ThreadActivityEvent
    | MessageCreated
    | MessageDelta
    | MessageDone
    | MessageContinued
    | MembershipChanged
    | ConversationUpdated
    | UnreadUpdate
    | ErrorEvent
    | GenerationQueued
    | StreamReady
    | StreamGap,
    Field(discriminator="type"),
]

STREAM: Final = Answer(
    None,
    "Frames of `id`, `event` and one line of `data`; each `data` is one of these events.",
    "text/event-stream",
    events=StreamEvent,
)
