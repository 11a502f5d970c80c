"""`stream`: fan-out against a bare Starlette server and nginx with nchan, and many replies into PostgreSQL."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict

from tests.benchmarks import fan_out, nchan, token_path
from tests.benchmarks.fan_out import FanOut
from tests.benchmarks.scenario import MAX_STREAMS, Scenario, add_rounds, add_seconds, counts, within
from tests.benchmarks.sources import NAMES, System
from tests.benchmarks.tables import cell, pair, ratio, say, show, table
from tests.benchmarks.token_path import TokenPath
from tests.benchmarks.visitor import Visitor

Rounds = dict[System, dict[int, list[FanOut]]]
MEMORY_FROM = 100
"""With fewer subscribers a server's other memory hides theirs."""


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Measure both parts."""
    results: dict[str, object] = {}
    if options.subscribers:
        systems: list[System] = ["rustygpt", "merged", "baseline", "nchan"]
        if missing := nchan.find_missing():
            systems.remove("nchan")
            results["skipped"] = {"nchan": missing}
        rounds = _fan_out(visitor, systems, options.subscribers, options.seconds, options.rounds)
        results["fan_out"] = {
            system: {count: [asdict(each) for each in found] for count, found in by_count.items()}
            for system, by_count in rounds.items()
        }
        show("One conversation, 50 tokens/s", _fan_out_table(rounds))
        show("Ratios, of the same round (below 1 is better)", _ratio_table(rounds))
        if missing:
            show("Skipped", f"nginx + nchan: {missing}")
    if options.replies:
        replies = []
        for number in range(options.rounds):
            say(f"{options.replies} replies, round {number + 1} of {options.rounds}")
            replies.append(token_path.measure(visitor, options.replies, options.seconds))
        results["token_path"] = [asdict(each) for each in replies]
        show("Replies into PostgreSQL", _token_table(replies))
    return results


def _fan_out(visitor: Visitor, systems: Sequence[System], by: Sequence[int], seconds: float, rounds: int) -> Rounds:
    """Take turns, so that what else the machine does meets all alike."""
    found: Rounds = {system: {} for system in systems}
    for count in by:
        for number in range(rounds):
            for system, by_count in found.items():
                say(f"{count} subscribers, {NAMES[system]}, round {number + 1} of {rounds}")
                by_count.setdefault(count, []).append(fan_out.measure(visitor, system, count, seconds))
    return found


def _fan_out_table(rounds: Rounds) -> str:
    head = [
        "subscribers",
        "server",
        "deliveries/s",
        "CPU µs/delivery",
        "p50 ms",
        "p99 ms",
        "KiB/subscriber",
        "of a core",
        "reader's",
    ]
    rows = [
        [
            f"{count:,}",
            NAMES[system],
            cell(found, lambda each: each.deliveries_per_second, 0),
            cell(found, lambda each: each.cpu_us),
            cell(found, lambda each: each.p50_ms),
            cell(found, lambda each: each.p99_ms),
            cell(found, _memory),
            cell(found, lambda each: each.server_cpu_share * 100, 0, " %"),
            cell(found, lambda each: each.reader_cpu_share * 100, 0, " %"),
        ]
        for count in rounds["rustygpt"]
        for system, found in ((system, by_count[count]) for system, by_count in rounds.items())
    ]
    return table(head, rows)


def _ratio_table(rounds: Rounds) -> str:
    """Ours divided by the others', round by round."""
    head = ["subscribers", "ratio", "CPU per delivery", "p99", "memory"]
    figures: list[Callable[[FanOut], float | None]] = [lambda each: each.cpu_us, lambda each: each.p99_ms, _memory]
    ours: list[System] = ["rustygpt", "merged"]
    rows = [
        [
            f"{count:,}",
            f"{NAMES[our]} ÷ {NAMES[other]}",
            *(ratio(rounds[our][count], rounds[other][count], figure) for figure in figures),
        ]
        for count in rounds["rustygpt"]
        for other in rounds
        if other not in ours
        for our in ours
    ]
    return table(head, rows)


def _memory(each: FanOut) -> float | None:
    return each.rss_kib if each.subscribers >= MEMORY_FROM else None


def _token_table(found: Sequence[TokenPath]) -> str:
    rows = [
        ["replies × tokens/s", f"{found[0].replies} × 50"],
        ["tokens received/s", cell(found, lambda each: each.tokens_per_second, 0)],
        ["events (chunks) received/s", cell(found, lambda each: each.chunks_per_second, 0)],
        ["procedure calls/s", cell(found, lambda each: each.calls_per_second)],
        ["chunks per call", cell(found, lambda each: each.chunks_per_call)],
        ["commit p50 / p99 ms", pair(found, lambda each: each.commit_p50_ms, lambda each: each.commit_p99_ms)],
        ["commit → receive p50 / p99 ms", pair(found, lambda each: each.p50_ms, lambda each: each.p99_ms)],
        ["token → receive p50 / p99 ms", pair(found, lambda each: each.token_p50_ms, lambda each: each.token_p99_ms)],
        ["CPU of the server, of a core", cell(found, lambda each: each.server_cpu_share * 100, 0, " %")],
        ["CPU of PostgreSQL, of a core", cell(found, lambda each: each.postgres_cpu_share * 100, 0, " %")],
        ["CPU of the reader, of a core", cell(found, lambda each: each.reader_cpu_share * 100, 0, " %")],
    ]
    return table(["figure", "median (least–greatest)"], rows)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--subscribers",
        type=counts(1, MAX_STREAMS),
        default=[1, 200, 1000],
        metavar="N,N…",
        help="1,200,1000 unless told; '' leaves this part out",
    )
    parser.add_argument("--replies", type=within(int, 0, 1000), default=100, metavar="N", help="100; 0 leaves this part out")
    add_seconds(parser)
    add_rounds(parser)


SCENARIO = Scenario(
    "stream", "fan-out against a bare Starlette server and nginx with nchan, and many replies into PostgreSQL", _add_options, run
)
