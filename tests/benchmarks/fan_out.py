"""One conversation, many subscribers: what a delivery costs, how late it is, what a subscriber weighs. Ours, then the baseline, in turns."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import httpx2

from tests.benchmarks.processes import Served, Usage, pass_time, reading, served
from tests.benchmarks.reader import Task
from tests.benchmarks.visitor import Visitor, stream_path

EVENTS_PER_SECOND = 50.0
WARM_UP_STREAMS = 32
"""Open already when the others come, so that what a server sets up once (its pool of connections) is not counted as theirs."""
SETTLE_SECONDS = 1.0
IDLE_SECONDS = 2.0

System = Literal["rustygpt", "baseline"]


@dataclass(frozen=True, slots=True)
class FanOut:
    """One round. `cpu_us` is the server's CPU per delivery beyond its idle use; latencies are from commit to receipt."""

    subscribers: int
    deliveries_per_second: float
    events_per_second: float
    received_share: float
    cpu_us: float
    server_cpu_share: float
    reader_cpu_share: float
    p50_ms: float
    p99_ms: float
    rss_kib: float
    frame_bytes: float


@dataclass(frozen=True, slots=True)
class Source:
    """A running server with something to follow; *begin* makes the events come."""

    server: Served
    path: str
    cookie: str
    begin: Callable[[], object]


@contextmanager
def rustygpt(visitor: Visitor) -> Iterator[Source]:
    """The real server. Every token is committed as a row of its own: flush_ms = 0."""
    with visitor.server(tokens_per_second=EVENTS_PER_SECOND, flush_ms=0) as server:
        conversation = visitor.new_conversation()
        yield Source(server, stream_path(conversation), visitor.cookie, lambda: visitor.ask(conversation))


@contextmanager
def baseline(visitor: Visitor) -> Iterator[Source]:
    """The comparison, in the same place."""
    with served("-m", "tests.benchmarks.baseline", log=visitor.folder / "baseline.log") as server:
        yield Source(
            server, "/stream", "none=none", lambda: httpx2.post(f"{server.url}/rate/{EVENTS_PER_SECOND}").raise_for_status()
        )


def measure(visitor: Visitor, system: System, subscribers: int, seconds: float) -> FanOut:
    """Run one round with a fresh server process."""
    settle_seconds = min(SETTLE_SECONDS, seconds / 4)
    opened = rustygpt(visitor) if system == "rustygpt" else baseline(visitor)
    with opened as source, ExitStack() as streams:
        server = source.server
        with reading(Task(server.port, [source.path] * WARM_UP_STREAMS, source.cookie)):
            pass_time(settle_seconds)
            before = server.usage()
            reader = streams.enter_context(reading(Task(server.port, [source.path] * subscribers, source.cookie)))
            pass_time(settle_seconds)
            connected = server.usage()
        pass_time(settle_seconds)
        quiet = server.usage()
        pass_time(min(IDLE_SECONDS, seconds))
        idle = server.usage()
        source.begin()
        pass_time(settle_seconds)
        reader.reset()
        first = server.usage()
        pass_time(seconds)
        last = server.usage()
        got = reader.report()
    if got.closed or got.silent:
        raise RuntimeError(f"the round does not count: {asdict(got)}")
    spent = last.cpu_seconds - first.cpu_seconds
    idle_spent = _share(quiet, idle) * (last.at - first.at)
    return FanOut(
        subscribers=subscribers,
        deliveries_per_second=got.deliveries / got.seconds,
        events_per_second=got.events / got.seconds,
        received_share=got.deliveries / (got.events * subscribers),
        cpu_us=max(0.0, spent - idle_spent) / got.deliveries * 1e6,
        server_cpu_share=_share(first, last),
        reader_cpu_share=got.cpu_seconds / got.seconds,
        p50_ms=got.p50_ms,
        p99_ms=got.p99_ms,
        rss_kib=(connected.rss_bytes - before.rss_bytes) / subscribers / 1024,
        frame_bytes=got.bytes / got.deliveries,
    )


def _share(first: Usage, last: Usage) -> float:
    return (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at)
