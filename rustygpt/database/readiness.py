"""Whether the database has every script that this code needs, asked with the application's own rights."""

from collections.abc import Sequence
from dataclasses import dataclass

from rustygpt.database.call import Caller
from rustygpt.database.scripts import Script


@dataclass(frozen=True, slots=True)
class AppliedScript:
    """A row of the ledger."""

    path: str
    kind: str
    checksum: str


async def applied_scripts(database: Caller) -> list[AppliedScript]:
    """Read the ledger."""
    return await database.many("applied_scripts", AppliedScript)


async def missing_scripts(database: Caller, scripts: Sequence[Script]) -> list[str]:
    """Return the paths of scripts that are not applied. Newer procedures of a newer version are no fault."""
    applied = {script.path for script in await applied_scripts(database)}
    return [script.path for script in scripts if script.path not in applied]
