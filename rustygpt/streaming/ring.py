"""The tail of one conversation's log, encoded.

Everything of the conversation after `floor` is in the ring, in order; the log is the truth and the ring only saves reads. A reader
whose cursor is below `floor` reads the log instead. Rings exist only while their conversation has a local subscriber.
"""

from bisect import bisect_right
from collections.abc import Sequence

from rustygpt.streaming.events import REWRITING
from rustygpt.streaming.frames import Frame


class Ring:
    """At most *max_events* frames and *max_bytes* bytes of them; the newest frame always stays."""

    def __init__(self, floor: int, *, max_events: int, max_bytes: int) -> None:
        self.floor = floor
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._frames: list[Frame] = []
        self._positions: list[int] = []
        self._bytes = 0

    def append(self, frame: Frame) -> None:
        """Add the newest frame. Its position must lie above all others. One that takes back or changes a text makes the ring forget the others."""
        if frame.position <= (self._positions[-1] if self._positions else self.floor):
            raise ValueError(f"position {frame.position} is not above the ring's tail")
        if frame.type in REWRITING:
            self._forget()
        self._frames.append(frame)
        self._positions.append(frame.position)
        self._bytes += len(frame.data)
        # A quarter more than allowed before trimming: deleting from the front of a list moves all the rest.
        if len(self._frames) > self._max_events * 5 // 4 or self._bytes > self._max_bytes * 5 // 4:
            self._trim()

    def after(self, position: int) -> Sequence[Frame]:
        """Return the frames above *position*, in order. *position* must not be below `floor`."""
        if position < self.floor:
            raise ValueError(f"position {position} has left the ring")
        positions = self._positions
        if not positions or positions[-1] <= position:
            return ()
        # The usual reader lacks exactly the newest frame.
        if len(positions) == 1 or positions[-2] <= position:
            return self._frames[-1:]
        return self._frames[bisect_right(positions, position) :]

    def count_after(self, position: int) -> int:
        """Count the frames above *position*."""
        return len(self._positions) - bisect_right(self._positions, position)

    def size(self) -> tuple[int, int]:
        """Return how many frames the ring holds, and their bytes."""
        return len(self._frames), self._bytes

    def _trim(self) -> None:
        keep_from = max(0, len(self._frames) - self._max_events)
        dropped = sum(len(frame.data) for frame in self._frames[:keep_from])
        while self._bytes - dropped > self._max_bytes and keep_from < len(self._frames) - 1:
            dropped += len(self._frames[keep_from].data)
            keep_from += 1
        if keep_from:
            self.floor = self._positions[keep_from - 1]
            del self._frames[:keep_from], self._positions[:keep_from]
            self._bytes -= dropped

    def _forget(self) -> None:
        """Let go of every frame: who still lacks some reads them in the log, where a text in them is told otherwise by now."""
        if self._positions:
            self.floor = self._positions[-1]
            self._frames.clear()
            self._positions.clear()
            self._bytes = 0
