"""What streams send: one shape for each type of event, `type` says which. Tests compare them with the frames that they read."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field
from typing_extensions import TypeAliasType, TypedDict

from rustygpt.operation import Answer
from rustygpt.streaming.payloads import (
    ContinuedMessage,
    ConversationChanged,
    CreatedMessage,
    DeletedMessage,
    Delta,
    DoneMessage,
    EditedMessage,
    EventFailure,
    Gap,
    Greeting,
    MemberChanged,
    NewThread,
    QueuePlace,
    RestoredMessage,
    ThreadActivity,
    UnreadChanged,
)


class Event(TypedDict):
    """An event of a stream, the `data` of one frame. The frame's `id` is the cursor after it; what has no `id` is not in the log."""

    conversation_id: Annotated[UUID | None, Field(description="Null for what a stream says of itself.")]
    prev: Annotated[int | None, Field(description="The position before, in the same conversation; null where there is no `id`.")]
    at: datetime | None


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


class MessageEdited(Event):
    """A message has changed."""

    type: Literal["message.edited"]
    payload: EditedMessage


class MessageDeleted(Event):
    """A message was taken back."""

    type: Literal["message.deleted"]
    payload: DeletedMessage


class MessageRestored(Event):
    """A message is there again."""

    type: Literal["message.restored"]
    payload: RestoredMessage


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


StreamEvent = TypeAliasType(
    "StreamEvent",
    Annotated[
        ThreadNew
        | ThreadActivityEvent
        | MessageCreated
        | MessageDelta
        | MessageDone
        | MessageContinued
        | MessageEdited
        | MessageDeleted
        | MessageRestored
        | MembershipChanged
        | ConversationUpdated
        | UnreadUpdate
        | ErrorEvent
        | GenerationQueued
        | StreamReady
        | StreamGap,
        Field(discriminator="type"),
    ],
)
"""What the `data` of a frame is."""

STREAM: Final = Answer(
    None,
    "Frames of `id`, `event` and one line of `data`; each `data` is one of these events.",
    "text/event-stream",
    events=StreamEvent,
)
