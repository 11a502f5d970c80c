"""The private PostgreSQL bears as many connections as its server needs, and never fewer than its file says."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from rustygpt.database.embedded import EmbeddedPostgres


async def max_connections(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("show max_connections"))
    finally:
        await connection.close()


def served(data_dir: Path, connections: int) -> int:
    server = EmbeddedPostgres(data_dir, start_seconds=60, connections=connections)
    try:
        return asyncio.run(max_connections(server.start()))
    finally:
        server.stop()


@pytest.mark.acceptance
def test_max_connections_is_what_is_needed_or_more(tmp_path: Path) -> None:
    """Many workers raise it for as long as they run; a greater number of the operator's own stays."""
    assert served(tmp_path, 34) == 100
    assert served(tmp_path, 202) == 202
    assert served(tmp_path, 0) == 100
    with (tmp_path / "postgres" / "cluster" / "postgresql.conf").open("a") as file:
        file.write("max_connections = 150\n")
    assert served(tmp_path, 120) == 150
