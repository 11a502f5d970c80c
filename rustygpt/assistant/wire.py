"""What replies look like in answers."""

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
