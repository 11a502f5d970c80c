"""What replies and models look like in answers."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.wire import MessageStatus


class Stopped(TypedDict):
    """A reply that was asked to stop."""

    message_id: UUID
    status: Annotated[MessageStatus, Field(description="`streaming` until its runner has stopped and `message.done` is told.")]


class Continuing(TypedDict):
    """A reply that goes on."""

    message_id: UUID
    root_id: UUID
    conversation_id: UUID
    status: Literal["queued"]
    next_idx: int
    attempt: int


class Model(TypedDict):
    """Something that can write replies."""

    id: str
    provider: str
    context_tokens: int | None
    size_bytes: Annotated[int | None, Field(description="Of its file, where that is on this server.")]
    memory_bytes: Annotated[int | None, Field(description="What it takes now, null while it is not loaded, or elsewhere.")]
    is_default: bool


class ProviderHealth(TypedDict):
    """How a provider is. One that fails is asked again by itself, and fails alone."""

    name: str
    state: Literal["ok", "failing"]
    reason: Annotated[str | None, Field(description="Why it fails, for people.")]
    model_count: int
    asked_at: datetime


class Models(TypedDict):
    """What can write replies now."""

    items: list[Model]
    default_model: str | None
    notice: Annotated[str, Field(description="Which one answers, why, and how to change it.")]
    providers: list[ProviderHealth]
