"""`python -m tests.soak`: progress on standard error, the summary on standard output. Exit code 1 when a zero is not zero."""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import httpx2
import uvloop

from tests.soak.faults import Faults
from tests.soak.fleet import Fleet
from tests.soak.postgres import Postgres
from tests.soak.run import Run
from tests.soak.soak import Options, Soak, say
from tests.soak.summary import Findings, as_json, as_text, zeros
from tests.soak.valkey import Valkey

MAX_MINUTES = 24 * 60.0
MAX_CLIENTS = 2_000
MAX_SERVERS = 16
BEYOND_SECONDS = 900.0
"""For starting, settling and comparing: past this the soak is cancelled."""


def main(arguments: list[str] | None = None) -> int:
    """Soak as the arguments say; return the exit code."""
    given = _parser().parse_args(arguments)
    kinds = _kinds(given.bus, given.workers)
    if unknown := set(given.faults or []) - set(kinds):
        _parser().error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(kinds)}")
    options = Options(
        minutes=given.minutes,
        clients=given.clients,
        servers=given.servers,
        workers=given.workers,
        seed=given.seed,
        bus=given.bus,
        tokens_per_second=given.tokens_per_second,
        calm_seconds=given.calm,
        faults=given.faults or kinds,
        is_once=given.once,
    )
    folder = Path(given.keep) if given.keep else Path(tempfile.mkdtemp(prefix="rustygpt-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {options.seed}, {options.clients} clients, {options.servers} servers, bus {options.bus}, in {folder}")
    run = Run(options.seed, random.Random(options.seed))
    try:
        found = _soak(options, run, folder)
    except KeyboardInterrupt:
        say("interrupted; everything is ended")
        return 130
    finally:
        if not given.keep and not run.violations:
            shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(as_text(run, found) + "\n")
    if given.json:
        given.json.write_text(as_json(run, found) + "\n")
    if run.violations:
        (folder / "violations.json").write_text(json.dumps([asdict(each) for each in run.violations], indent=1) + "\n")
        say(f"all violations, the servers' logs and the database are in {folder}")
    return 1 if any(zeros(run).values()) else 0


def _soak(options: Options, run: Run, folder: Path) -> Findings:
    """Run the soak with a PostgreSQL around it. Raises KeyboardInterrupt on SIGINT and SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    postgres = Postgres(folder / "postgres")
    try:
        postgres.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_within_time(options, run, folder, postgres))
    finally:
        postgres.stop()


async def _within_time(options: Options, run: Run, folder: Path, postgres: Postgres) -> Findings:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    valkey = Valkey(folder / "valkey") if options.bus == "redis" else None
    environment = {
        "DATABASE_URL": postgres.dsn,
        "RUSTYGPT__BUS__KIND": options.bus,
        "RUSTYGPT__ASSISTANT__DEMO__TOKENS_PER_SECOND": str(options.tokens_per_second),
        **({"REDIS_URL": valkey.url} if valkey else {}),
    }
    fleet = Fleet.of(run, folder, options.servers, options.workers, environment)
    async with asyncio.timeout(options.minutes * 60 + BEYOND_SECONDS), httpx2.AsyncClient() as client:
        return await Soak(options, run, folder, postgres, fleet, client, valkey).soak()


def _kinds(bus: str, workers: int) -> list[str]:
    """Names of all faults there are with a bus, and with so many workers."""
    run, folder = Run(0, random.Random(0)), Path()
    return list(Faults(run, Fleet(run, [], workers), Postgres(folder), Valkey(folder) if bus == "redis" else None).kinds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Kill servers under readers that record everything."
    )
    parser.add_argument("--minutes", type=_within(float, 0.05, MAX_MINUTES), default=10.0, help="of faults; 10")
    parser.add_argument("--clients", type=_within(int, 4, MAX_CLIENTS), default=200, help="readers; writers follow from it; 200")
    parser.add_argument("--servers", type=_within(int, 2, MAX_SERVERS), default=3, help="processes on one database; 3")
    parser.add_argument("--workers", type=_within(int, 1, 8), default=1, help="of each server; 1")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all dice; at random")
    parser.add_argument("--bus", choices=["postgres", "redis"], default="postgres", help="postgres")
    parser.add_argument("--tokens-per-second", type=_within(float, 1, 1_000), default=10.0, metavar="N", help="of each reply; 10")
    parser.add_argument(
        "--calm", type=_within(float, 0.1, 600), default=5.0, metavar="SECONDS", help="between two faults, on average; 5"
    )
    parser.add_argument("--faults", type=_names, metavar="KIND,KIND…", help="all unless told")
    parser.add_argument("--once", action="store_true", help="each of the faults once, in their order, instead of --minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the summary as JSON, too")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the database and the servers' logs here")
    return parser


def _names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _within(kind: Callable[[str], float], least: float, greatest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not least <= value <= greatest:
            raise argparse.ArgumentTypeError(f"must be {least} to {greatest}")
        return value

    return parse


if __name__ == "__main__":
    sys.exit(main())
