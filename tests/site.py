"""The whole application on a real socket inside the test's event loop: fast enough for every test, and no part of it replaced."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from typing_extensions import override

from rustygpt.app import Application, create_app
from rustygpt.cli.listener import open_listener
from rustygpt.settings import Settings
from rustygpt.streaming.sockets import BoundedProtocol, bound_buffers

START_SECONDS = 60
END_SECONDS = 30
CHEAP_PASSWORDS = {"argon2_time_cost": 1, "argon2_memory_kib": 8, "signup": True}
"""Argon2's cost is tested by itself; everywhere else it would only be waited for."""


class Site:
    """A served application: where it is, and what it was built from."""

    def __init__(self, url: str, application: Application, settings: Settings) -> None:
        self.url = url
        self.application = application
        self.settings = settings


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_over = asyncio.Event()

    @override
    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.is_over.wait()  # uvicorn looks every 0.1 s, which hundreds of sites add up to half a minute

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the signals are the test runner's


def settings_for(data_dir: Path, **tables: Any) -> Settings:
    """Build settings for a test: cheap passwords, a fast demo, no other provider unless *tables* say so."""
    assistant: dict[str, Any] = {"ollama_base_url": "", "demo": {"tokens_per_second": 0}, "llama_cpp": {"enabled": False}}
    given: Mapping[str, Any] = tables.pop("assistant", {})
    return Settings.model_validate(
        {
            "data_dir": data_dir,
            "auth": {**CHEAP_PASSWORDS, **tables.pop("auth", {})},
            "assistant": {**assistant, **given},
            "sse": {"drain_seconds": 0, **tables.pop("sse", {})},
            **tables,
        }
    )


@asynccontextmanager
async def serving(settings: Settings, dsn: str, *, protocol: type[asyncio.Protocol] = BoundedProtocol) -> AsyncIterator[Site]:
    """Serve the application on a free port of the loopback address until the block ends; another *protocol* is somebody else's server."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    application = create_app(settings, dsn)
    listener = open_listener("127.0.0.1", 0)
    bound_buffers(listener, unacknowledged_seconds=settings.sse.send_timeout_seconds)
    config = uvicorn.Config(
        application.asgi,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        http=protocol,
        lifespan="on",
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    with listener:  # the server closes it, unless it is cancelled
        async with _served(server, listener):
            try:
                yield Site(f"http://127.0.0.1:{listener.getsockname()[1]}", application, settings)
            finally:
                application.begin_drain()


@asynccontextmanager
async def _served(server: _Server, listener: socket.socket) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(START_SECONDS):
            while not server.started:
                if task.done():
                    raise RuntimeError("the application did not start")
                await asyncio.sleep(0)
        try:
            yield
        finally:
            server.should_exit = True
            server.is_over.set()
            await asyncio.wait([task], timeout=END_SECONDS)  # also for a test that failed: the group would cut its sockets off
