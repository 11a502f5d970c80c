"""One conversation, many subscribers: what a delivery costs, how late it is, what a subscriber weighs. Ours and the others, in turns."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass

from tests.benchmarks.processes import Usage, pass_time, reading
from tests.benchmarks.sources import System, open_source
from tests.benchmarks.visitor import Visitor

EVENTS_PER_SECOND = 50.0
WARM_UP_STREAMS = 32
"""Open already when the others come, so that what a server sets up once (its pool of connections) is not counted as theirs."""
SETTLE_SECONDS = 1.0
IDLE_SECONDS = 2.0


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


def measure(visitor: Visitor, system: System, subscribers: int, seconds: float) -> FanOut:
    """Run one round with a fresh server process."""
    settle_seconds = min(SETTLE_SECONDS, seconds / 4)
    with open_source(visitor, system, EVENTS_PER_SECOND) as source, ExitStack() as streams:
        server = source.server
        with reading(source.task(WARM_UP_STREAMS)):
            pass_time(settle_seconds)
            before = server.usage()
            reader = streams.enter_context(reading(source.task(subscribers)))
            pass_time(settle_seconds)
            connected = server.usage()
        pass_time(settle_seconds)
        quiet = server.usage()
        pass_time(min(IDLE_SECONDS, seconds))
        idle = server.usage()
        source.begin(streams)
        reader.until_all_have_some()
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


def _share(first: Usage, last: Usage) -> float:
    return (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at)
