"""`login`: how late the event loop gets while people sign in at once, and how long those wait who are signed in already."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import httpx2

from tests.benchmarks.figures import percentile
from tests.benchmarks.owner import owning
from tests.benchmarks.processes import Served
from tests.benchmarks.scenario import Scenario, add_rounds, within
from tests.benchmarks.tables import cell, say, show, table
from tests.benchmarks.visitor import Visitor

PASSWORD: Final = "correct horse battery"
MAX_LOGINS: Final = 64
"""As many as may wait for their password to be checked."""
QUIET_SECONDS: Final = 3.0
ASK_SECONDS: Final = 0.02
"""Between two requests of somebody who is signed in."""
SAMPLES: Final = 100
DEADLINE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How late a timer of 2 ms is called, and how long a signed-in user's request takes."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    request_p50_ms: float
    request_p99_ms: float


@dataclass(frozen=True, slots=True)
class Round:
    """The same server, first with nothing to do, then with all sign-ins at once."""

    quiet: Lag
    busy: Lag
    logins: int
    refused: int
    login_p50_ms: float
    seconds: float


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Measure round by round, on one server."""
    rounds: list[Round] = []
    with visitor.server(tokens_per_second=1, flush_ms=25, module="tests.benchmarks.probed") as server:
        emails = _prepare(visitor, options.logins)
        for number in range(options.rounds):
            say(f"{options.logins} people sign in at once, round {number + 1} of {options.rounds}")
            rounds.append(_measure(visitor, server, emails))
    show(f"{options.logins} people sign in at once", _table(rounds))
    return {"login": [asdict(each) for each in rounds]}


def _prepare(visitor: Visitor, logins: int) -> list[str]:
    """Make the accounts, and let one address sign in as often as it likes."""
    emails = [f"person{number}@example.org" for number in range(logins)]
    for email in emails:
        visitor.post("/api/admin/users", email=email, password=PASSWORD, display_name=email)
    with owning(visitor.folder) as owner:
        owner.run("update rustygpt.limit_profiles set requests = 1000000, burst = 1000000")
    return emails


def _measure(visitor: Visitor, server: Served, emails: Sequence[str]) -> Round:
    return asyncio.run(_round(server.url, visitor.cookie, emails))


async def _round(url: str, cookie: str, emails: Sequence[str]) -> Round:
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS, limits=limits) as client:
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(QUIET_SECONDS, over.set)
        quiet_requests = await _ask_until(client, cookie, asyncio.create_task(over.wait()), is_first=True)
        quiet = await _lag(client, quiet_requests)
        began_at = time.monotonic()
        logins = asyncio.create_task(_log_in(client, emails))
        busy_requests = await _ask_until(client, cookie, logins)
        seconds = time.monotonic() - began_at
        busy = await _lag(client, busy_requests)
    taken = sorted(each for each in logins.result() if each is not None)
    return Round(quiet, busy, len(taken), len(emails) - len(taken), percentile(taken, 0.5), seconds)


async def _log_in(client: httpx2.AsyncClient, emails: Sequence[str]) -> list[float | None]:
    """Return how long each took, in milliseconds, None of those who were told to come back later."""

    async def one(email: str) -> float | None:
        began_at = time.perf_counter()
        answer = await client.post("/api/auth/login", json={"email": email, "password": PASSWORD}, headers={"Cookie": ""})
        if answer.status_code == 503:
            return None
        answer.raise_for_status()
        return (time.perf_counter() - began_at) * 1_000

    return list(await asyncio.gather(*(one(email) for email in emails)))


async def _ask_until(
    client: httpx2.AsyncClient, cookie: str, task: "asyncio.Task[object]", *, is_first: bool = False
) -> list[float]:
    """Ask who one is, again and again, until *task* is done; return how long each answer took, in milliseconds."""
    if is_first:
        await client.get("/lag")
    taken: list[float] = []
    while not task.done():
        began_at = time.perf_counter()
        (await client.get("/api/auth/me", headers={"Cookie": cookie})).raise_for_status()
        taken.append((time.perf_counter() - began_at) * 1_000)
        await asyncio.wait([task], timeout=ASK_SECONDS)
    return sorted(taken)


async def _lag(client: httpx2.AsyncClient, requests: Sequence[float]) -> Lag:
    late = sorted((await client.get("/lag")).raise_for_status().json())
    if len(late) < SAMPLES:
        raise RuntimeError(f"the round does not count: the timer was called {len(late)} times")
    return Lag(
        len(late),
        percentile(late, 0.5),
        percentile(late, 0.99),
        late[-1],
        percentile(requests, 0.5),
        percentile(requests, 0.99),
    )


def _table(rounds: Sequence[Round]) -> str:
    head = ["", "loop late by, p50 ms", "p99 ms", "max ms", "a request of somebody else, p50 / p99 ms", "logins/s, refused"]
    rows = [
        _row("nobody signs in", [each.quiet for each in rounds], "–"),
        _row(
            "all at once",
            [each.busy for each in rounds],
            f"{cell(rounds, lambda each: each.logins / each.seconds)}, {cell(rounds, lambda each: each.refused, 0)}",
        ),
    ]
    return table(head, rows)


def _row(name: str, lags: Sequence[Lag], per_second: str) -> list[str]:
    return [
        name,
        cell(lags, lambda each: each.p50_ms, 2),
        cell(lags, lambda each: each.p99_ms),
        cell(lags, lambda each: each.max_ms),
        f"{cell(lags, lambda each: each.request_p50_ms)} / {cell(lags, lambda each: each.request_p99_ms)}",
        per_second,
    ]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--logins", type=within(int, 1, MAX_LOGINS), default=50, metavar="N", help="50")
    add_rounds(parser)


SCENARIO = Scenario("login", "people who sign in at once: how late the event loop gets meanwhile", _add_options, run)
