"""What a model provider is: something that lists models and streams one reply.

A provider never retries after its first delta, never swallows cancellation, and closes its upstream socket when the iterator is
closed: Stop and the deadline rely on that. What it raises is a ProviderError whose message may be shown to the user.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

PromptRole = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One turn of the prompt; people's names are already part of `content`."""

    role: PromptRole
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; None leaves the choice to the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What is asked of a provider; `model` is the provider's own name for it.

    When the last of `messages` is the assistant's, it is the beginning of the reply: only what follows it is to be said.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def is_continued(self) -> bool:
        """Whether the reply has been begun."""
        return bool(self.messages) and self.messages[-1].role == "assistant"


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
class Finish:
    """The last item of every stream that ended well."""

    reason: Literal["stop", "length"]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that a provider can run now. `context_tokens` is None where the provider does not tell."""

    id: str
    provider: str
    context_tokens: int | None = None


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
    """The provider answered with an error of its own (unknown model, bad key, out of memory …)."""

    code = "provider_rejected"


class ProviderContextExceeded(ProviderRejected):
    """The prompt does not fit into the model's context."""


class ProviderGarbage(ProviderError):
    """The provider sent something that is not its protocol, or hung up before the end."""

    code = "provider_garbage"


class Provider(Protocol):
    """One source of models. `name` is unique in a process and is the `provider` label of the metrics."""

    name: str

    async def open(self) -> None:
        """Get ready. Must not fail because the upstream is away: that shows when it is used."""

    async def close(self) -> None:
        """Release sockets, threads and memory. Safe to call twice."""

    async def models(self) -> tuple[ModelInfo, ...]:
        """List what can be run now. Raises ProviderError."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Finish]:
        """Yield deltas, then exactly one Finish. Raises ProviderError; `aclose()` stops the upstream."""
