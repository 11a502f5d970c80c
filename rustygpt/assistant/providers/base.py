"""What a model provider is: something that lists models, streams one reply, and perhaps embeds texts and counts tokens.

A provider never retries after its first item, never swallows cancellation, and closes its upstream socket when the iterator is
closed: Stop and the deadline rely on that. What it raises is a ProviderError whose message may be shown to the user. It never drops a
parameter in silence: whoever asks compares the request with `capabilities` first (`CompletionRequest.unsupported`).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

PromptRole = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
ModelUse = Literal["chat", "embed"]
Json = Mapping[str, Any]
"""A JSON object in the shape of OpenAI's reference."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a turn: `url` is https:, http: or data: with base64; `detail` is OpenAI's low, high or auto."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One turn of the prompt; people's names are already part of `content`.

    `parts`, where not empty, says the same and more, in order: texts and pictures. `tool_calls` are what an assistant's turn asked
    for, `tool_call_id` which of them a tool's turn answers.
    """

    role: PromptRole
    content: str
    parts: tuple[str | Image, ...] = ()
    tool_calls: tuple[Json, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; None leaves the choice to the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What is asked of a provider; `model` is the provider's own name for it.

    When the last of `messages` is the assistant's, it is the beginning of the reply: only what follows it is to be said. `tools`,
    `tool_choice` and `response_format` have OpenAI's shapes. `is_verbatim`: the turns are a program's own, and nothing is added to them.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Json, ...] = ()
    tool_choice: str | Json | None = None
    response_format: Json | None = None
    is_verbatim: bool = False

    @property
    def is_continued(self) -> bool:
        """Whether the reply has been begun."""
        return bool(self.messages) and self.messages[-1].role == "assistant" and not self.messages[-1].tool_calls

    @property
    def has_images(self) -> bool:
        """Whether a turn holds a picture."""
        return any(isinstance(part, Image) for message in self.messages for part in message.parts)

    def parameters(self) -> list[str]:
        """Name what was set, as OpenAI's API does, in the order of the fields."""
        asked = [(each.name, getattr(self.sampling, each.name)) for each in fields(Sampling)]
        asked += [(name, getattr(self, name)) for name in ("tools", "tool_choice", "response_format")]
        return [name for name, value in asked if value not in (None, ())]

    def unsupported(self, capabilities: "Capabilities") -> list[str]:
        """Name the parameters that a provider with *capabilities* will not heed. To leave the choice of tools open is every one's way."""
        is_open = self.tool_choice in ("auto", "none")
        heeded = capabilities.parameters | ({"tool_choice"} if is_open else set())
        return [name for name in self.parameters() if name not in heeded]


ALL_PARAMETERS = frozenset({*(each.name for each in fields(Sampling)), "tools", "tool_choice", "response_format"})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do at all; a single model of it may do less, and then its own error says so.

    `parameters` are the fields of a CompletionRequest that it heeds. `counts_tokens`: by the model's own tokenizer.
    """

    parameters: AbstractSet[str] = ALL_PARAMETERS
    embeds: bool = False
    sees_images: bool = False
    counts_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text, never empty, in the order of generation; never half a code point."""

    content: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """Pieces of tool calls as OpenAI streams them: each has an `index`, the first of a call its `id` and the function's name."""

    tool_calls: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is not in memory yet, and is being loaded. At most once, before everything else."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of every stream that ended well."""

    reason: FinishReason
    usage: Usage | None


StreamItem = Delta | ToolCallDelta | Loading | Finish


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each text, in their order; `prompt_tokens` is None where the provider does not count."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a provider can run now. `context_tokens` is None where the provider does not tell.

    `size_bytes` is that of its file, `memory_bytes` what it takes now: both None where that is not known, or nothing is loaded.
    """

    id: str
    provider: str
    context_tokens: int | None = None
    uses: frozenset[ModelUse] = frozenset({"chat"})
    size_bytes: int | None = None
    memory_bytes: int | None = None


class ProviderError(Exception):
    """A provider failed. `code` is stable (docs/reference/errors.md), the message is fit for the user's eyes."""

    code: ClassVar[str] = "provider_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ProviderUnreachable(ProviderError):
    """No connection: refused, unresolved, or timed out while connecting."""

    code = "provider_unreachable"


class ProviderTimeout(ProviderError):
    """Connected, but nothing arrived for too long."""

    code = "provider_timeout"


class ProviderRejected(ProviderError):
    """The provider answered with an error of its own (unknown model, bad key, out of memory …); `status` is HTTP's, if it had one."""

    code = "provider_rejected"

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ProviderContextExceeded(ProviderRejected):
    """The prompt does not fit into the model's context."""

    code = "context_exceeded"


class ProviderGarbage(ProviderError):
    """The provider sent something that is not its protocol, or hung up before the end."""

    code = "provider_garbage"


class Provider(Protocol):
    """One source of models. `name` is unique in a process and is the `provider` label of the metrics."""

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    async def open(self) -> None:
        """Get ready. Must not fail because the upstream is away: that shows when it is used."""

    async def close(self) -> None:
        """Release sockets, threads and memory. Safe to call twice."""

    async def models(self) -> tuple[ModelInfo, ...]:
        """List what can be run now. Raises ProviderError."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamItem]:
        """Yield perhaps Loading, then deltas, then exactly one Finish. Raises ProviderError; `aclose()` stops the upstream."""

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Turn each of *texts* into a vector. Raises ProviderRejected where it cannot; ProviderError."""

    async def count_tokens(self, model: str, messages: Sequence[PromptMessage]) -> int | None:
        """Count a prompt as the model's own template and tokenizer make it; None where the provider has no way. Raises ProviderError."""
