"""Figures as tables that read well in a terminal and in Markdown: the median of the rounds, with the least and the greatest."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.benchmarks.fan_out import FanOut, System
from tests.benchmarks.figures import spread
from tests.benchmarks.token_path import TokenPath

Round = TypeVar("Round")
Rounds = dict[System, dict[int, list[FanOut]]]
MEMORY_FROM = 100
"""With fewer subscribers a server's other memory hides theirs."""


def fan_out_table(rounds: Rounds) -> str:
    """A row for each system and number of subscribers."""
    head = [
        "subscribers",
        "server",
        "deliveries/s",
        "CPU µs/delivery",
        "p50 ms",
        "p99 ms",
        "RSS KiB/subscriber",
        "CPU of a core",
        "reader's",
    ]
    rows = [
        [
            f"{count:,}",
            system,
            _cell(found, lambda each: each.deliveries_per_second, 0),
            _cell(found, lambda each: each.cpu_us),
            _cell(found, lambda each: each.p50_ms),
            _cell(found, lambda each: each.p99_ms),
            _cell(found, lambda each: each.rss_kib if each.subscribers >= MEMORY_FROM else None),
            _cell(found, lambda each: each.server_cpu_share * 100, 0, " %"),
            _cell(found, lambda each: each.reader_cpu_share * 100, 0, " %"),
        ]
        for count in rounds["rustygpt"]
        for system, found in ((system, by_count[count]) for system, by_count in rounds.items())
    ]
    return _table(head, rows)


def ratio_table(rounds: Rounds) -> str:
    """Ours divided by the baseline, round by round; below 1 is better."""
    head = ["subscribers", "CPU per delivery", "p99", "RSS per subscriber"]
    figures: list[Callable[[FanOut], float | None]] = [
        lambda each: each.cpu_us,
        lambda each: each.p99_ms,
        lambda each: each.rss_kib if each.subscribers >= MEMORY_FROM else None,
    ]
    rows = []
    for count, ours in rounds["rustygpt"].items():
        pairs = list(zip(ours, rounds["baseline"][count], strict=True))
        rows.append([f"{count:,}", *(_ratio([(figure(our), figure(their)) for our, their in pairs]) for figure in figures)])
    return _table(head, rows)


def token_table(found: Sequence[TokenPath]) -> str:
    """A row for each figure."""
    rows = [
        ["replies × tokens/s", f"{found[0].replies} × 50"],
        ["tokens received/s", _cell(found, lambda each: each.tokens_per_second, 0)],
        ["events (chunks) received/s", _cell(found, lambda each: each.chunks_per_second, 0)],
        ["procedure calls/s", _cell(found, lambda each: each.calls_per_second)],
        ["chunks per call", _cell(found, lambda each: each.chunks_per_call)],
        ["commit p50 / p99 ms", _pair(found, lambda each: each.commit_p50_ms, lambda each: each.commit_p99_ms)],
        ["commit → receive p50 / p99 ms", _pair(found, lambda each: each.p50_ms, lambda each: each.p99_ms)],
        ["token → receive p50 / p99 ms", _pair(found, lambda each: each.token_p50_ms, lambda each: each.token_p99_ms)],
        ["CPU of the server, of a core", _cell(found, lambda each: each.server_cpu_share * 100, 0, " %")],
        ["CPU of PostgreSQL, of a core", _cell(found, lambda each: each.postgres_cpu_share * 100, 0, " %")],
        ["CPU of the reader, of a core", _cell(found, lambda each: each.reader_cpu_share * 100, 0, " %")],
    ]
    return _table(["figure", "median (least–greatest)"], rows)


def _cell(found: Sequence[Round], figure: Callable[[Round], float | None], digits: int = 1, unit: str = "") -> str:
    known = spread([figure(each) for each in found])
    return known.shown(digits) + unit if known else "–"


def _pair(found: Sequence[Round], first: Callable[[Round], float], second: Callable[[Round], float]) -> str:
    return f"{_cell(found, first)} / {_cell(found, second)}"


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    known = spread([ours / theirs for ours, theirs in pairs if ours is not None and theirs])
    return known.shown(2) if known else "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
