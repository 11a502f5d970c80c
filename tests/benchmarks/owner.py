"""The owner of the database behind a `rustygpt serve` that this benchmark started: joins its private PostgreSQL, to count and to fill."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from rustygpt.database.embedded import EmbeddedPostgres
from rustygpt.tokens import token_hash

START_SECONDS = 60.0
STATEMENT_SECONDS = 600.0
END_SECONDS = 30.0


MEMBERS = """
with made as (
  insert into rustygpt.users (email, email_key, display_name, password_hash, role)
  select name || '@example.org', name || '@example.org', name, '', 'user' from unnest($2::text[]) name returning id
), numbered as (
  select id, row_number() over () as number from made
), signed_in as (
  insert into rustygpt.sessions (user_id, token_hash, issued_at, last_seen_at, expires_at, absolute_expires_at)
  select n.id, t.token, now(), now(), now() + interval '1 day', now() + interval '1 day'
  from numbered n join unnest($1::bytea[]) with ordinality t(token, number) using (number) returning user_id
)
select rustygpt.add_member($3::uuid, user_id, 'member') from signed_in
"""


class Owner:
    """Runs a statement at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def run(self, statement: str, *values: object) -> list[Any]:
        """Return the rows of a statement."""
        return asyncio.run(self._run(statement, *values))

    def count_calls(self) -> None:
        """Have calls of procedures counted from now on, by sessions that are opened later too."""
        self.run("alter system set track_functions = 'all'")
        self.run("select pg_reload_conf()")

    def make_members(self, conversation_id: str, count: int) -> list[str]:
        """Make users, signed in, who are members of a conversation; return their sessions' tokens."""
        tokens = [secrets.token_urlsafe(32) for _ in range(count)]
        self.run(MEMBERS, [token_hash(token) for token in tokens], [secrets.token_hex(8) for _ in tokens], conversation_id)
        return tokens

    def calls(self, *procedures: str) -> int:
        """Return how often these procedures have been called so far, by sessions that have ended since."""
        called = (
            "select coalesce(sum(calls), 0) from pg_stat_user_functions where schemaname = 'rustygpt_api' and funcname = any($1)"
        )
        return int(self.run(called, procedures)[0][0])

    def end_sessions(self) -> None:
        """End the server's sessions, which opens others: one that ends tells what it counted, one that lives waits ten seconds."""
        ours = "from pg_stat_activity where application_name = 'rustygpt'"
        ended = [row["pid"] for row in self.run(f"select pid, pg_terminate_backend(pid) {ours}")]
        ends_at = time.monotonic() + END_SECONDS
        while self.run(f"select pid {ours} and pid = any($1::int[])", ended):
            if time.monotonic() > ends_at:
                raise RuntimeError("sessions of the database do not end")
            time.sleep(0.02)

    async def _run(self, statement: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self._dsn)
        try:
            return list(await connection.fetch(statement, *values, timeout=STATEMENT_SECONDS))
        finally:
            await connection.close()


@contextmanager
def owning(folder: Path) -> Iterator[Owner]:
    """Join the PostgreSQL of a visitor's *folder* while its server runs."""
    postgres = EmbeddedPostgres(folder / "data", start_seconds=START_SECONDS, is_command=True)
    try:
        yield Owner(postgres.start())
    finally:
        postgres.stop()
