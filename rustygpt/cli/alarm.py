"""Signals for a loop without an event loop: each is noted and makes a descriptor readable, so that none is missed between two waits."""

import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Self

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Alarm:
    """Takes SIGINT and SIGTERM inside its context, on the main thread. To be waited for with a selector: it has a `fileno`."""

    def __init__(self) -> None:
        self._noted: list[int] = []
        self._alarm, self._bell = socket.socketpair()
        self._alarm.setblocking(False)
        self._bell.setblocking(False)
        self._handlers: dict[signal.Signals, Any] = {}
        self._former = -1

    def __enter__(self) -> Self:
        self._handlers = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        self._former = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._former)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.close()

    def fileno(self) -> int:
        return self._alarm.fileno()

    def take(self) -> list[int]:
        """Return the signals that came since the last call."""
        with suppress(BlockingIOError):
            self._alarm.recv(1_024)
        noted, self._noted = self._noted, []
        return noted

    def close(self) -> None:
        """Close the descriptors; in a forked child, where the signals are somebody else's matter, do only this."""
        self._alarm.close()
        self._bell.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
