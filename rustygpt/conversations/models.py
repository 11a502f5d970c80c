"""Request bodies of the conversation routes."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from rustygpt.http.body import CanonicalUUID, RequestModel

AssistantMode = Literal["always", "mention", "off"]
MemberRole = Literal["owner", "admin", "member", "viewer"]


def _one_line(value: str) -> str:
    if any(ord(character) < 32 for character in value):
        raise ValueError("must be one line without control characters")
    return value.strip()


_ONE_LINE: Final[dict[str, JsonValue]] = {"pattern": r"^[^\u0000-\u001f]*$"}

Title = Annotated[str, Field(max_length=200, json_schema_extra=_ONE_LINE), AfterValidator(_one_line)]
ModelName = Annotated[str, Field(max_length=200, json_schema_extra=_ONE_LINE), AfterValidator(_one_line), Field(min_length=1)]
SystemPrompt = Annotated[str, Field(max_length=20_000)]
ClientId = Annotated[str, Field(min_length=1, max_length=128)]
"""The idempotency key of a client that cannot set headers."""

Address = Annotated[str, Field(min_length=3, max_length=254, json_schema_extra=_ONE_LINE), AfterValidator(_one_line)]


class Parameters(RequestModel):
    """How a conversation's model samples, in OpenAI's words; what is absent or null is left to the model."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None

    def chosen(self) -> dict[str, Any]:
        """Return what was chosen, as it is stored."""
        return self.model_dump(exclude_none=True)


class CreateConversation(RequestModel):
    """`POST /api/conversations`"""

    title: Title
    is_group: bool = False
    model: ModelName | None = None
    system_prompt: SystemPrompt = ""
    parameters: Parameters = Parameters()
    assistant_mode: AssistantMode | None = None
    client_id: ClientId | None = None


class UpdateConversation(RequestModel):
    """`PATCH /api/conversations/{id}`: what is absent stays; `parameters` are replaced as a whole.

    `model` and `assistant_mode` may be null for the default.
    """

    title: Title = ""
    is_group: bool = False
    model: ModelName | None = None
    system_prompt: SystemPrompt = ""
    parameters: Parameters = Parameters()
    assistant_mode: AssistantMode | None = None

    @model_validator(mode="after")
    def _something(self) -> "UpdateConversation":
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self


class AddParticipant(RequestModel):
    """`POST …/participants`: one of user_id and email."""

    user_id: CanonicalUUID | None = None
    email: Address | None = None
    role: MemberRole = "member"
    client_id: ClientId | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "AddParticipant":
        if (self.user_id is None) == (self.email is None):
            raise ValueError("needs exactly one of user_id and email")
        return self


class CreateInvite(RequestModel):
    """`POST …/invites`: for one address, or for whoever has the link, `max_uses` times."""

    email: Annotated[Address, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    role: MemberRole = "member"
    ttl_seconds: Annotated[int, Field(ge=60, le=2_592_000)] = 604_800
    max_uses: Annotated[int, Field(ge=1, le=1_000)] = 1

    @model_validator(mode="after")
    def _one_address_one_use(self) -> "CreateInvite":
        if self.email is not None and self.max_uses != 1:
            raise ValueError("max_uses must be 1 for an invite to one address")
        return self


class AcceptInvite(RequestModel):
    """`POST /api/invites/accept`"""

    token: Annotated[str, Field(min_length=1, max_length=256)]


class UpdateParticipant(RequestModel):
    """`PATCH …/participants/{user_id}`"""

    role: MemberRole
