"""The parent of several workers: it listens, hands connections out, starts again what dies, and ends them all.

It serves nothing itself, so nothing that a client sends can bring it down; it owns the private PostgreSQL. No event loop, no threads: it
may fork at any time. The first worker starts alone: it prepares the database, and what cannot work is told once.
"""

import errno
import gc
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import structlog

from rustygpt.cli.alarm import STOP_SIGNALS, Alarm
from rustygpt.cli.connection import lasting_server
from rustygpt.cli.failure import CommandError
from rustygpt.cli.handover import Outlet
from rustygpt.cli.listener import open_listener
from rustygpt.cli.seat import Seat, failure_of
from rustygpt.cli.serve import bound_listener, longest_stop_seconds, print_banner
from rustygpt.cli.shares import worker_settings
from rustygpt.cli.worker import FORCE, Place, fork_worker
from rustygpt.database.processes import EmbeddedPostgresError
from rustygpt.observability.metrics import Metrics
from rustygpt.observability.shared_metrics import PARENT, ProcessFigures, forget_worker, share_metrics, shared_folder

if TYPE_CHECKING:
    from pathlib import Path

    from rustygpt.settings import Settings

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 0.1
PAUSES_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Before a start, by how many times in a row the worker died young."""
SILENT_DEATHS: Final = 3
"""So many deaths without a word, before all served for the first time, are the end of all."""
LAST_DEATHS: Final = 5
"""So many young deaths in a row of each worker, and not by somebody's hand, are the end of all, too."""
FORCED_SECONDS: Final = 5.0
ACCEPTS: Final = 64
"""Connections accepted at a time, so that workers are heard in between."""
NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def serve_with_workers(settings: "Settings") -> None:
    """Serve until a signal comes. Raises CommandError with what ended it otherwise; on the main thread only."""
    log.info("workers_start", workers=settings.server.workers, bus=settings.bus.kind)
    with ExitStack() as stack:
        listener = stack.enter_context(open_listener(settings.server.host, settings.server.port))
        bound_listener(settings, listener)
        dsn, check_database = stack.enter_context(lasting_server(settings))
        folder = stack.enter_context(shared_folder())
        share_metrics(folder, PARENT)
        import rustygpt.app  # noqa: F401 - before the forks: workers share its pages, and start at once

        gc.collect()
        gc.freeze()  # or each worker's collector would touch, and so copy, every page of them
        Workers(settings, dsn, listener, folder, check_database).run()


class Workers:
    """All workers of one `serve`. `run` returns when a signal ended them, and raises CommandError, or SystemExit when forced."""

    def __init__(
        self,
        settings: "Settings",
        dsn: str,
        listener: socket.socket,
        folder: "Path",
        check_database: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._folder = folder
        self._check_database = check_database
        self._selector = selectors.DefaultSelector()
        self._seats = [
            Seat(Place(number, worker_settings(settings, number), dsn, folder))
            for number in range(1, settings.server.workers + 1)
        ]
        self._metrics = Metrics()
        self._figures = ProcessFigures()
        self._was_ready = False
        self._error: CommandError | None = None
        self._alarm = Alarm()
        self._stop_by: float | None = None
        self._forced_by: int | None = None
        self._is_offered = False
        self._next_accept_at = 0.0

    def run(self) -> None:
        self._seats[0].due_at = time.monotonic()
        with self._alarm, self._selector:
            self._selector.register(self._alarm, selectors.EVENT_READ)
            try:
                while self._stop_by is None or any(seat.pid for seat in self._seats):
                    self._round()
            finally:
                self._kill_all()
        if self._forced_by is not None:
            raise SystemExit(128 + self._forced_by)
        if self._error is not None:
            raise self._error

    def _round(self) -> None:
        """Wait for news for a tenth of a second at most, and do what is to be done."""
        self._offer()
        for key, _ in self._selector.select(TICK_SECONDS):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, Seat):
                self._listen(key.data)
        for number in self._alarm.take():
            self._obey(number)
        for seat in self._seats:
            self._bury(seat)
            if self._stop_by is None and seat.due_at is not None and time.monotonic() >= seat.due_at:
                self._start(seat)
        self._look_after()

    def _offer(self) -> None:
        """Listen while somebody can take a connection; otherwise the kernel's queue holds them."""
        wanted = time.monotonic() >= self._next_accept_at and any(seat.outlet and seat.outlet.can_take for seat in self._seats)
        if wanted and not self._is_offered:
            self._selector.register(self._listener, selectors.EVENT_READ)
        elif self._is_offered and not wanted:
            self._selector.unregister(self._listener)
        self._is_offered = wanted
        if self._stop_by is not None and all(seat.outlet is None or seat.outlet.is_ending for seat in self._seats):
            self._listener.close()  # nobody will take them: better refused than kept waiting

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            able = [seat.outlet for seat in self._seats if seat.outlet is not None and seat.outlet.can_take]
            outlets = [outlet for outlet in able if not outlet.is_draining] or able
            if not outlets:
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in NO_DESCRIPTORS:  # this client has gone
                    continue
                log.warning("connections_not_accepted", reason=error.strerror)
                self._next_accept_at = time.monotonic() + 1
                return
            with connection:
                while outlets and not (best := min(outlets, key=_turn)).hand(connection):
                    outlets.remove(best)

    def _start(self, seat: Seat) -> None:
        seat.due_at, seat.ready_at, seat.started_at = None, None, time.monotonic()
        if seat.deaths or self._was_ready:
            self._metrics.worker_restarts_total.inc()
        seat.pid, channel = fork_worker(seat.place, self._let_go)
        seat.outlet = Outlet(channel)
        self._selector.register(channel, selectors.EVENT_READ, seat)

    def _let_go(self) -> None:
        """In a new worker: close what is the parent's alone."""
        self._selector.close()
        self._alarm.close()
        self._listener.close()
        for seat in self._seats:
            if seat.outlet is not None:
                seat.outlet.channel.close()

    def _listen(self, seat: Seat) -> None:
        if seat.outlet is None:
            return
        if not seat.outlet.read():
            seat.outlet.is_ending = True
            if seat.outlet.channel in self._selector.get_map():
                self._selector.unregister(seat.outlet.channel)
        if seat.outlet.is_ready and seat.ready_at is None:
            seat.ready_at = time.monotonic()
            log.info("worker_ready", worker=seat.place.number, pid=seat.pid, seconds=round(seat.ready_at - seat.started_at, 3))
            self._welcome()

    def _welcome(self) -> None:
        """After the first worker the others; after the last one the banner."""
        if self._was_ready:
            return
        for seat in self._seats:
            if not seat.pid and seat.due_at is None:
                seat.due_at = time.monotonic()
        if all(seat.is_ready for seat in self._seats):
            self._was_ready = True
            self._figures.sample([seat.pid for seat in self._seats])
            print_banner(self._settings, self._listener)

    def _bury(self, seat: Seat) -> None:
        """Notice a death; say when the next worker is due, or that there will be none."""
        if not seat.pid:
            return
        pid, status = os.waitpid(seat.pid, os.WNOHANG)
        if not pid:
            return
        outlet, was_ready = seat.outlet, seat.is_ready
        if outlet is not None:
            self._listen(seat)  # its last words
            if outlet.channel in self._selector.get_map():
                self._selector.unregister(outlet.channel)
            outlet.channel.close()
        seat.pid, seat.outlet = 0, None
        forget_worker(self._folder, seat.place.number)
        failure = failure_of(outlet, status)
        has_spoken = outlet is not None and outlet.error is not None
        if self._stop_by is not None:
            if has_spoken and self._error is None:
                self._error = failure
            return
        seat.note_death(status)
        self._judge(seat, failure, has_spoken=has_spoken, was_ready=was_ready)
        if self._stop_by is None:
            pause = PAUSES_SECONDS[min(max(seat.deaths - was_ready, 0), len(PAUSES_SECONDS) - 1)]
            seat.due_at = time.monotonic() + pause
            log.warning("worker_died", worker=seat.place.number, pid=pid, reason=str(failure), next_start_seconds=pause)

    def _judge(self, seat: Seat, failure: CommandError, *, has_spoken: bool, was_ready: bool) -> None:
        """Give up when there is no hope: the first start did not succeed, or none of the workers lives long any more."""
        if self._was_ready:
            is_hopeless = all(each.failures >= LAST_DEATHS for each in self._seats)
        else:
            is_hopeless = (has_spoken and not was_ready) or seat.deaths >= SILENT_DEATHS
        if is_hopeless:
            self._error = failure
            self._stop()

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._error is None:
            try:
                self._check_database()
            except EmbeddedPostgresError as error:
                self._error = CommandError(str(error))
                self._stop()
        if self._stop_by is not None and now >= self._stop_by:
            log.error("workers_killed", pids=[seat.pid for seat in self._seats if seat.pid])
            self._kill_all()
        for seat in self._seats:
            if seat.is_steady:
                seat.deaths = seat.failures = 0
        if self._was_ready:
            self._figures.sample([seat.pid for seat in self._seats if seat.pid])

    def _obey(self, number: int) -> None:
        if self._stop_by is None:
            self._stop()
            return
        self._forced_by = number
        self._stop_by = time.monotonic() + FORCED_SECONDS
        self._send(FORCE)
        for again in STOP_SIGNALS:
            signal.signal(again, signal.SIG_DFL)

    def _stop(self) -> None:
        """Ask every worker to drain."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + longest_stop_seconds(self._settings) * 2
            self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for seat in self._seats:
            if seat.pid:  # ours until waited for: the number cannot be another's
                os.kill(seat.pid, number)

    def _kill_all(self) -> None:
        self._send(signal.SIGKILL)
        for seat in self._seats:
            if seat.pid:
                os.waitpid(seat.pid, 0)
                seat.pid = 0


def _turn(outlet: Outlet) -> tuple[int, int]:
    return outlet.load, outlet.last_handed_at
