"""One of several processes that serve one port: forked by the parent, and gone when the parent is gone, however it ends.

It has a session of its own, so that Ctrl+C reaches the parent alone, and drains at the first SIGTERM; more of them change nothing,
because a service manager may signal every process. The parent's FORCE cancels everything. What it has to say goes through its channel.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from rustygpt.cli.failure import explain, wants_traceback
from rustygpt.cli.handover import Intake
from rustygpt.cli.process import Lifespan, Server
from rustygpt.cli.serve import run_server, server_config
from rustygpt.database.processes import die_with_parent
from rustygpt.observability.logging import configure_logging
from rustygpt.observability.shared_metrics import share_metrics

if TYPE_CHECKING:
    from rustygpt.settings import Settings

FORCE: Final = signal.SIGQUIT


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given: its number from 1, its settings, the database, and the folder of the shared metrics."""

    number: int
    settings: "Settings"
    dsn: str
    metrics_folder: Path


def fork_worker(place: Place, let_go: Callable[[], None]) -> tuple[int, socket.socket]:
    """Start a worker; return its process id and the parent's end of its channel. On the main thread, without an event loop.

    *let_go* is called in the child: it closes what is the parent's alone.
    """
    ours, theirs = socket.socketpair()
    die = die_with_parent(signal.SIGKILL)
    sys.stdout.flush()
    sys.stderr.flush()
    # A signal that came between the fork and the child's own handlers would be taken by a copy of the parent's, and lost.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if die is not None:
                    die()
                ours.close()
                let_go()
                code = _live(place, theirs, blocked)
            finally:
                os._exit(code)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    theirs.close()
    return pid, ours


def _live(place: Place, channel: socket.socket, blocked: set[int | signal.Signals]) -> int:
    """Be the worker; return the exit code."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(FORCE, lambda *_: os._exit(128 + FORCE))  # until the server takes it; by default it would dump core
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    os.setsid()
    intake = Intake(channel)
    try:
        configure_logging(place.settings.logging, worker=place.number)
        share_metrics(place.metrics_folder, place.number)
        _serve(place, intake)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the last resort: the parent tells it, once for all workers
        message, remedy, code = explain(error)
        intake.tell_error({"message": message, "remedy": remedy, "code": code})
        if wants_traceback(sys.argv[1:], os.environ):
            sys.excepthook(type(error), error, error.__traceback__)
        return code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _serve(place: Place, intake: Intake) -> None:
    from rustygpt.app import create_app

    application = create_app(place.settings, place.dsn)
    lifespan = Lifespan(application.asgi)

    def begin_drain() -> None:
        intake.tell_draining()
        application.begin_drain()

    server = WorkerServer(
        server_config(place.settings, lifespan),
        intake,
        begin_drain=begin_drain,
        on_ready=intake.tell_ready,
        drain_seconds=place.settings.sse.drain_seconds,
        check_database=intake.tell_load,
    )
    run_server(place.settings, place.dsn, server, lifespan, [])


class WorkerServer(Server):
    """A server whose connections come from the parent."""

    signals = (signal.SIGINT, signal.SIGTERM, FORCE)

    def __init__(self, config: Any, intake: Intake, **options: Any) -> None:
        super().__init__(config, **options)
        self._intake = intake
        intake.count_open = lambda: len(self.server_state.connections)

    @override
    async def main_loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._intake.run(self._connect))
            await super().main_loop()
            self._intake.stop()
        self._intake.end()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == FORCE:
            self.force(sig)
        elif not self.is_draining:
            super().handle_exit(sig, frame)

    async def _connect(self, connection: socket.socket) -> None:
        config, state, lifespan = self.config, self.server_state, self.lifespan

        def protocol() -> asyncio.Protocol:  # as uvicorn makes it for the sockets that it listens on
            made: asyncio.Protocol = config.http_protocol_class(config=config, server_state=state, app_state=lifespan.state)  # type: ignore[call-arg]
            return made

        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
