"""The periodic loop: what nobody needs any more goes, what is needed stays, and gauges are fresh."""

import asyncio
from typing import Any

import asyncpg

from rustygpt.database.pool import Database
from rustygpt.maintenance import Maintenance
from rustygpt.observability.metrics import Metrics
from rustygpt.settings_streaming import PersistenceSettings
from tests.person import DEADLINE_SECONDS, Person


async def _run_until(maintenance: Maintenance, condition: Any) -> None:
    """Run the loop until *condition*, an async callable, holds."""
    task = asyncio.ensure_future(maintenance.run())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await condition():  # noqa: ASYNC110 - the loop has no event to wait for
                await asyncio.sleep(0)
    finally:
        task.cancel()


async def test_old_keys_and_ended_sessions_go(
    ada: Person, database: Database, owner: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Idempotency keys older than a week and sessions that ended a month ago are deleted; the others stay."""
    await ada.make_conversation()
    for key in ("old", "new"):
        assert (await ada.post("/api/conversations", {"title": ""}, headers={"Idempotency-Key": key})).status_code == 201
    await owner.execute("update rustygpt.idempotency_keys set created_at = now() - interval '8 days' where key = 'old'")
    await owner.execute(
        """insert into rustygpt.sessions (user_id, token_hash, issued_at, last_seen_at, expires_at, absolute_expires_at)
           select user_id, sha256('x'), now() - interval '40 days', now() - interval '40 days', now() - interval '31 days', now()
           from rustygpt.sessions limit 1"""
    )
    metrics = Metrics()

    async def is_clean() -> bool:
        keys = [row["key"] for row in await owner.fetch("select key from rustygpt.idempotency_keys")]
        return keys == ["new"] and await owner.fetchval("select count(*) from rustygpt.sessions") == 1

    await _run_until(Maintenance(database, PersistenceSettings(), metrics), is_clean)
    assert metrics.registry.get_sample_value("rustygpt_auth_active_sessions") == 1
    assert (metrics.registry.get_sample_value("db_pool_connections", {"state": "idle"}) or 0) > 0
    assert (await ada.get("/api/auth/me")).status_code == 200


async def test_database_that_is_away_costs_a_round(database: Database) -> None:
    """The loop counts a failed round and goes on."""
    await database.close()
    metrics = Metrics()

    async def has_failed() -> bool:
        return metrics.registry.get_sample_value("db_liveness_checks_total", {"result": "failed"}) == 1

    await _run_until(Maintenance(database, PersistenceSettings(), metrics), has_failed)
