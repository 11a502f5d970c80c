"""What a PostgreSQL error means to a caller: SQLSTATE class RG carries our stable code in DETAIL, the rest is ours to judge."""

import asyncpg
import orjson

from rustygpt import errors

RETRYABLE = frozenset({"40001", "40P01"})
"""serialization_failure and deadlock_detected: the transaction left no trace, so it may run again."""

_BY_CODE: dict[str, type[errors.DomainError]] = {leaf.code: leaf for leaf in errors.DomainError.__subclasses__()}

DATABASE_ERRORS = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when a connection fails under a call; the last when it was cut between two steps of the protocol."""

# Connection trouble and overload: 08 connection, 53 resources, 57P0x shutdown, 57014 statement timeout, 55P03 lock timeout.
_AWAY_CLASSES = ("08", "53", "57P0", "57014", "55P03")


def is_database_away(error: BaseException) -> bool:
    """Say whether the call failed because the database could not be reached or was too busy: its outcome is unknown."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_AWAY_CLASSES)
    # A DataError is an InterfaceError too, but it says that an argument of ours cannot be sent: a defect, the same at each try.
    return isinstance(error, DATABASE_ERRORS) and not isinstance(error, asyncpg.DataError)


def domain_error(error: BaseException) -> errors.DomainError | None:
    """Translate, or return None for an error that is a defect of ours."""
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith("RG"):
        return _raised_by_us(error)
    if is_database_away(error):
        return errors.Unavailable("The database cannot be reached right now.", retry_after_seconds=2)
    return None


def _raised_by_us(error: asyncpg.PostgresError) -> errors.DomainError | None:
    leaf = _BY_CODE.get(error.detail or "")
    if leaf is None:
        return None
    # fail_for_now says in the hint how many seconds to wait, and fail_limited in place of a constraint which limit is reached.
    seconds = int(error.hint) if error.hint else None
    if leaf is errors.RateLimited and error.constraint_name:
        return errors.RateLimited(
            str(error.args[0]), limit=errors.Limit(**orjson.loads(error.constraint_name)), retry_after_seconds=seconds
        )
    return leaf(str(error.args[0]), retry_after_seconds=seconds)
