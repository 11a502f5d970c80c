"""sse.persistence.enabled = false: lossless while the process lives, an announced gap afterwards, and nothing kept that nobody needs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from rustygpt.database.pool import Database
from rustygpt.errors import NotFound
from rustygpt.ids import ConversationId, UserId
from rustygpt.streaming.procedures import open_user_stream, read_conversation_events, stream_head
from tests.person import DEADLINE_SECONDS, Person, StreamReader
from tests.site import Site, serving, settings_for
from tests.streaming.random_cuts import read_with_cuts

Serve = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def serve(dsn: str, data_dir: Path) -> Serve:
    """Serve the same database again and again; `serve()` keeps no events, `serve(enabled=True)` does."""

    def start(*, enabled: bool = False, tokens_per_second: float = 0, **persistence: Any) -> AbstractAsyncContextManager[Site]:
        sse = {"heartbeat_seconds": 0.2, "heal_seconds": 0.2, "persistence": {"enabled": enabled, **persistence}}
        assistant = {
            "demo": {"tokens_per_second": tokens_per_second},
            "lease_heartbeat_seconds": 0.5,
            "shutdown_grace_seconds": 0,
        }
        return serving(settings_for(data_dir, sse=sse, assistant=assistant), dsn)

    return start


@pytest.fixture
async def people() -> AsyncIterator[Callable[[Person], Person]]:
    """Closes what it is given at the end; `client.base_url` moves with the site."""
    known: list[Person] = []

    def know(person: Person) -> Person:
        known.append(person)
        return person

    yield know
    for person in known:
        await person.close()


async def eventually(owner: asyncpg.Connection, query: str, *arguments: object) -> None:
    """Wait until *query* gives true."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await owner.fetchval(query, *arguments):  # noqa: ASYNC110 - another process writes; the database tells nobody
            await asyncio.sleep(0.05)


async def persistence_of(owner: asyncpg.Connection) -> set[str]:
    """Return how the tables of the log are stored: p (kept) or u (unlogged)."""
    rows = await owner.fetch(
        "select relpersistence::text from pg_class where oid in ('rustygpt.event_log'::regclass, 'rustygpt.stream_heads'::regclass)"
    )
    return {row["relpersistence"] for row in rows}


async def ask(person: Person, conversation: str, text: str) -> tuple[str, StreamReader]:
    """Ask something and read until it is answered; return the reply's id and what was read."""
    async with person.stream(f"/api/stream/conversations/{conversation}") as reader:
        await reader.until_type("stream.ready")
        reply = (await person.say(conversation, text))["generation"]["message_id"]
        await reader.until(lambda r: any(e.type == "message.done" for e in r.events) and r.events[-1].type == "thread.activity")
    return reply, reader


@pytest.mark.parametrize("seed", range(2))
async def test_resume_within_the_process_is_lossless(serve: Serve, people: Callable[[Person], Person], seed: int) -> None:
    """I3 holds as it does for a log that is kept: over random cuts the parts make the whole."""
    async with serve() as site:
        ada = await people(Person(site.url)).set_up("Ada")
        bob = await people(Person(site.url)).register("Bob")
        conversation = await ada.make_conversation(assistant_mode="always")
        await ada.add(conversation, bob)
        await read_with_cuts(ada, bob, conversation, seed)


async def test_restart_begins_anew(serve: Serve, people: Callable[[Person], Person], owner: asyncpg.Connection) -> None:
    """After a restart the log is empty and its epoch another; an old cursor gets a gap, the snapshot is right, and life goes on."""
    async with serve() as site:
        ada = await people(Person(site.url)).set_up("Ada")
        conversation = await ada.make_conversation()
        reply, before = await ask(ada, conversation, "count to 20")
        assert await persistence_of(owner) == {"u"}
    async with serve() as site:
        ada.client.base_url = site.url
        assert await owner.fetchval("select count(*) from rustygpt.event_log") == 0
        path = f"/api/stream/conversations/{conversation}"
        async with ada.stream(path, headers={"Last-Event-ID": before.last_id or ""}) as reader:
            gap = await reader.until_type("stream.gap")
            assert (gap.payload["reason"], gap.payload["from"]) == ("unknown_cursor", before.last_id)
            assert str(gap.id).partition("-")[0] != str(before.last_id).partition("-")[0]
            shown = (await ada.get(f"/api/messages/{reply}")).json()
            assert (shown["content"], shown["status"]) == (" ".join(map(str, range(1, 21))), "complete")
            await ada.say(conversation, "count to 3")
            done = await reader.until_type("message.done")
            assert done.position > before.logged[-1].position, "positions never go back"
        async with ada.stream("/api/stream", params={"since": "1000"}) as reader:
            assert (await reader.until_type("stream.gap")).payload["reason"] == "history_pruned"


async def test_on_off_on_keeps_every_text(serve: Serve, people: Callable[[Person], Person], owner: asyncpg.Connection) -> None:
    """Switching changes the epoch and the tables, and no conversation; off and off, or on and on, is no switch."""
    texts: dict[str, str] = {}
    epochs: list[str] = []
    ada: Person | None = None
    for enabled, expected in ((True, "p"), (False, "u"), (True, "p"), (True, "p")):
        async with serve(enabled=enabled) as site:
            if ada is None:
                ada = await people(Person(site.url)).set_up("Ada")
                conversation = await ada.make_conversation()
            ada.client.base_url = site.url
            assert await persistence_of(owner) == {expected}
            epochs.append(await owner.fetchval("select epoch from rustygpt.event_head"))
            reply, reader = await ask(ada, conversation, f"count to {len(texts) + 5}")
            texts[reply] = reader.text_of(reply)
            for message, text in texts.items():
                assert (await ada.get(f"/api/messages/{message}")).json()["content"] == text
    assert len(set(epochs[:3])) == 3
    assert epochs[3] == epochs[2]


@pytest.mark.parametrize("enabled", [True, False], ids=["on-off", "off-off"])
async def test_orphaned_reply_keeps_its_words_over_a_switch(
    serve: Serve, people: Callable[[Person], Person], owner: asyncpg.Connection, enabled: bool
) -> None:
    """What a dead process left in the log is put with its message before the log is emptied, and closed after."""
    async with serve(enabled=enabled) as site:
        ada = await people(Person(site.url)).set_up("Ada")
        conversation = await ada.make_conversation()
        reply, reader = await ask(ada, conversation, "count to 30")
    await owner.execute(  # as a process leaves it that is killed
        """update rustygpt.generations set state = 'running', kept_idx = 0, lease_until = now() + interval '1 h' where message_id = $1""",
        reply,
    )
    await owner.execute("update rustygpt.messages set content = '' where id = $1", reply)
    await owner.execute("delete from rustygpt.event_log where message_id = $1 and type = 'message.done'", reply)
    async with serve() as site:
        ada.client.base_url = site.url
        shown = (await ada.get(f"/api/messages/{reply}")).json()
        assert (shown["status"], shown["content"]) == ("interrupted", reader.text_of(reply))
        types = [row["type"] for row in await owner.fetch("select type from rustygpt.event_log order by position")]
        assert types == ["message.done", "error", "thread.activity"], "in the new history"


async def test_nothing_is_kept_beyond_the_bound(
    serve: Serve, people: Callable[[Person], Person], owner: asyncpg.Connection
) -> None:
    """Soon after a reply is finished no more than the newest events are left, and a cursor from before gets a gap."""
    async with serve(max_events_per_user=10) as site:
        ada = await people(Person(site.url)).set_up("Ada")
        conversation = await ada.make_conversation()
        async with ada.stream("/api/stream") as reader:
            await reader.until_type("stream.ready")
            for number in range(12):
                await ada.say(conversation, f"count to {number + 1}")
            await reader.until(lambda r: sum(e.type == "message.done" for e in r.events) == 12)
        await eventually(owner, "select count(*) <= 10 from rustygpt.event_log")
        first, last = await owner.fetchrow("select first_position, position from rustygpt.event_head")
        assert await owner.fetchval("select min(position) from rustygpt.event_log") == first == last - 9
        path = f"/api/stream/conversations/{conversation}"
        async with ada.stream(path, headers={"Last-Event-ID": reader.logged[0].id or ""}) as again:
            assert (await again.until_type("stream.gap")).payload["reason"] == "history_pruned"


async def test_log_lost_in_a_crash_is_begun_anew(
    serve: Serve, people: Callable[[Person], Person], owner: asyncpg.Connection
) -> None:
    """When the unlogged tables are empty, as after a crash of PostgreSQL: another epoch, no half a text, and life goes on."""
    async with serve(tokens_per_second=20) as site:
        ada = await people(Person(site.url)).set_up("Ada")
        conversation = await ada.make_conversation()
        finished, _ = await ask(ada, conversation, "count to 2")
        path = f"/api/stream/conversations/{conversation}"
        async with ada.stream(path) as reader:
            await reader.until_type("stream.ready")
            reply = (await ada.say(conversation, "count to 5000"))["generation"]["message_id"]
            await reader.until(lambda r: len(r.text_of(reply)) > 4)
            await owner.execute("truncate rustygpt.event_log, rustygpt.stream_heads, rustygpt.log_witness")
            await reader.until_closed()
        async with ada.stream(path, headers={"Last-Event-ID": reader.last_id or ""}) as again:
            gap = await again.until_type("stream.gap")
            assert (gap.payload["reason"], gap.payload["from"]) == ("unknown_cursor", reader.last_id)
            await again.until(lambda r: any(e.type == "error" for e in r.events))
            done = next(event for event in again.events if event.type == "message.done")
            assert (done.payload["message_id"], done.payload["chunks"]) == (reply, 0)
        shown = (await ada.get(f"/api/messages/{reply}")).json()
        assert (shown["status"], shown["content"], shown["next_idx"]) == ("interrupted", "", 0)
        assert (await ada.get(f"/api/messages/{finished}")).json()["content"] == "1 2"
        again_asked, told = await ask(ada, conversation, "count to 3")
        assert told.text_of(again_asked) == "1 2 3"


async def test_nothing_is_written_while_the_log_is_lost(
    serve: Serve, people: Callable[[Person], Person], owner: asyncpg.Connection, database: Database
) -> None:
    """Until the log is begun anew a post is a 503 that stores nothing, an old cursor is a gap, and pages are refused, not empty."""
    async with serve() as site:
        ada = await people(Person(site.url)).set_up("Ada")
        conversation = await ada.make_conversation()
        await ask(ada, conversation, "count to 2")
    await owner.execute("truncate rustygpt.event_log, rustygpt.stream_heads, rustygpt.log_witness")
    counted = await owner.fetchval("select count(*) from rustygpt.messages")
    ids = UUID(ada.id), UUID(conversation)
    with pytest.raises(asyncpg.PostgresError, match="Try again") as refused:
        await owner.execute("select rustygpt_api.post_message($1, $2, null, 'x', null, null, null)", *ids)
    assert refused.value.sqlstate == "RG503"
    assert await owner.fetchval("select count(*) from rustygpt.messages") == counted
    head = await owner.fetchrow("select epoch, position from rustygpt.event_head")
    opened = await open_user_stream(
        database, actor=UserId(ids[0]), epoch=head["epoch"], after=head["position"], since=None, max_backlog=9
    )
    assert opened.gap_reason == "unknown_cursor"
    with pytest.raises(NotFound):
        await read_conversation_events(database, conversation=ConversationId(ids[1]), after=head["position"], upto=99, limit=9)
    heads = await asyncio.gather(*(stream_head(database) for _ in range(8)))
    assert len({each.epoch for each in heads} | {head["epoch"]}) == 2, "one of eight begins it anew"
    await owner.execute("select rustygpt_api.post_message($1, $2, null, 'x', null, null, null)", *ids)
