"""What a failing connection means: the database is away; and what a defect means: something else."""

import asyncpg
import pytest

from rustygpt.database.sqlstate import domain_error, is_database_away
from rustygpt.errors import Conflict, Unavailable


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
        asyncpg.TooManyConnectionsError("sorry"),
        asyncpg.QueryCanceledError("statement timeout"),
    ],
)
def test_database_that_cannot_be_reached_is_unavailable(error: BaseException) -> None:
    """However a connection is cut, also between two steps of the protocol, callers get a 503 and try again."""
    assert is_database_away(error)
    assert isinstance(domain_error(error), Unavailable)


@pytest.mark.parametrize("error", [asyncpg.DataError("bad argument"), asyncpg.UndefinedTableError("no table"), ValueError()])
def test_defect_is_not_hidden(error: BaseException) -> None:
    """What would fail again the same way is no outage."""
    assert not is_database_away(error)
    assert domain_error(error) is None


def test_our_own_codes_become_their_errors() -> None:
    """SQLSTATE class RG carries the code in DETAIL."""
    error = asyncpg.PostgresError("taken")
    error.sqlstate, error.detail = "RG409", "RGP.CONFLICT"
    assert isinstance(domain_error(error), Conflict)
