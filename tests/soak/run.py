"""What all parts of one soak share: its clock, its dice, what was counted, and what must not have happened.

Nobody sleeps past the end: every pause is a wait for `is_over`, which is set once, whatever ends the soak.
"""

import asyncio
import heapq
import random
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

ViolationKind = Literal[
    "lost", "duplicated", "unannounced hole", "not in the log", "not allowed", "altered", "wrong text", "wrong end", "wrong snapshot",
    "inexact gap", "unexpected answer", "not recovered", "bad exit",
]  # fmt: skip

WORST = 10
"""Of the latest deliveries so many are told one by one."""
MAX_VIOLATIONS = 10_000
AWAY_MARGIN_SECONDS = 5.0
"""So long after the database is back an answer of 503 is still believed: connections are found dead one by one."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not happen. *where* is a reader, a message or a server; *position* 0 where there is none."""

    kind: ViolationKind
    where: str
    position: int
    context: str


@dataclass(frozen=True, order=True, slots=True)
class Late:
    """A delivery in the calm, *seconds* after its commit, *at* so many seconds into the soak."""

    seconds: float
    at: float
    reader: str
    event: str


@dataclass(slots=True)
class Run:
    """One soak. Times are monotonic seconds."""

    seed: int
    dice: random.Random
    began_at: float = field(default_factory=time.monotonic)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    is_settling: bool = False
    is_quiet: bool = False
    tally: Counter[str] = field(default_factory=Counter)
    away: list[list[float]] = field(default_factory=list)
    latencies: "array[float]" = field(default_factory=lambda: array("f"))
    worst: list[Late] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    violation_counts: Counter[str] = field(default_factory=Counter)

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self.began_at

    async def pause(self, seconds: float) -> bool:
        """Let time pass; True while the soak goes on."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self.is_over.wait()
        except TimeoutError:
            return True
        return False

    def blame(self, kind: ViolationKind, where: str, position: int, context: str) -> None:
        """Note what must not have happened; the first of each kind are kept."""
        self.violation_counts[kind] += 1
        if len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(Violation(kind, where, position, context))

    def measure(self, seconds: float, reader: str, event: str) -> None:
        """Take the time that a delivery took."""
        self.latencies.append(seconds)
        if len(self.worst) < WORST or seconds > self.worst[0].seconds:
            push = heapq.heappush if len(self.worst) < WORST else heapq.heappushpop
            push(self.worst, Late(seconds, self.seconds, reader, event))

    def database_left(self) -> None:
        """From now on 503 is the right answer."""
        self.away.append([time.monotonic(), float("inf")])

    def database_is_back(self) -> None:
        """The database takes connections again."""
        self.away[-1][1] = time.monotonic() + AWAY_MARGIN_SECONDS

    def judge_answer(self, status: int, what: str, asked_at: float, detail: str = "") -> None:
        """Count an answer. A 5xx is only right as 503 while the database was away, at some time between question and answer."""
        self.tally[f"{what.split(maxsplit=1)[0]} {status}"] += 1
        now = time.monotonic()
        is_excused = status == 503 and any(since <= now and asked_at <= until for since, until in self.away)
        if status >= 500 and not is_excused:
            self.blame("unexpected answer", what, 0, f"{status} at {self.seconds:.1f} s: {detail}")
