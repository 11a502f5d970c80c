"""What answers of /v1 look like: OpenAI's shapes, and the few fields beside them that are ours."""

from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.http.openapi_errors import OpenAIError
from rustygpt.operation import Answer

Warnings = Annotated[list[str], Field(description="Fields of the request that were not heeded.")]
Reason = Literal["stop", "length", "tool_calls", "content_filter"]


class ModelEntry(TypedDict):
    """A model. `uses` and `context_length` are ours."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: int | None
    uses: list[Literal["chat", "embed"]]


class ModelList(TypedDict):
    """What can be run now."""

    object: Literal["list"]
    data: list[ModelEntry]


class TokenUsage(TypedDict):
    """Counts; `estimated` where the provider gave none."""

    prompt_tokens: int
    completion_tokens: NotRequired[int]
    total_tokens: int
    estimated: NotRequired[Literal[True]]


class StoredPlace(TypedDict):
    """Where question and answer are stored."""

    conversation_id: str
    message_id: str
    root_id: str


class AnswerMessage(TypedDict):
    """What the model said, or which tools it wants called."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[dict[str, Any]]]


class AnswerChoice(TypedDict):
    """The one answer."""

    index: Literal[0]
    message: AnswerMessage
    logprobs: None
    finish_reason: Reason


class ChatCompletion(TypedDict):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[AnswerChoice]
    usage: TokenUsage
    warnings: NotRequired[Warnings]
    rustygpt: NotRequired[StoredPlace]


class ChunkDelta(TypedDict):
    """What a chunk adds."""

    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    tool_calls: NotRequired[list[dict[str, Any]]]


class ChunkChoice(TypedDict):
    """The one answer's next piece."""

    index: Literal[0]
    delta: ChunkDelta
    finish_reason: Reason | None


class ChatCompletionChunk(TypedDict):
    """A piece of a streamed answer; the first has `role` and `warnings`, the last but one the reason, the last, where asked for, `usage`."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: NotRequired[TokenUsage | None]
    warnings: NotRequired[Warnings]
    rustygpt: NotRequired[StoredPlace]


class EmbeddingEntry(TypedDict):
    """The vector of one text; with base64, little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingList(TypedDict):
    """Vectors in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingEntry]
    model: str
    usage: TokenUsage
    warnings: NotRequired[Warnings]


CHAT_ANSWER: Final = Answer(
    ChatCompletion,
    "A whole answer, or with `stream` its pieces: frames of one line of `data`, ended by `data: [DONE]`, or by an error.",
    events=ChatCompletionChunk | OpenAIError,
    last_data="[DONE]",
)
