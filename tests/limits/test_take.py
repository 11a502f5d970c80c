"""The counting itself, in PostgreSQL: whatever the number of processes, nobody exceeds a profile, and a wait is as long as was said."""

import asyncio
from uuid import UUID

import asyncpg
import pytest

from rustygpt.database.pool import Database
from rustygpt.limits.procedures import Decision, take_http_request
from rustygpt.settings import DatabaseSettings


async def _profile(owner: asyncpg.Connection, requests: int, per_seconds: int, burst: int) -> UUID:
    return await owner.fetchval(
        "insert into rustygpt.limit_profiles (name, requests, per_seconds, burst) values ('test', $1, $2, $3) returning id",
        *(requests, per_seconds, burst),
    )


async def _take(database: Database, profile: UUID, subject: str = "user:1") -> Decision:
    decision = await take_http_request(database, profile=profile, subject=subject)
    assert decision is not None
    return decision


async def _pass(owner: asyncpg.Connection, seconds: float) -> None:
    """Let time pass: move every state into the past."""
    await owner.execute("update rustygpt.limit_states set arrival_at = arrival_at - make_interval(secs => $1)", seconds)


async def test_burst_then_the_average(owner: asyncpg.Connection, database: Database) -> None:
    """Three at once, then one every ten minutes; what is told about the rest is true."""
    profile = await _profile(owner, requests=6, per_seconds=3_600, burst=3)
    for remaining in (2, 1, 0):
        decision = await _take(database, profile)
        assert (decision.is_allowed, decision.burst, decision.remaining) == (True, 3, remaining)
    refused = await _take(database, profile)
    assert (refused.is_allowed, refused.remaining) == (False, 0)
    assert refused.retry_seconds == pytest.approx(600, abs=60)
    assert refused.reset_seconds == pytest.approx(1_800, abs=60)
    await _pass(owner, 540 - 60)
    assert not (await _take(database, profile)).is_allowed, "a refused request is not counted, and does not shorten the wait"
    await _pass(owner, 120)
    assert (await _take(database, profile)).is_allowed
    assert not (await _take(database, profile)).is_allowed
    await _pass(owner, 3_600)
    assert [(await _take(database, profile)).is_allowed for _ in range(4)] == [True, True, True, False], (
        "saved up: one burst, no more"
    )


async def test_subjects_do_not_share(owner: asyncpg.Connection, database: Database) -> None:
    """What one has taken is nobody else's loss."""
    profile = await _profile(owner, requests=1, per_seconds=3_600, burst=1)
    assert (await _take(database, profile)).is_allowed
    assert (await _take(database, profile, "user:2")).is_allowed
    assert not (await _take(database, profile)).is_allowed


async def test_fifty_clients_on_two_processes_never_exceed_it(owner: asyncpg.Connection, database: Database, dsn: str) -> None:
    """Of 100 requests at once by two pools, exactly the burst is allowed."""
    profile = await _profile(owner, requests=1, per_seconds=86_400, burst=17)
    other = Database(dsn, DatabaseSettings(pool_max=10))
    await other.open()
    try:
        decisions = await asyncio.gather(*(_take(pool, profile) for _ in range(50) for pool in (database, other)))
    finally:
        await other.close()
    assert sum(decision.is_allowed for decision in decisions) == 17
    assert sorted(decision.remaining for decision in decisions if decision.is_allowed) == list(range(17))


async def test_changed_profile_locks_nobody_out(owner: asyncpg.Connection, database: Database) -> None:
    """Who had taken a day's worth under a slow profile may take one at once, then as the new one says; so may one whose clock was set back."""
    profile = await _profile(owner, requests=1, per_seconds=86_400, burst=2)
    await _take(database, profile)
    await _take(database, profile)
    await owner.execute("update rustygpt.limit_profiles set requests = 86400, burst = 5 where id = $1", profile)
    assert (await _take(database, profile)).is_allowed
    refused = await _take(database, profile)
    assert not refused.is_allowed
    assert 0 < refused.retry_seconds <= 1


async def test_deleted_profile_limits_nothing(database: Database) -> None:
    """A process that has not yet heard of a deletion lets requests pass."""
    assert await take_http_request(database, profile=UUID(int=1), subject="user:1") is None


async def test_idle_states_are_forgotten(owner: asyncpg.Connection, database: Database) -> None:
    """Whoever may take a whole burst again leaves no row; whoever may not keeps his."""
    profile = await _profile(owner, requests=1, per_seconds=60, burst=1)
    await _take(database, profile, "user:1")
    await _pass(owner, 61)
    await _take(database, profile, "user:2")
    await owner.execute("insert into rustygpt.login_failures values ('old', 9, now() - interval '2 hours'), ('new', 9, now())")
    assert await database.value("forget_limit_states", int, limit=1_000) == 2
    assert await owner.fetchval("select array_agg(subject) from rustygpt.limit_states") == ["user:2"]
    assert await owner.fetchval("select array_agg(subject) from rustygpt.login_failures") == [b"new"]
