"""What the library needs of the providers of models, which it does not know: one object, given by the application.

Whatever fails is a ModelFailure with a sentence fit for an administrator's eyes.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

ModelState = Literal["available", "loaded"]
ShelfKind = Literal["file", "ollama", "other"]
"""Files of the models folder, models that Ollama keeps, and those that nobody here can add or remove."""


@dataclass(frozen=True, slots=True)
class ShelfModel:
    """A model that can be asked now. `uses`: chat, embed. `state` is loaded when this process knows that it is in memory.

    None: the provider does not tell.
    """

    id: str
    provider: str
    kind: ShelfKind
    uses: tuple[str, ...]
    context_tokens: int | None
    is_default: bool
    state: ModelState
    size_bytes: int | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class ShelfProvider:
    """How a provider is: `reason` is why it fails, None when it answered at `asked_at`."""

    name: str
    reason: str | None
    model_count: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class ShelfView:
    """All of them, which one answers when nobody chose, and a sentence that says why."""

    models: tuple[ShelfModel, ...]
    providers: tuple[ShelfProvider, ...]
    default_model: str | None
    notice: str


@dataclass(frozen=True, slots=True)
class PullStep:
    """How far a pull is that the provider does by itself; `bytes_total` is None while it does not say."""

    message: str
    bytes_done: int
    bytes_total: int | None


class Shelf(Protocol):
    """The providers of this process, as the library sees them."""

    @property
    def file_provider(self) -> str | None:
        """The name of the provider that runs the folder's files; None when that is switched off."""

    @property
    def pulling_provider(self) -> str | None:
        """The name of the provider that pulls models by name; None when there is none."""

    async def find_namesake(self, name: str) -> str | None:
        """Return which provider, other than the one of files, has a model of this name, in whatever case; None when nobody has."""

    async def view(self) -> ShelfView:
        """List what can be asked; takes seconds at worst."""

    async def look_again(self) -> None:
        """Forget old lists, and let go of what is no longer there."""

    async def describe(self, model: ShelfModel) -> Mapping[str, Any]:
        """Return what the provider says of a model beside its list. Raises ModelFailure."""

    def pull(self, provider: str, model: str) -> AsyncGenerator[PullStep]:
        """Let a provider fetch a model; ends well when it is there. Raises ModelFailure."""

    async def unload(self, provider: str, model: str) -> bool:
        """Take a model out of memory; False when it is in use. Nothing happens where nothing is known of it."""

    async def remove(self, provider: str, model: str) -> bool:
        """Let a provider delete a model; False when it has none of this name. Raises ModelFailure."""
