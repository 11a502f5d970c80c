"""uvicorn as we need it: the signals are ours, the end is a drain, and whatever ends the application ends the process.

First SIGTERM or SIGINT: `begin_drain` at once; new connections are still taken (a reader that comes back is told to come later, a
probe sees 503) until no request runs or `drain_seconds` have passed; then uvicorn stops and the exit code is 0. Second: everything
is cancelled. Third: the system's own handling. A database of our own that cannot be kept alive ends the process as the first does.
"""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from rustygpt.database.processes import EmbeddedPostgresError


class Server(uvicorn.Server):
    """One process's server. *begin_drain* is called once, in the event loop; *on_ready* when connections are answered.

    *check_database* is called ten times a second in the event loop and raises EmbeddedPostgresError when there is no hope.
    """

    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        begin_drain: Callable[[], None],
        on_ready: Callable[[], None],
        drain_seconds: float,
        check_database: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._begin_drain = begin_drain
        self._on_ready = on_ready
        self._drain_seconds = drain_seconds
        self._check_database = check_database
        self._drain_ends_at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self.forced_by: int | None = None
        """The signal that cut the drain short, if one did."""
        self.database_error: EmbeddedPostgresError | None = None
        """Why our own database is gone for good, if it is."""

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        return self._drain_ends_at is not None

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._serving = asyncio.get_running_loop(), asyncio.current_task()
        await super().startup(sockets)
        if not self.lifespan.should_exit:
            self._on_ready()

    @override
    async def on_tick(self, counter: int) -> bool:
        if self.database_error is None:
            try:
                self._check_database()
            except EmbeddedPostgresError as error:
                self.database_error = error
                if self._drain_ends_at is None:
                    self._drain_ends_at = asyncio.get_running_loop().time() + self._drain_seconds
                    self._begin_drain()
        if self._drain_ends_at is not None:
            is_over = asyncio.get_running_loop().time() >= self._drain_ends_at
            self.should_exit = self.should_exit or is_over or not self.server_state.tasks
        return await super().on_tick(counter)

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while serving. uvicorn's own raises them again at the end, which would hide the exit code 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in self.signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called between two instructions of whatever runs: do no more than ask the loop."""
        if self._loop is None:
            raise KeyboardInterrupt
        if self._drain_ends_at is None:
            self._drain_ends_at = self._loop.time() + self._drain_seconds
            self._loop.call_soon_threadsafe(self._begin_drain)
            return
        self.force(sig)

    def force(self, sig: int) -> None:
        """Cancel everything, because of signal *sig*; called between two instructions, as `handle_exit`."""
        self.forced_by = sig
        self.force_exit = True
        if self._loop is not None and self._serving is not None:
            self._loop.call_soon_threadsafe(self._serving.cancel)
        for number in self.signals:
            signal.signal(number, signal.SIG_DFL)

    def end(self) -> None:
        """Stop without a drain: the application has ended."""
        self.should_exit = True


class Lifespan:
    """Wraps an application to learn how its lifespan ended: uvicorn only logs a traceback, and serves on when a part has died."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.error: BaseException | None = None
        self.on_end: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_quietly(message: Message) -> None:
            await send({**message, "message": ""} if message["type"].endswith(".failed") else message)

        try:
            await self._app(scope, receive, send_quietly)
        except Exception as error:  # kept for the command, which explains it, and raised on
            self.error = error
            raise
        finally:
            self.on_end()
