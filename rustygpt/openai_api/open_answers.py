"""The answers of /v1 that are under way in this process: none begins during a drain, and those that run get their grace, then a last word."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rustygpt.errors import Unavailable

RETRY_SECONDS: Final = 5


class Stoppable(Protocol):
    """An answer that can be told that the process ends."""

    def stop_for_drain(self) -> None: ...


class OpenAnswers:
    """*grace_seconds*: what an answer gets after the drain has begun."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._open: set[Stoppable] = set()
        self._is_draining = False

    def begin_drain(self) -> None:
        """Let nothing begin any more, and stop what is still running after the grace. In the event loop; twice is once."""
        if not self._is_draining:
            self._is_draining = True
            asyncio.get_running_loop().call_later(self._grace_seconds, self._stop_all)

    def require_open(self) -> None:
        """Raise Unavailable during a drain."""
        if self._is_draining:
            raise Unavailable("The server is shutting down.", retry_after_seconds=RETRY_SECONDS)

    @contextmanager
    def entered(self, answer: Stoppable) -> Iterator[None]:
        """Keep an answer among the open ones."""
        self._open.add(answer)
        try:
            yield
        finally:
            self._open.discard(answer)

    def _stop_all(self) -> None:
        for answer in list(self._open):
            answer.stop_for_drain()
