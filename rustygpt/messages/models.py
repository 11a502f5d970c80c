"""Request bodies of the message routes."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from rustygpt.http.body import CanonicalUUID, RequestModel

MAX_CONTENT_CHARACTERS = 200_000


def _says_something(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


Content = Annotated[
    str, Field(max_length=MAX_CONTENT_CHARACTERS, json_schema_extra={"pattern": r"\S"}), AfterValidator(_says_something)
]
ModelName = Annotated[str, Field(min_length=1, max_length=200)]
ClientId = Annotated[str, Field(min_length=1, max_length=128)]


class PostReply(RequestModel):
    """`POST /api/messages/{id}/reply`"""

    content: Content
    model: ModelName | None = None
    client_id: ClientId | None = None


class PostRoot(PostReply):
    """`POST /api/threads/{conversation_id}/root`"""


class PostMessage(PostReply):
    """`POST /api/conversations/{id}/messages`"""

    parent_id: CanonicalUUID | None = None


class EditMessage(RequestModel):
    """`POST /api/messages/{id}/edit`"""

    content: Content


class MarkRead(RequestModel):
    """`POST /api/threads/{root_id}/read`: one of message_id and ordinal."""

    message_id: CanonicalUUID | None = None
    ordinal: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "MarkRead":
        if (self.message_id is None) == (self.ordinal is None):
            raise ValueError("needs exactly one of message_id and ordinal")
        return self
