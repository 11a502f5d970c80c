"""One of the N places for a worker: who sits there, how that went so far, and when the next one is due. A process id is never stale here."""

import os
import signal

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.handover import Outlet
from rustygpt.cli.worker import Place


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
        self.due_at: float | None = None
        """When to start one; None while it lives, or must wait for the first."""

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
