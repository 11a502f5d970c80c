"""One of the N places for a worker: who sits there, how that went so far, and when the next one is due. A process id is never stale here."""

import os
import signal
import time
from typing import Final

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.handover import Outlet
from rustygpt.cli.worker import Place

STEADY_SECONDS: Final = 10.0


class Seat:
    """One of the N places: its worker, or when the next one is due."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.pid = 0
        self.outlet: Outlet | None = None
        self.started_at = 0.0
        self.ready_at: float | None = None
        self.deaths = 0
        """In a row, each before the worker was steady."""
        self.failures = 0
        """Those of them that nobody wanted: a kill -9 of a worker that served says nothing about it."""
        self.due_at: float | None = None
        """When to start one; None while it lives, or must wait for the first."""

    def note_death(self, status: int) -> None:
        """Count a death, *status* as of `os.waitpid`."""
        if not self.is_steady:
            self.deaths += 1
            self.failures += self.ready_at is None or os.waitstatus_to_exitcode(status) != -signal.SIGKILL
        self.ready_at = None

    @property
    def is_steady(self) -> bool:
        """Whether it has served for so long that its death, should it come, is no sign of a fault at the start."""
        return self.ready_at is not None and time.monotonic() - self.ready_at >= STEADY_SECONDS

    @property
    def is_ready(self) -> bool:
        return self.ready_at is not None and self.outlet is not None


def failure_of(outlet: Outlet | None, status: int) -> CommandError:
    """Return why a worker ended: what it said itself, else what the kernel says."""
    if outlet is not None and outlet.error is not None:
        said = outlet.error
        return CommandError(said["message"], said["remedy"], ExitCode(said["code"]))
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return CommandError(f"a worker process was killed by signal {-code} ({signal.Signals(-code).name})")
    return CommandError(f"a worker process ended with exit code {code}")
