"""What a scenario is to the command line: a name, its options with defaults that fit a small machine, and a run that returns its figures."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.visitor import Visitor

MAX_STREAMS = 10_000
MAX_SECONDS = 120.0
MAX_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """One measurement. *run* prints tables and returns what is written as JSON."""

    name: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Visitor, argparse.Namespace], dict[str, object]]


def add_rounds(parser: argparse.ArgumentParser, default: int = 3) -> None:
    """Add --rounds."""
    parser.add_argument("--rounds", type=within(int, 1, MAX_ROUNDS), default=default, help=f"{default}; tables show the median")


def add_seconds(parser: argparse.ArgumentParser, default: float = 10.0) -> None:
    """Add --seconds."""
    parser.add_argument("--seconds", type=within(float, 0.5, MAX_SECONDS), default=default, help=f"of each round; {default:g}")


def counts(least: int, greatest: int) -> Callable[[str], list[int]]:
    """Return a parser of `N,N…`."""

    def parse(text: str) -> list[int]:
        return [int(within(int, least, greatest)(part)) for part in text.split(",") if part]

    return parse


def within(kind: Callable[[str], float], least: float, greatest: float) -> Callable[[str], float]:
    """Return a parser of numbers from *least* to *greatest*."""

    def parse(text: str) -> float:
        value = kind(text)
        if not least <= value <= greatest:
            raise argparse.ArgumentTypeError(f"must be {least} to {greatest}")
        return value

    return parse
