"""The assistant's providers as the model library sees them: neither of the two knows the other.

What a provider raises becomes the library's own failure here, with the same sentence.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Final

from rustygpt.assistant.catalogue import Catalogue
from rustygpt.assistant.providers.base import ModelInfo, ProviderError, ProviderUnreachable
from rustygpt.assistant.providers.llama_cpp import LlamaCppProvider
from rustygpt.assistant.providers.ollama import OllamaProvider
from rustygpt.assistant.providers.ollama_library import PullProgress, delete_model, pull_model, show_model
from rustygpt.models.failure import ModelFailure
from rustygpt.models.shelf import PullStep, ShelfKind, ShelfModel, ShelfProvider, ShelfView

DEMO: Final = "demo"
"""What the demo is called, and its one model."""
DESCRIBE_SECONDS: Final = 5.0
NOT_WORDS: Final = {"pulling manifest": "Reads what the model is made of.", "success": "Done."}


class CatalogueShelf:
    """A catalogue, for the library."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._ollamas = {each.name: each for each in catalogue.providers if isinstance(each, OllamaProvider)}
        self._files = {each.name: each for each in catalogue.providers if isinstance(each, LlamaCppProvider)}

    @property
    def file_provider(self) -> str | None:
        """The name of the provider that runs GGUF files."""
        return next(iter(self._files), None)

    @property
    def pulling_provider(self) -> str | None:
        """The name of the first Ollama."""
        return next(iter(self._ollamas), None)

    async def find_namesake(self, name: str) -> str | None:
        """Look at lists that are at most 15 s old; the demo's name is kept for it also while it is switched off."""
        if name.casefold() == DEMO:
            return DEMO
        await self._catalogue.models()
        return self._catalogue.find_namesake(name, besides=self._files)

    async def view(self) -> ShelfView:
        """List what can be asked, at most 15 s old."""
        models = await self._catalogue.models()
        detection = self._catalogue.detection()
        default = detection.default_provider, detection.default_model
        found = [self._model(model, is_default=(model.provider, model.id) == default) for model in models]
        providers = [ShelfProvider(each.name, each.error, len(each.models), each.asked_at) for each in detection.providers]
        return ShelfView(tuple(found), tuple(providers), detection.default_model, detection.sentence)

    async def look_again(self) -> None:
        """Ask every provider anew, and stop engines whose files have gone."""
        for provider in self._files.values():
            await provider.unload_unfit()
        await self._catalogue.refresh()

    async def describe(self, model: ShelfModel) -> Mapping[str, Any]:
        """Ask Ollama about its model; others have nothing to add."""
        provider = self._ollamas.get(model.provider)
        if provider is None:
            return {}
        with _told():
            try:
                async with asyncio.timeout(DESCRIBE_SECONDS):
                    facts = await show_model(provider.upstream, model.id)
            except TimeoutError:
                raise ModelFailure("provider_failed", f"{model.provider} did not answer in time.", is_passing=True) from None
        return {
            "architecture": facts.family,
            "parameters": facts.parameters,
            "quantization": facts.quantization,
            "trained_context_tokens": facts.context_tokens,
        }

    async def pull(self, provider: str, model: str) -> AsyncGenerator[PullStep]:
        """Let Ollama fetch a model."""
        ollama = self._ollamas.get(provider)
        if ollama is None:
            raise ModelFailure("provider_failed", f"There is no Ollama called {provider} any more.")
        with _told():
            async with aclosing(pull_model(ollama.upstream, model)) as steps:
                async for step in _read(steps):
                    yield step

    async def unload(self, provider: str, model: str) -> bool:
        """Stop the engine of a file."""
        owner = self._files.get(provider)
        if owner is None:
            return True
        with _told():
            return await owner.unload(model)

    async def remove(self, provider: str, model: str) -> bool:
        """Let Ollama delete a model."""
        owner = self._ollamas.get(provider)
        if owner is None:
            return False
        with _told():
            return await delete_model(owner.upstream, model)

    def _model(self, model: ModelInfo, *, is_default: bool) -> ShelfModel:
        kind: ShelfKind = "ollama" if model.provider in self._ollamas else "file" if model.provider in self._files else "other"
        return ShelfModel(
            id=model.id,
            provider=model.provider,
            kind=kind,
            uses=tuple(sorted(model.uses)),
            context_tokens=model.context_tokens,
            is_default=is_default,
            state="loaded" if model.memory_bytes else "available",
            size_bytes=model.size_bytes,
            memory_bytes=model.memory_bytes,
        )


async def _read(steps: AsyncIterator[PullProgress]) -> AsyncIterator[PullStep]:
    async for step in steps:
        yield PullStep(NOT_WORDS.get(step.status, f"Ollama: {step.status}."), step.bytes_done, step.bytes_total)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ProviderError as error:
        is_passing = isinstance(error, ProviderUnreachable)
        raise ModelFailure("provider_failed", error.message, is_passing=is_passing) from None
