"""`python -m tests.benchmarks WHAT`: tables on standard output, progress on standard error, every round in a JSON file on demand."""

import argparse
import json
import os
import platform
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import idle, log_growth, login, slow, storm, stream, v1
from tests.benchmarks.scenario import Scenario
from tests.benchmarks.tables import say
from tests.benchmarks.visitor import Visitor

SCENARIOS: Sequence[Scenario] = [
    *(stream.SCENARIO, storm.SCENARIO, slow.SCENARIO),
    *(log_growth.SCENARIO, idle.SCENARIO, login.SCENARIO, v1.SCENARIO),
]


def main(arguments: list[str] | None = None) -> None:
    """Measure what the arguments ask for."""
    options = _parser().parse_args(arguments)
    _raise_descriptors()
    load = os.getloadavg()[0]
    say(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f} at the start")
    results: dict[str, object] = {"python": platform.python_version(), "cores": os.cpu_count(), "load": load}
    for scenario in SCENARIOS:
        if options.what not in (scenario.name, "all"):
            continue
        given = options if options.what == scenario.name else _defaults(scenario)
        # A folder each: what one leaves in the database must not weigh on the next.
        with _visitor() as visitor:
            results |= scenario.run(visitor, given)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")


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
    commands = parser.add_subparsers(required=True, dest="what")
    for scenario in SCENARIOS:
        _add_json(command := commands.add_parser(scenario.name, help=scenario.help))
        scenario.add_options(command)
    _add_json(commands.add_parser("all", help="everything, each with its defaults"))
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures of every round")


def _defaults(scenario: Scenario) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    scenario.add_options(parser)
    return parser.parse_args([])


def _raise_descriptors() -> None:
    """Allow this process, and those it starts, as many open files as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
