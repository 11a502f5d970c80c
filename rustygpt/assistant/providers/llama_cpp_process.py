"""One engine process as its parent sees it: starting, ready, in use, dead.

No task belongs to an engine: the loop's subprocess protocol feeds two futures, `_ready` (the address, or why not) and
`_exited`. Whoever waits for a model to load may be cancelled; the loading goes on for the others.
"""

import asyncio
import json
import re
import secrets
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import structlog
from typing_extensions import override

from rustygpt.assistant.providers import llama_cpp_engine
from rustygpt.assistant.providers.base import ModelUse, ProviderRejected, ProviderTimeout
from rustygpt.assistant.providers.openai import OpenAIProvider
from rustygpt.assistant.providers.upstream import Patience
from rustygpt.settings import LlamaCppSettings

EngineUse = ModelUse
"""What an engine is started for: llama.cpp's server either chats or embeds."""
LOAD_SECONDS = 600.0
"""A model of tens of gigabytes from a slow disk; the generation's own deadline is usually shorter."""
STOP_SECONDS = 5.0
LOG_LINES = 50

_ERROR_LINE = re.compile(r"[\d.]+ E (?:(?:\S+\s+)?\S+: )?(?P<text>.*)")
"""`0.00.003.5 E gguf_init_from_reader: this GGUF file …`, sometimes with a component before the function."""

log = structlog.get_logger(__name__)


class Engine:
    """A process that serves *file*: `await Engine.start(…)`, then `ready` gives the provider that talks to it."""

    def __init__(self, file: Path, provider_name: str, patience: Patience, api_key: str) -> None:
        self.file = file
        self._provider_name = provider_name
        self._patience = patience
        self._api_key = api_key
        self._stamp = _stamp(file)
        self._users = 0
        self._provider: OpenAIProvider | None = None
        self._protocol = _EngineProtocol(asyncio.get_running_loop())
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def start(
        cls, file: Path, settings: LlamaCppSettings, *, use: EngineUse, provider_name: str, patience: Patience
    ) -> "Engine":
        """Start the process; it begins to load. In a session of its own, so that Ctrl-C reaches the server alone."""
        engine = cls(file, provider_name, patience, secrets.token_urlsafe(32))
        order: llama_cpp_engine.Order = {
            "model_file": str(file),
            "api_key": engine._api_key,
            "context_tokens": settings.context_tokens,
            "slots": settings.slots,
            "gpu_layers": settings.gpu_layers,
            "embeds": use == "embed",
        }
        loop, program = asyncio.get_running_loop(), [sys.executable, "-P", llama_cpp_engine.__file__]
        engine._transport, _ = await loop.subprocess_exec(lambda: engine._protocol, *program, start_new_session=True)
        # By stdin, not by an argument: everybody may read the arguments of a process.
        cast("asyncio.WriteTransport", engine._transport.get_pipe_transport(0)).write(json.dumps(order).encode() + b"\n")
        log.info("llama_cpp_loading", model=file.stem)
        return engine

    @property
    def is_idle(self) -> bool:
        """No reply is running, and nobody waits for the model to load."""
        return self._users == 0

    @property
    def is_ready(self) -> bool:
        """The model is loaded."""
        return self._provider is not None and not self.has_died

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._transport.get_pid()

    @property
    def has_died(self) -> bool:
        """The process has ended."""
        return self._protocol.exited.done()

    def is_fit(self) -> bool:
        """Say whether it can take a reply: the process lives, and the file is still the one it has loaded."""
        return not self.has_died and (not self.is_idle or _stamp(self.file) == self._stamp)

    async def is_dying(self) -> bool:
        """Say whether the process has ended or does so within a second: its sockets close before its end is known."""
        await self._protocol.wait_drained()
        return self.has_died

    def obituary(self) -> str:
        """Say how it ended, with the last error that llama.cpp logged."""
        code = self._transport.get_returncode()
        how = f"was killed by signal {-code}" if code is not None and code < 0 else "stopped"
        return self._describe(f"{how} while it ran", self._protocol.complaints()[-1:])

    def _describe(self, what: str, complaints: list[str]) -> str:
        said = f" It said: {complaints[0]}" if complaints else ""
        return f"llama.cpp {what} {self.file.stem}.{said}".replace(str(self.file), self.file.name)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it from being stopped for another model."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1

    async def ready(self) -> OpenAIProvider:
        """Wait until the model is loaded. Raises ProviderRejected (unreadable, too big …), ProviderTimeout."""
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                report = await asyncio.shield(self._protocol.ready)
        except TimeoutError:
            raise ProviderTimeout(f"llama.cpp did not load {self.file.stem} in time.") from None
        address = report.get("address")
        if not isinstance(address, str):
            await self._protocol.wait_drained()
            raise ProviderRejected(self._describe("cannot load", self._protocol.complaints()[:1]))  # the first says most
        if self._provider is None:
            self._provider = OpenAIProvider(
                self._provider_name, address, api_key=self._api_key, patience=self._patience, is_llama_cpp=True
            )
            await self._provider.open()
        return self._provider

    async def close(self) -> None:
        """Kill the process (it holds nothing that could be lost) and wait for its end. Safe to call twice."""
        if self._provider is not None:
            await self._provider.close()
        if self._transport.get_returncode() is None:
            self._transport.kill()
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.shield(self._protocol.exited)
        self._transport.close()


class _EngineProtocol(asyncio.SubprocessProtocol):
    """Collects the report from stdout and the log from stderr, both bounded."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ready: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self._drained: asyncio.Future[None] = loop.create_future()
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._pending = {1: b"", 2: b""}

    async def wait_drained(self) -> None:
        """Wait up to a second for the end of the log: the pipes are read in no particular order."""
        await asyncio.wait([self._drained], timeout=1.0)

    def complaints(self) -> list[str]:
        """Return the errors that llama.cpp logged lately, in its own words, without times and the names of its functions."""
        found = [_ERROR_LINE.match(line) for line in self._lines]
        return [match["text"] for match in found if match]

    @override
    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._pending[fd] + data).split(b"\n")
        self._pending[fd] = rest[-65_536:]
        for line in lines:
            text = line.decode(errors="replace").strip()
            if fd == 1 and not self.ready.done():
                self.ready.set_result(_parse_report(text))
            elif fd == 2 and text:
                self._lines.append(text[:300])
                log.debug("llama_cpp_log", line=text[:300])

    @override
    def process_exited(self) -> None:
        if not self.ready.done():
            self.ready.set_result({})
        if not self.exited.done():
            self.exited.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self._drained.done():
            self._drained.set_result(None)


def _parse_report(text: str) -> dict[str, Any]:
    try:
        report = json.loads(text)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
