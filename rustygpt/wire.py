"""Shapes that several domains tell: what procedures write as JSON, field by field, and what lists of it look like.

They are the published schemas (`/openapi.json`); tests compare them with every answer and event that they see. Nothing here is built in
Python: the database writes these objects, so that a snapshot and an event agree to the letter.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

MemberRole = Literal["owner", "admin", "member", "viewer"]
AssistantMode = Literal["always", "mention", "off"]
MessageStatus = Literal["complete", "queued", "streaming", "interrupted", "cancelled", "error"]
FinishReason = Literal["stop", "length", "cancelled", "timeout", "error"]

StreamCursor = Annotated[str, Field(description="The place in the event log at which all this is true: start a stream there.")]


class Page(TypedDict):
    """A part of a list; each kind of list adds its `items`."""

    next_cursor: Annotated[str | None, Field(description="Where the next page begins, null on the last one. Opaque.")]


class Snapshot(Page):
    """A part of a list that streams go on with."""

    stream_cursor: StreamCursor


class Person(TypedDict):
    """Somebody, as those see them who are in a conversation with them."""

    id: UUID
    display_name: str


class SamplingParameters(TypedDict, total=False):
    """How a conversation's model samples, in OpenAI's words; what is absent is left to the model."""

    temperature: float
    top_p: float
    max_tokens: int
    stop: list[str]
    seed: int
    presence_penalty: float
    frequency_penalty: float


class Conversation(TypedDict):
    """A conversation, as the one who asks sees it."""

    id: UUID
    title: str
    role: Annotated[MemberRole, Field(description="One's own.")]
    is_group: bool
    member_count: int
    created_at: datetime
    last_activity_at: datetime
    unread: Annotated[int, Field(description="Messages that one has not read, in all threads.")]
    model: Annotated[str | None, Field(description="Null for the server's default.")]
    system_prompt: str
    parameters: SamplingParameters
    assistant_mode: Annotated[AssistantMode, Field(description="When the assistant answers by itself; the one in force.")]


class Usage(TypedDict):
    """What a reply took, in tokens; of all its attempts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Failure(TypedDict):
    """Why a reply ended before its end."""

    code: str
    message: str


class PromptContext(TypedDict):
    """What a reply's prompt held of the conversation: of its last attempt."""

    budget_tokens: Annotated[
        int | None, Field(description="What the prompt may have; null where nobody knows the model's context.")
    ]
    prompt_tokens: int
    is_estimated: Annotated[bool, Field(description="False where the model's own tokenizer counted.")]
    left_out: Annotated[int, Field(description="How many earlier messages did not fit.")]
    oldest_id: Annotated[UUID | None, Field(description="The oldest message after those that were left out.")]
    ignored: Annotated[list[str], Field(description="Parameters of the conversation that the provider does not heed.")]


class Timing(TypedDict):
    """How long a reply's last attempt took, by the database's clock; null is not known."""

    queued_seconds: float | None
    first_token_seconds: Annotated[float | None, Field(description="From its start to its first piece.")]
    seconds: Annotated[float | None, Field(description="From its start to its end.")]
    tokens_per_second: Annotated[float | None, Field(description="After the first piece.")]


class Message(TypedDict):
    """A message of a thread, as in lists and in `message.created`."""

    id: UUID
    conversation_id: UUID
    root_id: Annotated[UUID, Field(description="The message that the thread began with.")]
    parent_id: Annotated[UUID | None, Field(description="What it answers; null for a root.")]
    ordinal: Annotated[int, Field(description="Its number in the thread, without gaps, from 1.")]
    depth: Annotated[int, Field(description="How many messages lead to it.")]
    author: Annotated[Person | None, Field(description="Null for the assistant.")]
    role: Literal["user", "assistant"]
    content: str
    status: MessageStatus
    finish_reason: FinishReason | None
    usage: Usage | None
    next_idx: Annotated[int, Field(description="How many stored chunks `content` holds; the next delta has this number.")]
    attempt: Annotated[int, Field(description="From 1; one more for each time that the reply was continued.")]
    model: str | None
    error: Failure | None
    created_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    deleted_by: Person | None
    sibling_index: Annotated[int, Field(description="Its number, from 0, among the assistant's replies to the same message.")]
    sibling_count: Annotated[int, Field(description="How many of them there are; 1 for what people wrote.")]
    context: Annotated[PromptContext | None, Field(description="Null until the reply has ended, and for what people wrote.")]
    timing: Annotated[Timing | None, Field(description="Null until the reply has ended, and for what people wrote.")]


class ThreadSummary(TypedDict):
    """A thread, without what only one reader knows of it."""

    root_id: UUID
    root_excerpt: Annotated[str, Field(description="At most 200 characters.")]
    root_author: Person | None
    created_at: datetime
    last_activity_at: datetime
    message_count: int
    participant_count: int


class Thread(ThreadSummary):
    """A thread in a list."""

    unread: int


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
