"""The readers: one process that holds all event streams of a measurement and takes the time of each frame.

It must never be what is measured: plain sockets, no HTTP client, and JSON is parsed once per event, not once per delivery. Its first
line of standard input says what to open (`Task`); then `reset` and `report` are answered with a line of JSON each, until the end of input.
"""

import json
import os
import selectors
import socket
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from datetime import datetime

from tests.benchmarks.figures import percentile
from tests.benchmarks.tables import say

CONNECT_SECONDS = 20.0
WINDOW = 32
"""Connections that are opened side by side."""
PROGRESS = 2_000
"""So many streams later it is said that they are open."""
GREETING = ": connected\n\n"
"""What our streams, and those of the bare Starlette server, begin with."""


@dataclass(frozen=True, slots=True)
class Task:
    """One stream per path, each open once *greeting* has come.

    *tokens_per_second*: the rate at which the demo counts, to date its tokens; 0 does not date them.
    """

    port: int
    paths: list[str]
    cookie: str
    tokens_per_second: float = 0.0
    greeting: str = GREETING


@dataclass(frozen=True, slots=True)
class Reading:
    """What came since `reset`. Latencies in milliseconds; `events` are distinct, `deliveries` are not; `silent` streams got none.

    `tokens` are those of all deliveries: more than these where tokens were merged.
    """

    seconds: float
    cpu_seconds: float
    events: int
    deliveries: int
    tokens: int
    bytes: int
    closed: int
    silent: int
    p50_ms: float
    p99_ms: float
    token_p50_ms: float
    token_p99_ms: float


class Stream:
    """One connection: what is left of an incomplete frame, and when the fastest token of its reply came."""

    __slots__ = ("deliveries", "fastest", "lateness", "rest", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.deliveries = 0
        self.rest = b""
        self.fastest = float("inf")
        self.lateness = array("d")


class Readers:
    """All streams of a task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._selector = selectors.DefaultSelector()
        self._streams: list[Stream] = []
        self._known: dict[bytes, tuple[float, int] | None] = {}
        self._latencies = array("d")
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self._began_at, self._cpu_from = time.monotonic(), time.process_time()
        self._tokens = self._bytes = self._closed = 0
        self._latencies = array("d")
        self._known.clear()
        for stream in self._streams:
            stream.deliveries = 0
            stream.lateness = array("d")

    def open(self) -> None:
        """Connect, and wait for each stream's greeting."""
        for start in range(0, len(self._task.paths), WINDOW):
            opened = [self._request(path) for path in self._task.paths[start : start + WINDOW]]
            for connection in opened:
                self._greet(connection)
            if len(self._streams) // PROGRESS > start // PROGRESS:
                say(f"  {len(self._streams):,} of {len(self._task.paths):,} streams are open")

    def run(self) -> None:
        """Read until standard input ends."""
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        while True:
            is_spoken_to = False
            for key, _ in self._selector.select():
                if key.data is None:
                    is_spoken_to = True
                else:
                    self._read(key.data)
            # Last, so that what has come counts before it is asked for.
            if is_spoken_to and not self._obey(os.read(sys.stdin.fileno(), 4096)):
                return

    def report(self) -> Reading:
        """Sum up what came since `reset`."""
        seconds, cpu_seconds = time.monotonic() - self._began_at, time.process_time() - self._cpu_from
        latencies = sorted(self._latencies)
        tokens = sorted(late - stream.fastest for stream in self._streams for late in stream.lateness)
        return Reading(
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            events=sum(delta is not None for delta in self._known.values()),
            deliveries=len(self._latencies),
            tokens=self._tokens,
            bytes=self._bytes,
            closed=self._closed,
            silent=sum(not stream.deliveries for stream in self._streams),
            p50_ms=percentile(latencies, 0.5) * 1000,
            p99_ms=percentile(latencies, 0.99) * 1000,
            token_p50_ms=percentile(tokens, 0.5) * 1000,
            token_p99_ms=percentile(tokens, 0.99) * 1000,
        )

    def _request(self, path: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._task.port), timeout=CONNECT_SECONDS)
        connection.sendall(request(self._task, path))
        return connection

    def _greet(self, connection: socket.socket) -> None:
        greeting = self._task.greeting.encode()
        data = b""
        while greeting not in data:
            more = connection.recv(65_536)
            data += more
            if not more or not data.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"no stream: {data[:200]!r}")
        connection.setblocking(False)
        stream = Stream(connection)
        stream.rest = data.partition(greeting)[2]
        self._streams.append(stream)
        self._selector.register(connection, selectors.EVENT_READ, stream)

    def _read(self, stream: Stream) -> None:
        data = stream.socket.recv(65_536)
        if not data:
            self._closed += 1
            self._selector.unregister(stream.socket)
            return
        now = time.time()
        self._bytes += len(data)
        *frames, stream.rest = (stream.rest + data).split(b"\n\n")
        for frame in frames:
            start = frame.find(b"id: ")
            key = frame[start : frame.find(b"\n", start)]
            if key in self._known:
                delta = self._known[key]
            else:
                delta = self._known[key] = _delta(frame)
            if delta is not None:
                stream.deliveries += 1
                self._latencies.append(now - delta[0])
                self._tokens += delta[1]
                if self._task.tokens_per_second:
                    self._date_token(stream, frame, now)

    def _date_token(self, stream: Stream, frame: bytes, now: float) -> None:
        """Note how late the oldest number of a chunk is, by the demo's own clock, which does not drift."""
        payload = json.loads(frame[frame.index(b"data: ") + 6 :])["payload"]
        numbers = payload["choices"][0]["delta"]["content"].split()
        late = now - int(numbers[0]) / self._task.tokens_per_second
        stream.fastest = min(stream.fastest, late)
        stream.lateness.append(late)

    def _obey(self, line: bytes) -> bool:
        for word in line.split():
            if word == b"reset":
                self.reset()
            _answer({} if word == b"reset" else asdict(self.report()))
        return bool(line)


def request(task: Task, path: str) -> bytes:
    """Return the request for a stream."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{task.port}\r\nAccept: text/event-stream\r\nCookie: {task.cookie}\r\n\r\n"
    return head.encode()


def _delta(frame: bytes) -> tuple[float, int] | None:
    """Return when a delta was committed (`at`, the database's clock, in Unix seconds) and its tokens; None for everything else."""
    if b"event: message.delta\n" not in frame:
        return None
    body = json.loads(frame[frame.index(b"data: ") + 6 :])
    return datetime.fromisoformat(body["at"]).timestamp(), len(body["payload"]["choices"][0]["delta"]["content"].split())


def _answer(answer: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    readers = Readers(Task(**json.loads(sys.stdin.buffer.raw.readline())))  # unbuffered: the selector must see what follows
    readers.open()
    _answer({})
    readers.run()


if __name__ == "__main__":
    main()
