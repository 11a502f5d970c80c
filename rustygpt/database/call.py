"""Calls of stored procedures: the only place that writes a SELECT.

Every call is one statement on one connection, by name, in schema `rustygpt_api`; nothing holds a connection between calls.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import asyncpg

from rustygpt.database.sqlstate import DATABASE_ERRORS, RETRYABLE, domain_error

Row = TypeVar("Row")
Scalar = TypeVar("Scalar")


class Caller(ABC):
    """Calls procedures by name. Arguments are passed as `p_<name>`; rows become frozen dataclasses whose fields are the columns.

    Raises the DomainError that the procedure raised, or Unavailable when the database cannot be reached: then the outcome of a
    writing call is unknown.
    """

    @abstractmethod
    async def _fetch(self, statement: str, values: Sequence[object]) -> list[asyncpg.Record]:
        """Run one statement. Raises asyncpg's errors, OSError or TimeoutError."""

    async def one(self, procedure: str, row: type[Row], /, **arguments: object) -> Row:
        """Call a procedure that returns exactly one row."""
        (record,) = await self._call(procedure, arguments)
        return row(**record)

    async def optional(self, procedure: str, row: type[Row], /, **arguments: object) -> Row | None:
        """Call a procedure that returns one row or none."""
        records = await self._call(procedure, arguments)
        return row(**records[0]) if records else None

    async def many(self, procedure: str, row: type[Row], /, **arguments: object) -> list[Row]:
        """Call a procedure that returns rows, in its order."""
        return [row(**record) for record in await self._call(procedure, arguments)]

    async def value(self, procedure: str, kind: type[Scalar], /, **arguments: object) -> Scalar:
        """Call a procedure that returns a single value of type *kind*."""
        (record,) = await self._call(procedure, arguments)
        value = record[0]
        if not isinstance(value, kind):
            raise TypeError(f"{procedure} returned {type(value).__name__}, not {kind.__name__}")
        return value

    async def void(self, procedure: str, /, **arguments: object) -> None:
        """Call a procedure for its effect."""
        await self._call(procedure, arguments)

    async def _call(self, procedure: str, arguments: dict[str, object]) -> list[asyncpg.Record]:
        statement = _statement(procedure, tuple(arguments))
        values = tuple(arguments.values())
        try:
            try:
                return await self._fetch(statement, values)
            except asyncpg.PostgresError as error:
                if error.sqlstate not in RETRYABLE:
                    raise
                return await self._fetch(statement, values)
        except (*DATABASE_ERRORS, asyncpg.PostgresError) as error:
            if (translated := domain_error(error)) is None:
                raise
            raise translated from error


@lru_cache(maxsize=512)
def _statement(procedure: str, arguments: tuple[str, ...]) -> str:
    named = ", ".join(f"p_{name} => ${number}" for number, name in enumerate(arguments, 1))
    # Both names are written in procedures.py; values only ever travel as parameters.
    return f"select * from rustygpt_api.{procedure}({named})"  # noqa: S608
