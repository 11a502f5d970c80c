"""The clients of a storm: one process that opens a thousand streams at old cursors within a second and reads each to its end.

Its one line of standard input is a `Storm`; its one line of output an `Outcome`.
"""

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass

from tests.benchmarks.figures import percentile

DEADLINE_SECONDS = 120.0
_ID = re.compile(rb"(?:^|\n)id: [a-z0-9]+-([0-9]+)\n")


@dataclass(frozen=True, slots=True)
class Storm:
    """*clients* streams of *path* after the cursor *last_id*, opened evenly over *seconds*; each is done when it has *until* (a position).

    *cookies* go round.
    """

    port: int
    path: str
    cookies: list[str]
    clients: int
    seconds: float
    last_id: str
    until: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. Times from a client's own connect; `seconds` from the first connect to the last client that had all.

    `different` clients got other positions than most, or another order; `unfinished` were closed or came to no end.
    """

    statuses: dict[str, int]
    events: int
    different: int
    unfinished: int
    seconds: float
    head_p50_ms: float
    all_p50_ms: float
    all_p99_ms: float
    cpu_seconds: float


class Client:
    """One of the clients."""

    def __init__(self, storm: Storm, number: int) -> None:
        cookie = storm.cookies[number % len(storm.cookies)]
        head = f"GET {storm.path} HTTP/1.1\r\nHost: 127.0.0.1:{storm.port}\r\nCookie: {cookie}\r\nLast-Event-ID: {storm.last_id}\r\n\r\n"
        self.request = head.encode()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.began_at = time.monotonic()
        self.head_at = self.all_at = 0.0
        self.status = ""
        self.positions: list[int] = []
        self._rest = b""
        self._until = storm.until
        self.socket.connect_ex(("127.0.0.1", storm.port))

    def read(self) -> bool:
        """Take what has come; say whether more is wanted."""
        data = self.socket.recv(262_144)
        now = time.monotonic()
        if not self.head_at and data:
            self.head_at, self.status = now, data[9:12].decode()
        *frames, self._rest = (self._rest + data).split(b"\n\n")
        for frame in frames:
            if (found := _ID.search(frame)) is not None and b"event: stream." not in frame:
                self.positions.append(int(found[1]))
        if self.positions and self.positions[-1] >= self._until:
            self.all_at = now
        return bool(data) and not self.all_at and self.status == "200"


def play(storm: Storm) -> Outcome:
    """Let the storm come and pass."""
    selector, clients, left = selectors.DefaultSelector(), list[Client](), storm.clients
    began_at = time.monotonic()
    while left and time.monotonic() < began_at + DEADLINE_SECONDS:
        due = min(storm.clients, 1 + int((time.monotonic() - began_at) / storm.seconds * storm.clients))
        while len(clients) < due:
            clients.append(client := Client(storm, len(clients)))
            selector.register(client.socket, selectors.EVENT_WRITE, client)
        for key, events in selector.select(0.001 if len(clients) < storm.clients else 1.0):
            client = key.data
            if events & selectors.EVENT_WRITE:
                client.socket.sendall(client.request)
                selector.modify(client.socket, selectors.EVENT_READ, client)
            elif not client.read():
                selector.unregister(client.socket)
                left -= 1
    return _outcome(clients, began_at)


def _outcome(clients: list[Client], began_at: float) -> Outcome:
    done = [client for client in clients if client.all_at]
    ways = Counter(tuple(client.positions) for client in done)
    usual, alike = ways.most_common(1)[0] if ways else ((), 0)
    heads = sorted(client.head_at - client.began_at for client in clients if client.head_at)
    alls = sorted(client.all_at - client.began_at for client in done)
    return Outcome(
        statuses=dict(Counter(client.status or "none" for client in clients)),
        events=len(usual),
        different=len(done) - alike + (alike if list(usual) != sorted(set(usual)) else 0),
        unfinished=len(clients) - len(done),
        seconds=max((client.all_at for client in done), default=began_at) - began_at,
        head_p50_ms=percentile(heads, 0.5) * 1000,
        all_p50_ms=percentile(alls, 0.5) * 1000,
        all_p99_ms=percentile(alls, 0.99) * 1000,
        cpu_seconds=time.process_time(),
    )


def main() -> None:
    outcome = play(Storm(**json.loads(sys.stdin.readline())))
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
