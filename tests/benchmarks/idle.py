"""`idle`: what streams weigh on which nothing happens, how long an event takes to reach all of them, and what is left when they close."""

import argparse
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from tests.benchmarks import nchan
from tests.benchmarks.fan_out import WARM_UP_STREAMS
from tests.benchmarks.processes import Served, pass_time, reading
from tests.benchmarks.scenario import MAX_STREAMS, Scenario, add_rounds, add_seconds, within
from tests.benchmarks.sources import NAMES, System, open_source
from tests.benchmarks.tables import cell, pair, say, show, table
from tests.benchmarks.visitor import Visitor

EVENTS_PER_SECOND = 1.0
SETTLE_SECONDS = 2.0
IDLE_SECONDS = 5.0
CLOSE_SECONDS = 60.0
SPARE_DESCRIPTORS = 500
"""What a process has open besides its streams, amply."""


@dataclass(frozen=True, slots=True)
class Idle:
    """One round. `kib` is resident memory a stream; latencies are from commit to receipt, over all streams and events."""

    streams: int
    opened_per_second: float
    kib: float
    idle_cpu_share: float
    events: int
    p50_ms: float
    p99_ms: float
    reader_cpu_share: float
    descriptors: int
    descriptors_left: int
    close_seconds: float


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Measure ours, then the others."""
    streams = min(options.streams, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)
    if streams < options.streams:
        say(f"{streams:,} streams: the limit of open files (ulimit -n) allows no more")
    missing = None if options.alone else nchan.find_missing()
    systems: list[System] = ["rustygpt", "baseline", "nchan"]
    if missing or options.alone:
        systems = ["rustygpt"] if options.alone else systems[:2]
    found: dict[System, list[Idle]] = {system: [] for system in systems}
    for number in range(options.rounds):
        for system in systems:
            say(f"{streams:,} idle streams, {NAMES[system]}, round {number + 1} of {options.rounds}")
            found[system].append(_measure(visitor, system, streams, options.seconds))
    show(f"{streams:,} idle streams", _table(found))
    if missing:
        show("Skipped", f"nginx + nchan: {missing}")
    return {"idle": {system: [asdict(each) for each in rounds] for system, rounds in found.items()}}


def _measure(visitor: Visitor, system: System, streams: int, seconds: float) -> Idle:
    with open_source(visitor, system, EVENTS_PER_SECOND) as source:
        server = source.server
        with reading(source.task(WARM_UP_STREAMS)):
            pass_time(min(SETTLE_SECONDS, seconds))
            open_at_first = server.descriptors() - WARM_UP_STREAMS
        before, began_at = server.usage(), time.monotonic()
        with reading(source.task(streams)) as reader, ExitStack() as others:
            opened_at = time.monotonic()
            pass_time(min(SETTLE_SECONDS, seconds))
            quiet = server.usage()
            pass_time(min(IDLE_SECONDS, seconds))
            idle, descriptors = server.usage(), server.descriptors()
            source.begin(others)
            pass_time(1.5 / EVENTS_PER_SECOND)
            reader.reset()
            pass_time(max(seconds, 2.5 / EVENTS_PER_SECOND))
            got = reader.report()
        closed_at = time.monotonic()
        left = _descriptors_left(server, open_at_first)
        close_seconds = time.monotonic() - closed_at
    if got.closed or got.silent:
        raise RuntimeError(f"the round does not count: {asdict(got)}")
    return Idle(
        streams=streams,
        opened_per_second=streams / (opened_at - began_at),
        kib=(quiet.rss_bytes - before.rss_bytes) / streams / 1024,
        idle_cpu_share=(idle.cpu_seconds - quiet.cpu_seconds) / (idle.at - quiet.at),
        events=got.events,
        p50_ms=got.p50_ms,
        p99_ms=got.p99_ms,
        reader_cpu_share=got.cpu_seconds / got.seconds,
        descriptors=descriptors,
        descriptors_left=left,
        close_seconds=close_seconds,
    )


def _descriptors_left(server: Served, before: int) -> int:
    """Return how many more descriptors are open than before, as soon as there are none, or after a while."""
    ends_at = time.monotonic() + CLOSE_SECONDS
    while (left := server.descriptors() - before) > 0 and time.monotonic() < ends_at:
        time.sleep(0.05)
    return max(left, 0)


def _table(found: dict[System, list[Idle]]) -> str:
    head = [
        "server",
        "KiB a stream",
        "event to all, p50 / p99 ms",
        "CPU while idle",
        "opened/s",
        "reader's CPU",
        "descriptors, left after closing",
        "closed in s",
    ]
    return table(head, [_row(NAMES[system], rounds) for system, rounds in found.items()])


def _row(name: str, rounds: Sequence[Idle]) -> list[str]:
    return [
        name,
        cell(rounds, lambda each: each.kib),
        pair(rounds, lambda each: each.p50_ms, lambda each: each.p99_ms),
        cell(rounds, lambda each: each.idle_cpu_share * 100, 1, " %"),
        cell(rounds, lambda each: each.opened_per_second, 0),
        cell(rounds, lambda each: each.reader_cpu_share * 100, 0, " %"),
        f"{cell(rounds, lambda each: each.descriptors, 0)}, {cell(rounds, lambda each: each.descriptors_left, 0)}",
        cell(rounds, lambda each: each.close_seconds),
    ]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--streams",
        type=within(int, 1, MAX_STREAMS),
        default=MAX_STREAMS,
        metavar="N",
        help=f"{MAX_STREAMS}, or as many as `ulimit -n` allows",
    )
    parser.add_argument("--alone", action="store_true", help="without the servers for comparison")
    add_seconds(parser)
    add_rounds(parser, default=1)


SCENARIO = Scenario("idle", "idle streams: memory each, an event to all of them, descriptors after they close", _add_options, run)
