"""GGUF files on this machine, run by llama.cpp through xllamacpp: no Ollama, no compiler, no configuration.

Each model has an engine process (llama_cpp_engine.py), started by the first request that needs it and spoken to over a loopback
port with a random key. Loading never stops the event loop, closing the socket stops the engine's work, and an engine that
dies fails its own replies only. What makes texts into vectors is an engine of its own: llama.cpp's serve one use each.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from rustygpt.assistant.providers.base import (
    Capabilities,
    CompletionRequest,
    Embeddings,
    Loading,
    ModelInfo,
    PromptMessage,
    ProviderContextExceeded,
    ProviderGarbage,
    ProviderRejected,
    ProviderUnreachable,
    StreamItem,
)
from rustygpt.assistant.providers.llama_cpp_engines import Engines
from rustygpt.assistant.providers.llama_cpp_files import ModelFiles
from rustygpt.assistant.providers.llama_cpp_process import Engine, EngineUse
from rustygpt.assistant.providers.upstream import Patience
from rustygpt.settings import LlamaCppSettings

PATIENCE = Patience(connect_seconds=5.0, first_token_seconds=600.0, idle_seconds=120.0)
"""A long prompt on a slow processor, behind others in the engine's queue, is no fault; the generation's own deadline ends it."""

T = TypeVar("T")


class LlamaCppProvider:
    """The models in `*.gguf` of *models_dir* (by default `models` in *data_dir*), and `settings.model_file`; a model's id is its file's name without `.gguf`."""

    def __init__(
        self,
        settings: LlamaCppSettings,
        data_dir: Path,
        *,
        models_dir: Path | None = None,
        name: str = "llama_cpp",
        patience: Patience = PATIENCE,
    ) -> None:
        self.name = name
        self._settings = settings
        self._files = ModelFiles(models_dir or data_dir / "models", settings.model_file)
        self._engines = Engines(settings, provider_name=name, patience=patience)

    @property
    def capabilities(self) -> Capabilities:
        """Everything but pictures."""
        return Capabilities(embeds=True, counts_tokens=True)

    async def open(self) -> None:
        """Do nothing: an engine is started by the first request that needs it."""

    async def close(self) -> None:
        """Stop every engine."""
        await self._engines.close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the files. Raises ProviderRejected when there are some but the engine is not installed."""
        files = await self._files.list()
        if files:
            self._engines.require_package()
        context = self._settings.context_tokens or None
        return tuple(
            ModelInfo(model, self.name, context, file.uses, file.size_bytes, self._engines.memory_bytes(file.path))
            for model, file in files.items()
        )

    async def unload(self, model: str) -> bool:
        """Take *model* out of memory; False when a request uses it."""
        file = (await self._files.list()).get(model)
        return file is None or await self._engines.unload(file.path)

    async def unload_unfit(self) -> None:
        """Take out of memory what no file stands for any more, as far as no request uses it."""
        await self._engines.unload_unfit()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamItem]:
        """Yield the reply, after loading the model if need be; see Provider."""
        async with self._engine(request.model, "chat") as engine:
            if not engine.is_ready:
                yield Loading()
            provider = await engine.ready()
            async with aclosing(provider.stream(request)) as items:
                async for item in items:
                    yield item

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Embed by the model's own pooling; see Provider. A model that has none refuses."""
        async with self._engine(model, "embed") as engine:
            return await (await engine.ready()).embed(model, texts)

    async def count_tokens(self, model: str, messages: Sequence[PromptMessage]) -> int | None:
        """Count with the file's own template and tokenizer, loading the model if need be; see Provider."""
        async with self._engine(model, "chat") as engine:
            return await (await engine.ready()).count_tokens(model, messages)

    @asynccontextmanager
    async def _engine(self, model: str, use: EngineUse) -> AsyncIterator[Engine]:
        """Hold an engine, and say what its failures mean. Raises ProviderError."""
        file = (await self._files.list()).get(model)
        if file is None:
            raise ProviderRejected(f"There is no model file {model}.gguf.", 404)
        async with self._engines.held(file.path, use) as engine:
            try:
                yield engine
            except ProviderContextExceeded as error:
                hint = "An administrator can raise assistant.llama_cpp.context_tokens."
                raise ProviderContextExceeded(f"{error.message} {hint}", error.status) from None
            except (ProviderGarbage, ProviderUnreachable):
                if await engine.is_dying():
                    raise ProviderRejected(engine.obituary()) from None
                raise
