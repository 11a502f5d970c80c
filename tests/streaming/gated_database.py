"""The real database with a gate in front of chosen procedures, so that a test decides what happens before, between and after.

Every call still runs in PostgreSQL; the gate only holds it back, or loses its answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
from typing_extensions import override

from rustygpt.database.pool import Database
from tests.person import DEADLINE_SECONDS

Hook = Callable[[], Awaitable[None]]


class GatedDatabase(Database):
    """`before` and `after` hold a hook by procedure name; `lose_answers` makes that many calls of one fail after their commit."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.before: dict[str, Hook] = {}
        self.after: dict[str, Hook] = {}
        self.lose_answers: dict[str, int] = {}
        self.is_away = False
        self.calls: list[str] = []

    @override
    async def _fetch(self, statement: str, values: Sequence[object]) -> list[asyncpg.Record]:
        procedure = statement.partition("rustygpt_api.")[2].partition("(")[0]
        self.calls.append(procedure)
        if procedure in self.before:
            await self.before[procedure]()
        if self.is_away:
            raise ConnectionRefusedError
        records = await super()._fetch(statement, values)
        if self.lose_answers.get(procedure, 0) > 0:
            self.lose_answers[procedure] -= 1
            raise ConnectionResetError
        if procedure in self.after:
            await self.after[procedure]()
        return records


class Barrier:
    """A hook that stops its caller, says so, and lets it go on when told."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self) -> None:
        self.is_reached.set()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.go_on.wait()

    async def reached(self) -> None:
        """Wait until a caller has been stopped. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.is_reached.wait()
