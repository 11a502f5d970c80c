"""`slow`: what clients that never read cost the server, and whether the others notice them."""

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Final

from tests.benchmarks.processes import asking, pass_time, reading
from tests.benchmarks.scenario import MAX_STREAMS, Scenario, add_rounds, add_seconds, within
from tests.benchmarks.sources import open_source
from tests.benchmarks.tables import cell, pair, ratio, say, show, table
from tests.benchmarks.visitor import Visitor

EVENTS_PER_SECOND: Final = 50.0
STALL_SECONDS: Final = 5.0
"""Until every buffer of a client that does not read is full: 25 KB of events a second against some 60 KB."""
SETTLE_SECONDS: Final = 1.0
_QUEUED: Final = re.compile(r":(?P<peer>\d+)\s[^\n:]*skmem:\([^)\n]*\bw(?P<bytes>\d+),")


@dataclass(frozen=True, slots=True)
class Slow:
    """One round. `growth_bytes`: of resident memory from before the events to after them, for all streams together.

    `kernel_bytes`: the most that the kernel keeps for one stalled client, its own book-keeping included; None without `ss`.
    """

    reading: int
    stalled: int
    p50_ms: float
    p99_ms: float
    deliveries_per_second: float
    growth_bytes: int
    kernel_bytes: int | None


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Measure by turns: nobody stalled, and one in twenty."""
    stalled = max(1, round(options.subscribers / 20))
    free: list[Slow] = []
    with_stalled: list[Slow] = []
    for number in range(options.rounds):
        for count, rounds in ((0, free), (stalled, with_stalled)):
            say(f"{options.subscribers - stalled} readers, {count} stalled, round {number + 1} of {options.rounds}")
            rounds.append(_measure(visitor, options.subscribers - stalled, count, options.seconds))
    show(f"{options.subscribers - stalled} readers, {EVENTS_PER_SECOND:g} events/s", _table(free, with_stalled))
    show("What they cost", _sum_table(free, with_stalled))
    return {"slow": {"none": [asdict(each) for each in free], "stalled": [asdict(each) for each in with_stalled]}}


def _measure(visitor: Visitor, readers: int, stalled: int, seconds: float) -> Slow:
    with (
        open_source(visitor, "rustygpt", EVENTS_PER_SECOND) as source,
        reading(source.task(readers)) as reader,
        asking("-m", "tests.benchmarks.stalled") as never_reading,
        ExitStack() as others,
    ):
        ports = set(json.loads(never_reading.ask(json.dumps(asdict(source.task(stalled))))))
        pass_time(min(SETTLE_SECONDS, seconds))
        before = source.server.usage()
        source.begin(others)
        pass_time(min(STALL_SECONDS, seconds))
        reader.reset()
        pass_time(seconds)
        got = reader.report()
        after, kept = source.server.usage(), _kernel_bytes(source.server.port, ports)
    if got.closed or got.silent:
        raise RuntimeError(f"the round does not count: {asdict(got)}")
    return Slow(
        reading=readers,
        stalled=stalled,
        p50_ms=got.p50_ms,
        p99_ms=got.p99_ms,
        deliveries_per_second=got.deliveries / got.seconds,
        growth_bytes=after.rss_bytes - before.rss_bytes,
        kernel_bytes=max(kept, default=None),
    )


def _kernel_bytes(port: int, peers: Collection[int]) -> list[int]:
    """Return what the kernel holds back for each of *peers*; nothing where `ss` is not installed."""
    if shutil.which("ss") is None:
        return []
    command = ["ss", "--tcp", "--memory", "--numeric", "--no-header", "--oneline", "sport", "=", f":{port}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return [int(found["bytes"]) for found in _QUEUED.finditer(said) if int(found["peer"]) in peers]


def _table(free: Sequence[Slow], stalled: Sequence[Slow]) -> str:
    head = ["stalled", "others' p50 / p99 ms", "deliveries/s", "kernel, KB a stalled client", "memory grows by, MB"]
    rows = [
        [
            str(rounds[0].stalled),
            pair(rounds, lambda each: each.p50_ms, lambda each: each.p99_ms),
            cell(rounds, lambda each: each.deliveries_per_second, 0),
            cell(rounds, lambda each: None if each.kernel_bytes is None else each.kernel_bytes / 1000, 0),
            cell(rounds, lambda each: each.growth_bytes / 1e6),
        ]
        for rounds in (free, stalled)
    ]
    return table(head, rows)


def _sum_table(free: Sequence[Slow], stalled: Sequence[Slow]) -> str:
    kept = [
        (each.growth_bytes - other.growth_bytes) / each.stalled + (each.kernel_bytes or 0)
        for other, each in zip(free, stalled, strict=True)
    ]
    rows = [
        ["others' p99, with stalled clients ÷ without", ratio(stalled, free, lambda each: each.p99_ms)],
        ["held for a stalled client, kernel included, KB", cell(kept, lambda each: each / 1000, 0)],
    ]
    return table(["of the same round", "median (least–greatest)"], rows)


def _add_options(parser: argparse.ArgumentParser) -> None:
    help_ = "1000, one in twenty of which never reads"
    parser.add_argument("--subscribers", type=within(int, 2, MAX_STREAMS), default=1000, metavar="N", help=help_)
    add_seconds(parser)
    add_rounds(parser)


SCENARIO = Scenario("slow", "one client in twenty never reads: what it costs, and whether the others notice", _add_options, run)
