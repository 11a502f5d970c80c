"""GGUF files on this machine, run by llama.cpp through xllamacpp: no Ollama, no compiler, no configuration.

Each model has an engine process (llama_cpp_engine.py), started by the first reply that needs it and spoken to over a loopback
port with a random key. Loading never stops the event loop, closing the socket stops the engine's work, and an engine that
dies fails its own replies only. Before a further model is loaded, every engine without a running reply is stopped.
"""

import asyncio
import importlib.util
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Delta,
    Finish,
    ModelInfo,
    ProviderContextExceeded,
    ProviderGarbage,
    ProviderRejected,
    ProviderUnreachable,
)
from rustygpt.assistant.providers.llama_cpp_process import Engine
from rustygpt.assistant.providers.upstream import Patience
from rustygpt.settings import LlamaCppSettings

GGUF_START = struct.Struct("<4sI")
GGUF_VERSIONS = (2, 3)
PATIENCE = Patience(connect_seconds=5.0, first_token_seconds=600.0, idle_seconds=120.0)
"""A long prompt on a slow processor, behind others in the engine's queue, is no fault; the generation's own deadline ends it."""


class LlamaCppProvider:
    """The models in `data_dir/models/*.gguf`, and `settings.model_file`; a model's id is its file's name without `.gguf`."""

    def __init__(
        self, settings: LlamaCppSettings, data_dir: Path, *, name: str = "llama_cpp", patience: Patience = PATIENCE
    ) -> None:
        self.name = name
        self._settings = settings
        self._models_dir = data_dir / "models"
        self._patience = patience
        self._engines: dict[Path, Engine] = {}
        self._starting = asyncio.Lock()

    async def open(self) -> None:
        """Do nothing: an engine is started by the first reply that needs it."""

    async def close(self) -> None:
        """Stop every engine."""
        async with self._starting:
            while self._engines:
                await self._engines.popitem()[1].close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the files. Raises ProviderRejected when there are some but the engine is not installed."""
        files = await asyncio.to_thread(self._files)
        if files:
            self._require_engine()
        context = self._settings.context_tokens or None
        return tuple(ModelInfo(id=model, provider=self.name, context_tokens=context) for model in files)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Finish]:
        """Yield the reply, after loading the model if need be; see Provider."""
        engine = await self._engine(request.model)
        with engine.in_use():
            provider = await engine.ready()
            try:
                async with aclosing(provider.stream(request)) as items:
                    async for item in items:
                        yield item
            except ProviderContextExceeded as error:
                hint = "An administrator can raise assistant.llama_cpp.context_tokens."
                raise ProviderContextExceeded(f"{error.message} {hint}") from None
            except (ProviderGarbage, ProviderUnreachable):
                if await engine.is_dying():
                    raise ProviderRejected(engine.obituary()) from None
                raise

    async def _engine(self, model: str) -> Engine:
        """Return the running or starting engine of *model*. Raises ProviderRejected."""
        file = (await asyncio.to_thread(self._files)).get(model)
        if file is None:
            raise ProviderRejected(f"There is no model file {model}.gguf.")
        self._require_engine()
        async with self._starting:
            engine = self._engines.get(file)
            if engine is not None and engine.is_fit():
                return engine
            for path in [path for path, other in self._engines.items() if path == file or other.is_idle]:
                await self._engines.pop(path).close()
            engine = await Engine.start(file, self._settings, provider_name=self.name, patience=self._patience)
            self._engines[file] = engine
            return engine

    def _require_engine(self) -> None:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ProviderRejected("There are GGUF files, but the package xllamacpp, which runs them, is not installed here.")

    def _files(self) -> dict[str, Path]:
        """Return the models by id, the configured one first. A file that does not begin like GGUF is passed over."""
        candidates = []
        try:
            if self._settings.model_file:
                candidates.append(self._models_dir / Path(self._settings.model_file).expanduser())  # absolute stays absolute
            if self._models_dir.is_dir():
                candidates += sorted(self._models_dir.glob("*.gguf"))
        except (OSError, RuntimeError):  # RuntimeError: ~somebody who does not exist
            raise ProviderRejected("The models folder of this server cannot be read.") from None
        found: dict[str, Path] = {}
        for path in candidates:
            if _is_model(path):
                found.setdefault(path.name.removesuffix(".gguf"), path)
        return found


def _is_model(path: Path) -> bool:
    name = path.name
    is_later_part = "-of-" in name and "-00001-of-" not in name
    if is_later_part or name.startswith("mmproj"):
        return False  # parts of a split model are loaded with the first; a projector is no model
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            magic, version = GGUF_START.unpack(file.read(GGUF_START.size))
    except (OSError, struct.error):
        return False
    return magic == b"GGUF" and version in GGUF_VERSIONS
