"""`python -m tests.benchmarks stream`: tables on standard output, progress on standard error, every round in a JSON file on demand."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import fan_out, report, token_path
from tests.benchmarks.visitor import Visitor

MAX_SUBSCRIBERS = 10_000
MAX_SECONDS = 120.0
MAX_ROUNDS = 20


def main(arguments: list[str] | None = None) -> None:
    """Measure what the arguments ask for."""
    options = _parser().parse_args(arguments)
    _say(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start")
    results: dict[str, object] = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    with _visitor() as visitor:
        if options.subscribers:
            rounds = _fan_out(visitor, options.subscribers, options.seconds, options.rounds)
            results["fan_out"] = {
                system: {count: [asdict(each) for each in found] for count, found in by_count.items()}
                for system, by_count in rounds.items()
            }
            _print("One conversation, 50 events/s", report.fan_out_table(rounds))
            _print("RustyGPT ÷ bare Starlette, of the same round (below 1 is better)", report.ratio_table(rounds))
        if options.replies:
            found = []
            for number in range(options.rounds):
                _say(f"{options.replies} replies, round {number + 1} of {options.rounds}")
                found.append(token_path.measure(visitor, options.replies, options.seconds))
            results["token_path"] = [asdict(each) for each in found]
            _print("Replies into PostgreSQL", report.token_table(found))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _fan_out(visitor: Visitor, counts: list[int], seconds: float, rounds: int) -> report.Rounds:
    """Take turns, so that what else the machine does meets both alike."""
    found: report.Rounds = {"rustygpt": {}, "baseline": {}}
    for count in counts:
        for number in range(rounds):
            for system, by_count in found.items():
                _say(f"{count} subscribers, {system}, round {number + 1} of {rounds}")
                by_count.setdefault(count, []).append(fan_out.measure(visitor, system, count, seconds))
    return found


@contextmanager
def _visitor() -> Iterator[Visitor]:
    with tempfile.TemporaryDirectory(prefix="rustygpt-bench-") as folder:
        visitor = Visitor(Path(folder))
        try:
            yield visitor
        finally:
            visitor.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure RustyGPT on this machine.")
    stream = parser.add_subparsers(required=True).add_parser(
        "stream", help="event streams: fan-out against a bare Starlette server, and many replies into PostgreSQL"
    )
    stream.add_argument(
        "--subscribers",
        type=_counts,
        default=[1, 200, 1000],
        metavar="N,N…",
        help="1,200,1000 unless told; '' leaves this part out",
    )
    stream.add_argument("--replies", type=_within(int, 0, 1000), default=100, metavar="N", help="100; 0 leaves this part out")
    stream.add_argument("--seconds", type=_within(float, 0.5, MAX_SECONDS), default=10.0, help="of each round; 10")
    stream.add_argument("--rounds", type=_within(int, 1, MAX_ROUNDS), default=3, help="3; tables show the median")
    stream.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round")
    return parser


def _counts(text: str) -> list[int]:
    return [_within(int, 1, MAX_SUBSCRIBERS)(part) for part in text.split(",") if part]


def _within(kind: Callable[[str], float], least: float, greatest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not least <= value <= greatest:
            raise argparse.ArgumentTypeError(f"must be {least} to {greatest}")
        return value

    return parse


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _print(title: str, table: str) -> None:
    sys.stdout.write(f"\n{title}\n\n{table}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
