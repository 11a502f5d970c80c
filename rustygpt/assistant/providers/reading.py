"""Reading an upstream's stream: one deadline that moves, and records cut out of bytes that come cut anywhere.

Both are on the path of every token, so they cost as little as they can: moving the deadline is an assignment, a batch of whole events is one
pass over the bytes. Records are bounded, whatever comes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """A deadline for waits, on the loop's clock, that may be set anew at any time. The task that waits makes and stops it.

    asyncio.timeout costs 4 µs a wait, and must not stay open over a generator's yield; this is one timer for a whole stream.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._has_fired = False
        self._cancelling = 0
        self.before = self._looks_at = self._loop.time() + seconds
        self._timer = self._loop.call_at(self.before, self._look)

    def restart(self, seconds: float) -> None:
        """Let the deadline be so far from now."""
        self.before = self._loop.time() + seconds
        if self.before < self._looks_at:
            self._timer.cancel()
            self._look_at(self.before)

    async def wait(self, wanted: Awaitable[T]) -> T:
        """Wait for *wanted*. Raises TimeoutError at the deadline."""
        self._task = task = asyncio.current_task()
        try:
            return await wanted
        except asyncio.CancelledError:
            # As asyncio.timeout does it: a cancellation from outside at the same time stays one.
            if self._has_fired and task is not None and task.uncancel() <= self._cancelling:
                raise TimeoutError from None
            raise
        finally:
            self._task = None
            if self._has_fired:
                self._has_fired = False
                self._look_at(self.before)

    def stop(self) -> None:
        """Let go of the timer."""
        self._timer.cancel()

    def _look_at(self, when: float) -> None:
        self._looks_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self.before > now:
            self._look_at(self.before)
        elif self._task is None:
            self._look_at(now + 1.0)  # whoever reads us is slow, not the upstream
        else:
            self._has_fired = True
            self._cancelling = self._task.cancelling()
            self._task.cancel()


async def read_lines(chunks: AsyncIterator[bytes], max_bytes: int, too_long: Callable[[], Exception]) -> AsyncGenerator[bytes]:
    """Cut at line feeds, so that a code point split over chunks is whole again; blank lines are left out, a last one needs no end."""
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(pending) > max_bytes:
            raise too_long()
    if pending.strip():
        yield pending


class Events:
    """Cuts server-sent events out of bytes (WHATWG HTML, section 9.2.6); one that has no end yet waits for the rest.

    Names and ids of events are not looked at: OpenAI's protocol has none.
    """

    def __init__(self, max_bytes: int, too_long: Callable[[], Exception]) -> None:
        self._max_bytes = max_bytes
        self._too_long = too_long
        self._pending = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Return the data of each event that is whole now."""
        pending = self._pending + chunk if self._pending else chunk
        if b"\r" in pending:
            # A lone CR ends a line too, but one at the end of a chunk may be half of CR LF.
            tail = b"\r" if pending.endswith(b"\r") else b""
            pending = pending.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
        *blocks, self._pending = pending.split(b"\n\n")
        for block in blocks:
            if block.startswith(b"data: ") and b"\n" not in block:
                yield block[6:]
            elif (data := _data_of(block)) is not None:
                yield data
        if len(self._pending) > self._max_bytes:
            raise self._too_long()


def _data_of(block: bytes) -> bytes | None:
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
