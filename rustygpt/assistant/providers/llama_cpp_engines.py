"""The engines of this process: started when needed, kept while there is room, stopped when another model needs theirs.

An engine with a request is never stopped. `assistant.llama_cpp.max_models` are kept; beyond that, or where memory is short, those that were
not used for longest go first.
"""

import asyncio
import importlib.util
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from rustygpt.assistant.providers.base import ProviderRejected
from rustygpt.assistant.providers.llama_cpp_process import Engine, EngineUse
from rustygpt.assistant.providers.memory import available_bytes, resident_bytes
from rustygpt.assistant.providers.upstream import Patience
from rustygpt.settings import LlamaCppSettings

ROOM_RATIO: Final = 1.2
"""A loaded model takes its file and some: contexts, buffers."""

Key = tuple[Path, EngineUse]

log = structlog.get_logger(__name__)


class Engines:
    """All engines, by file and use."""

    def __init__(self, settings: LlamaCppSettings, *, provider_name: str, patience: Patience) -> None:
        self._settings = settings
        self._provider_name = provider_name
        self._patience = patience
        self._engines: dict[Key, Engine] = {}
        self._used_at: dict[Key, float] = {}
        self._starting = asyncio.Lock()

    def require_package(self) -> None:
        """Raise ProviderRejected where xllamacpp is missing."""
        if importlib.util.find_spec("xllamacpp") is None:
            raise ProviderRejected("There are GGUF files, but the package xllamacpp, which runs them, is not installed here.")

    def memory_bytes(self, file: Path) -> int | None:
        """Return what the engines of *file* hold in memory now; None when none is loaded."""
        found = [engine.pid for (path, _), engine in self._engines.items() if path == file and engine.is_ready]
        return sum(resident_bytes(pid) for pid in found) if found else None

    @asynccontextmanager
    async def held(self, file: Path, use: EngineUse) -> AsyncIterator[Engine]:
        """Give the engine of *file*, started if need be, and keep it from being stopped. Raises ProviderRejected."""
        self.require_package()
        engine = await self._engine((file, use))
        with engine.in_use():
            try:
                yield engine
            finally:
                self._used_at[file, use] = time.monotonic()

    async def unload(self, file: Path) -> bool:
        """Stop the engines of *file*; False, and none is stopped, when one of them has a request."""
        async with self._starting:
            keys = [key for key in self._engines if key[0] == file]
            if not all(self._engines[key].is_idle for key in keys):
                return False
            for key in keys:
                await self._stop(key)
            return True

    async def unload_unfit(self) -> None:
        """Stop the engines without a request whose process has died or whose file is gone or another one."""
        async with self._starting:
            for key in [key for key, engine in self._engines.items() if engine.is_idle and not engine.is_fit()]:
                await self._stop(key)

    async def close(self) -> None:
        """Stop every engine."""
        async with self._starting:
            while self._engines:
                await self._engines.popitem()[1].close()

    async def _engine(self, key: Key) -> Engine:
        async with self._starting:
            engine = self._engines.get(key)
            if engine is not None and engine.is_fit():
                return engine
            if engine is not None:
                await self._stop(key)
            await self._make_room(key[0])
            engine = await Engine.start(
                key[0], self._settings, use=key[1], provider_name=self._provider_name, patience=self._patience
            )
            self._engines[key] = engine
            self._used_at[key] = time.monotonic()
            return engine

    async def _make_room(self, file: Path) -> None:
        """Stop engines that have nothing to do, the longest unused first, until there is a place and memory for *file*."""
        size = await asyncio.to_thread(_size, file)
        while idle := sorted((key for key, engine in self._engines.items() if engine.is_idle), key=self._used_at.__getitem__):
            room = available_bytes()
            if len(self._engines) < self._settings.max_models and (room is None or room > size * ROOM_RATIO):
                return
            await self._stop(idle[0])

    async def _stop(self, key: Key) -> None:
        del self._used_at[key]
        engine = self._engines.pop(key)
        log.info("llama_cpp_stopped", model=key[0].stem, use=key[1])
        await engine.close()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
