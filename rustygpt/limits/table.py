"""What of the limits this process knows: all assignments, at most two seconds old, and which of them a request falls under.

The most exact one counts, and no other: a whole template beats a beginning, a longer text a shorter, a method all methods.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import structlog

from rustygpt.database.call import Caller
from rustygpt.errors import DomainError
from rustygpt.limits.procedures import Assignment, limit_version, list_limit_assignments, list_limit_profiles
from rustygpt.observability.metrics import Metrics
from rustygpt.signals import SignalKind

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.5

Rule = tuple[re.Pattern[str], Assignment]


class LimitTable:
    """The assignments in force. `open` reads them once; `run` keeps them current."""

    def __init__(self, database: Caller, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._version = 0
        self._look = asyncio.Event()
        self._rules: list[Rule] = []

    def find(self, method: str, path: str) -> Assignment | None:
        """Return the assignment that a request falls under, or None."""
        return match(self._rules, method, path)

    def on_signal(self, kind: SignalKind, _key: str) -> None:
        """Hear that something changed, or may have."""
        if kind in ("limits_changed", "look"):
            self._look.set()

    async def open(self) -> None:
        """Read everything. Raises Unavailable."""
        self._version = await limit_version(self._database)
        assignments = await list_limit_assignments(self._database)
        self._rules = compiled(assignments)
        self._metrics.limits_assignments.set(len(assignments))
        self._metrics.limits_profiles.set(len(await list_limit_profiles(self._database)))

    async def run(self) -> None:
        """Look for changes until cancelled; while the database is away, what is known stays in force."""
        while True:
            await self._wait()
            try:
                if await limit_version(self._database) != self._version:
                    await self.open()
                    log.info("limits_changed", version=self._version, assignments=len(self._rules))
            except DomainError as error:
                log.debug("limits_unreadable", code=error.code)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._look.wait()
        except TimeoutError:
            pass
        self._look.clear()


def compiled(assignments: Sequence[Assignment]) -> list[Rule]:
    """Return the assignments with the pattern that a path must fit, the most exact first."""
    return [(_pattern(each.route), each) for each in sorted(assignments, key=_exactness, reverse=True)]


def match(rules: Sequence[Rule], method: str, path: str) -> Assignment | None:
    """Return the first assignment that fits, or None. HEAD counts as GET."""
    method = "GET" if method == "HEAD" else method
    for pattern, assignment in rules:
        if assignment.method in ("*", method) and pattern.fullmatch(path):
            return assignment
    return None


def _pattern(route: str) -> re.Pattern[str]:
    parts: Sequence[str] = re.split(r"(\{[^}/]*\})", route.removesuffix("*"))
    text = "".join(r"[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
    return re.compile(text + (r"(?s:.*)" if route.endswith("*") else ""))


def _exactness(assignment: Assignment) -> tuple[bool, int, bool]:
    return not assignment.route.endswith("*"), len(assignment.route), assignment.method != "*"
