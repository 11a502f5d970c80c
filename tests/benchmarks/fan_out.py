"""One conversation, many subscribers: what a delivery costs, how late it is, what a subscriber weighs. Ours and the others, in turns."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import httpx2

from tests.benchmarks import nchan
from tests.benchmarks.processes import Served, Usage, pass_time, reading, served, started
from tests.benchmarks.reader import GREETING, Task
from tests.benchmarks.token_path import FLUSH_MS
from tests.benchmarks.visitor import Visitor, stream_path

EVENTS_PER_SECOND = 50.0
WARM_UP_STREAMS = 32
"""Open already when the others come, so that what a server sets up once (its pool of connections) is not counted as theirs."""
SETTLE_SECONDS = 1.0
IDLE_SECONDS = 2.0

System = Literal["rustygpt", "merged", "baseline", "nchan"]
"""Ours with each token committed and sent by itself; ours as delivered (`flush_ms` 25); a bare Starlette server; nginx with nchan."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """One round. A delivery is a token that has reached a subscriber, alone or merged with its neighbours; an event may hold several.

    `cpu_us` is the server's CPU per delivery beyond its idle use; latencies are from commit to receipt.
    """

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
    """A running server with something to follow; *begin* makes the events come, until the block around it ends."""

    server: Served
    path: str
    begin: Callable[[ExitStack], object]
    cookie: str = "none=none"
    greeting: str = GREETING


@contextmanager
def rustygpt(visitor: Visitor, flush_ms: int) -> Iterator[Source]:
    """The real server. With flush_ms = 0 every token is committed as a row of its own."""
    with visitor.server(tokens_per_second=EVENTS_PER_SECOND, flush_ms=flush_ms) as server:
        conversation = visitor.new_conversation()
        yield Source(server, stream_path(conversation), lambda _: visitor.ask(conversation), visitor.cookie)


@contextmanager
def baseline(visitor: Visitor) -> Iterator[Source]:
    """The bare Starlette server, in the same place."""
    with served("-m", "tests.benchmarks.baseline", log=visitor.folder / "baseline.log") as server:
        yield Source(server, "/stream", lambda _: httpx2.post(f"{server.url}/rate/{EVENTS_PER_SECOND}").raise_for_status())


@contextmanager
def nginx(visitor: Visitor) -> Iterator[Source]:
    """nginx with nchan; a process of its own publishes."""
    with nchan.serving(visitor.folder) as server:
        command = ("-m", "tests.benchmarks.publisher", f"{server.url}/publish", str(EVENTS_PER_SECOND))
        yield Source(server, "/stream", lambda streams: streams.enter_context(started(*command)), greeting=nchan.GREETING)


def _source(visitor: Visitor, system: System) -> AbstractContextManager[Source]:
    match system:
        case "rustygpt":
            return rustygpt(visitor, flush_ms=0)
        case "merged":
            return rustygpt(visitor, flush_ms=FLUSH_MS)
        case "baseline":
            return baseline(visitor)
        case "nchan":
            return nginx(visitor)


def measure(visitor: Visitor, system: System, subscribers: int, seconds: float) -> FanOut:
    """Run one round with a fresh server process."""
    settle_seconds = min(SETTLE_SECONDS, seconds / 4)
    with _source(visitor, system) as source, ExitStack() as streams:
        server = source.server
        with reading(_task(source, WARM_UP_STREAMS)):
            pass_time(settle_seconds)
            before = server.usage()
            reader = streams.enter_context(reading(_task(source, subscribers)))
            pass_time(settle_seconds)
            connected = server.usage()
        pass_time(settle_seconds)
        quiet = server.usage()
        pass_time(min(IDLE_SECONDS, seconds))
        idle = server.usage()
        source.begin(streams)
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
        deliveries_per_second=got.tokens / got.seconds,
        events_per_second=got.events / got.seconds,
        received_share=got.deliveries / (got.events * subscribers),
        cpu_us=max(0.0, spent - idle_spent) / got.tokens * 1e6,
        server_cpu_share=_share(first, last),
        reader_cpu_share=got.cpu_seconds / got.seconds,
        p50_ms=got.p50_ms,
        p99_ms=got.p99_ms,
        rss_kib=(connected.rss_bytes - before.rss_bytes) / subscribers / 1024,
        frame_bytes=got.bytes / got.deliveries,
    )


def _task(source: Source, streams: int) -> Task:
    return Task(source.server.port, [source.path] * streams, source.cookie, greeting=source.greeting)


def _share(first: Usage, last: Usage) -> float:
    return (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at)
