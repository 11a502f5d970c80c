"""The schema's ledger: which scripts a database has, and bringing it up to this code.

Migrations run once and never change, each in its own transaction; when a file of procedures changed, all of them are brought to what the
files say, in one transaction. All under one advisory lock and with their ledger rows, so that several processes may start at once and a
kill leaves whole scripts only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog

from rustygpt import __version__
from rustygpt.database.functions import replace_functions
from rustygpt.database.scripts import Script, read_scripts

log = structlog.get_logger(__name__)

_LOCK = 0x52475054  # "RGPT"
_LOCK_SECONDS = 60
_REMOVED = ""
"""The checksum of a script that is gone. Its row stays: an older process beside a newer one must not miss it."""


class SchemaError(Exception):
    """The database cannot be used with this code; the message names the script and the remedy."""


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What a database lacks, by script path. Empty lists: it is up to date."""

    missing: tuple[str, ...] = ()
    changed_procedures: tuple[str, ...] = ()
    removed_procedures: tuple[str, ...] = ()
    changed_migrations: tuple[str, ...] = ()
    unknown_migrations: tuple[str, ...] = ()
    newer_version: str | None = None

    @property
    def is_current(self) -> bool:
        return self == SchemaStatus()


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What `migrate` applied, in order, and how long it took."""

    applied: tuple[Script, ...]
    seconds: float
    epoch: str = field(default="")


async def status(dsn: str, scripts: Sequence[Script] | None = None, *, connect_seconds: float = 10) -> SchemaStatus:
    """Compare the database with this code, changing nothing."""
    connection = await asyncpg.connect(dsn, timeout=connect_seconds)
    try:
        return _compare(await _ledger(connection), read_scripts() if scripts is None else scripts)
    finally:
        await connection.close(timeout=connect_seconds)


async def migrate(dsn: str, scripts: Sequence[Script] | None = None, *, connect_seconds: float = 10) -> MigrationReport:
    """Apply what is missing. Raises SchemaError, or asyncpg's errors when a script fails (the earlier ones stay applied)."""
    started = time.monotonic()
    scripts = read_scripts() if scripts is None else scripts
    connection = await asyncpg.connect(dsn, timeout=connect_seconds, server_settings={"application_name": "rustygpt migrate"})
    try:
        connection.add_log_listener(_log_warning)
        await connection.execute(f"set lock_timeout = '{_LOCK_SECONDS}s'")
        await connection.execute(f"select pg_advisory_lock({_LOCK})")
        ledger = await _ledger(connection)
        found = _compare(ledger, scripts)
        _refuse(found)
        applied = [script for script in scripts if _checksum(ledger, script) != script.checksum]
        for script in applied:
            if script.kind == "migration":
                async with connection.transaction():
                    await _apply_migration(connection, script)
        if applied or found.removed_procedures:
            changed = [script for script in applied if script.kind == "procedure"]
            await _apply_procedures(connection, scripts, changed, found.removed_procedures)
        epoch = await connection.fetchval("select rustygpt.check_epoch()")
        return MigrationReport(tuple(applied), time.monotonic() - started, epoch)
    finally:
        connection.remove_log_listener(_log_warning)
        await connection.close(timeout=connect_seconds)  # and with it the lock


async def begin_epoch(dsn: str, *, connect_seconds: float = 10) -> str:
    """Answer every cursor given out before by a gap; return the new epoch. As the owner of the schema. Raises asyncpg's errors."""
    connection = await asyncpg.connect(dsn, timeout=connect_seconds, server_settings={"application_name": "rustygpt new-epoch"})
    try:
        return str(await connection.fetchval("select rustygpt.begin_epoch()"))
    finally:
        await connection.close(timeout=connect_seconds)


@dataclass(frozen=True, slots=True)
class _LedgerRow:
    kind: str
    checksum: str
    app_version: str


async def _ledger(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, _LedgerRow]:
    if await connection.fetchval("select to_regclass('rustygpt.schema_ledger')") is None:
        return {}
    rows = await connection.fetch("select path, kind, checksum, app_version from rustygpt.schema_ledger")
    return {row["path"]: _LedgerRow(row["kind"], row["checksum"], row["app_version"]) for row in rows}


def _checksum(ledger: dict[str, _LedgerRow], script: Script) -> str | None:
    row = ledger.get(script.path)
    return row.checksum if row else None


def _compare(ledger: dict[str, _LedgerRow], scripts: Sequence[Script]) -> SchemaStatus:
    paths = {script.path for script in scripts}
    changed = [script for script in scripts if _checksum(ledger, script) not in (None, script.checksum)]
    unknown = sorted(ledger.keys() - paths)
    newest = max((row.app_version for row in ledger.values()), key=_version_key, default=__version__)
    return SchemaStatus(
        missing=tuple(script.path for script in scripts if script.path not in ledger),
        changed_procedures=tuple(script.path for script in changed if script.kind == "procedure"),
        changed_migrations=tuple(script.path for script in changed if script.kind == "migration"),
        removed_procedures=tuple(
            path for path in unknown if ledger[path].kind == "procedure" and ledger[path].checksum != _REMOVED
        ),
        unknown_migrations=tuple(path for path in unknown if ledger[path].kind == "migration"),
        newer_version=newest if _version_key(newest) > _version_key(__version__) else None,
    )


def _refuse(found: SchemaStatus) -> None:
    if found.newer_version or found.unknown_migrations:
        what = ", ".join(found.unknown_migrations) or f"version {found.newer_version}"
        raise SchemaError(f"the database was migrated by a newer RustyGPT ({what}); start that version, or restore a backup")
    if found.changed_migrations:
        names = ", ".join(found.changed_migrations)
        raise SchemaError(f"applied migrations differ from this code: {names}; restore the files, migrations never change")


async def _apply_procedures(
    connection: asyncpg.Connection[asyncpg.Record], scripts: Sequence[Script], changed: Sequence[Script], removed: Sequence[str]
) -> None:
    """Replace the procedures all together: they call each other, and a set that does not fit leaves the former one."""
    started = time.monotonic()
    async with connection.transaction():
        await replace_functions(connection, scripts)
        for script in changed:
            await _enter(connection, script)
        await connection.execute("update rustygpt.schema_ledger set checksum = $2 where path = any ($1)", removed, _REMOVED)
    log.debug("database_procedures_replaced", changed=len(changed), seconds=round(time.monotonic() - started, 4))


async def _apply_migration(connection: asyncpg.Connection[asyncpg.Record], script: Script) -> None:
    started = time.monotonic()
    await connection.execute(script.text)
    await _enter(connection, script)
    log.debug("database_script_applied", path=script.path, kind=script.kind, seconds=round(time.monotonic() - started, 4))


async def _enter(connection: asyncpg.Connection[asyncpg.Record], script: Script) -> None:
    await connection.execute(
        """insert into rustygpt.schema_ledger (path, kind, checksum, app_version) values ($1, $2, $3, $4)
           on conflict (path) do update
           set checksum = excluded.checksum, applied_at = clock_timestamp(), app_version = excluded.app_version""",
        script.path,
        script.kind,
        script.checksum,
        __version__,
    )


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".")[:3] if part.isdigit())


def _log_warning(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
    if message.severity_en == "WARNING":
        log.warning("database_warning", notice=message.message)
