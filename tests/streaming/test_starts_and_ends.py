"""Where a stream starts, what it says when it cannot start there, and how it ends."""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from tests.person import DEADLINE_SECONDS, Person
from tests.site import serving, settings_for
from tests.streaming.gated_database import GatedDatabase


async def _history(person: Person, count: int = 5) -> tuple[str, list[str]]:
    """Make a conversation with messages; return it and the ids of its events."""
    conversation = await person.make_conversation(assistant_mode="off")
    async with person.stream(f"/api/stream/conversations/{conversation}") as reader:
        await reader.until_type("stream.ready")
        for number in range(count):
            await person.say(conversation, f"message {number}")
        await reader.until(lambda r: len(r.logged) == count * 2)
        return conversation, [event.id or "" for event in reader.logged]


async def test_same_cursor_twice_gives_the_same_bytes(carol: Person) -> None:
    """Two tabs that resume at the same place read identical frames."""
    conversation, ids = await _history(carol)
    parts = []
    for _ in range(2):
        async with carol.stream(f"/api/stream/conversations/{conversation}", headers={"Last-Event-ID": ids[2]}) as reader:
            await reader.until(lambda r: r.last_id == ids[-1])
            parts.append(bytes(reader.raw[reader.raw.index(b"id: ") :]).replace(b": heartbeat\n\n", b""))
            assert [event.id for event in reader.logged] == ids[3:]
    assert parts[0] == parts[1]


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [("zzzz-3", "unknown_cursor"), ("{epoch}-999999", "unknown_cursor")],
)
@pytest.mark.parametrize("kind", ["user", "conversation"])
async def test_unknown_cursor_is_a_gap(carol: Person, cursor: str, reason: str, kind: str) -> None:
    """A cursor of another history or of the future is announced as a hole, and the stream goes on live after it."""
    conversation, ids = await _history(carol)
    path = "/api/stream" if kind == "user" else f"/api/stream/conversations/{conversation}"
    cursor = cursor.format(epoch=ids[0].partition("-")[0])
    async with carol.stream(path, headers={"Last-Event-ID": cursor}) as reader:
        gap = await reader.until_type("stream.gap")
        assert gap.payload["reason"] == reason
        assert gap.payload["from"] == cursor
        assert gap.id == gap.payload["to"] == ids[-1]
        assert reader.events[0].payload["resumed"] is False
        for url in gap.payload["refetch"]:
            assert (await carol.get(url)).status_code == 200
        await carol.say(conversation, "after the hole")
        await reader.until(lambda r: len(r.logged) == 2)
        assert reader.logged[0].body["prev"] == int(ids[-1].partition("-")[2])


async def test_pruned_history_is_a_gap(carol: Person, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A cursor before what is kept gets a gap; the last kept one does not."""
    conversation, ids = await _history(carol)
    first = int(ids[4].partition("-")[2])
    await owner.execute("delete from rustygpt.event_log where position < $1", first)
    await owner.execute("update rustygpt.event_head set first_position = $1", first)
    path = f"/api/stream/conversations/{conversation}"
    async with carol.stream(path, headers={"Last-Event-ID": ids[1]}) as reader:
        assert (await reader.until_type("stream.gap")).payload["reason"] == "history_pruned"
    async with carol.stream(path, headers={"Last-Event-ID": ids[3]}) as reader:
        await reader.until(lambda r: r.last_id == ids[-1])
        assert [event.id for event in reader.logged] == ids[4:]
    async with carol.stream(path, params={"since": "0"}) as reader:
        assert (await reader.until_type("stream.gap")).payload["reason"] == "history_pruned"


async def test_too_long_a_backlog_is_a_gap(dsn: str, data_dir: Path) -> None:
    """Who is further behind than max_events_per_user is told to fetch a snapshot; one event less is replayed."""
    settings = settings_for(data_dir, sse={"persistence": {"max_events_per_user": 7}})
    async with serving(settings, dsn) as site, Person(site.url) as person:
        await person.set_up("Eve")
        conversation, ids = await _history(person)
        for path in (f"/api/stream/conversations/{conversation}", "/api/stream"):
            async with person.stream(path, headers={"Last-Event-ID": ids[2]}) as reader:
                await reader.until(lambda r: r.last_id == ids[-1])
                assert len(reader.logged) == 7
            async with person.stream(path, headers={"Last-Event-ID": ids[1]}) as reader:
                gap = await reader.until_type("stream.gap")
                assert (gap.payload["reason"], gap.id) == ("backfill_limit", ids[-1])


async def test_since_starts_at_a_time(carol: Person) -> None:
    """?since= begins with the first event at or after that millisecond; 0 is everything kept; the future is live."""
    conversation, ids = await _history(carol)
    path = f"/api/stream/conversations/{conversation}"
    async with carol.stream(path, params={"since": "0"}) as reader:
        await reader.until(lambda r: r.last_id == ids[-1])
        assert [event.id for event in reader.logged][-len(ids) :] == ids
        at = reader.logged[5].body["at"]
        later = [event.id for event in reader.logged if event.body["at"] >= at[:23] + "000Z"]
    milliseconds = _milliseconds(at)
    async with carol.stream(path, params={"since": str(milliseconds)}) as reader:
        await reader.until(lambda r: r.last_id == ids[-1])
        assert [event.id for event in reader.logged] == later
    async with carol.stream(path, params={"since": "99999999999999"}) as reader:
        await carol.say(conversation, "live")
        await reader.until(lambda r: len(r.logged) == 2)


@pytest.mark.parametrize("query", ["last_event_id=x", "since=yesterday", "last_event_id=abcd-1&last_event_id=abcd-1"])
async def test_malformed_start_never_reaches_the_database(carol: Person, gate: GatedDatabase, query: str) -> None:
    """A malformed cursor is a 400 before any procedure of the log is called."""
    gate.calls.clear()
    answer = await carol.get(f"/api/stream?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "RGP.BAD_REQUEST")
    assert "open_user_stream" not in gate.calls


async def test_reader_without_a_cursor_loses_nothing_to_an_early_cut(carol: Person) -> None:
    """stream.ready carries an id where the client had none: a cut before the first event resumes without a hole."""
    conversation = await carol.make_conversation(assistant_mode="off")
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        last = reader.last_id
    await carol.say(conversation, "meanwhile")
    async with carol.stream("/api/stream", headers={"Last-Event-ID": last or ""}) as reader:
        await reader.until(lambda r: "meanwhile" in r.raw.decode())


async def test_seventeenth_stream_is_refused(carol: Person) -> None:
    """A user has sixteen streams; one more is a 429 with Retry-After, and closing one makes room."""
    async with AsyncExitStack() as stack:
        for _ in range(15):
            await stack.enter_async_context(carol.stream("/api/stream"))
        async with carol.stream("/api/stream") as last:
            await last.until_type("stream.ready")
            answer = await carol.get("/api/stream")
            assert (answer.status_code, answer.json()["code"]) == (429, "RGP.RATE_LIMITED")
            assert (answer.headers["x-ratelimit-profile"], answer.headers["x-ratelimit-limit"]) == ("streams", "16")
            assert int(answer.headers["retry-after"]) > 0
        await _until_accepted(carol)


async def test_head_and_headers(carol: Person) -> None:
    """HEAD answers the stream's headers and no body; GET has the same, and no encoding."""
    answer = await carol.request("HEAD", "/api/stream")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in answer.headers
    assert answer.content == b""


async def test_drain_ends_streams_and_sends_newcomers_away(carol: Person, gated_site: object) -> None:
    """When the process ends, streams close with a long jittered retry and a new one gets 200, retry, end."""
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        gated_site.application.begin_drain()  # type: ignore[attr-defined]
        await reader.until_closed()
        assert 5_000 <= reader.retries[-1] <= 15_000
    async with carol.stream("/api/stream") as reader:
        await reader.until_closed()
        assert reader.events == []
        assert 5_000 <= reader.retries[0] <= 15_000
    assert "drain" in str((await carol.get("/readyz")).json()["missing"])


async def test_lifetime_is_a_clean_end(dsn: str, data_dir: Path) -> None:
    """After its maximum lifetime a stream ends by itself, whole, and the resume goes on."""
    sse = {"max_lifetime_seconds": 0.5, "heartbeat_seconds": 0.1}
    async with serving(settings_for(data_dir, sse=sse), dsn) as site, Person(site.url) as person:
        await person.set_up("Eve")
        async with person.stream("/api/stream") as reader:
            await reader.until_type("stream.ready")
            await reader.until_closed()
            assert 1_000 <= reader.retries[0] <= 3_000
            assert bytes(reader.raw).endswith(b"\n\n")


async def _until_accepted(person: Person) -> None:
    """The server hears of a closed connection a moment later: try until it has."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await person.request("HEAD", "/api/stream")).status_code != 200:  # noqa: ASYNC110 - it can only be asked
            await asyncio.sleep(0)


def _milliseconds(at: str) -> int:
    moment = datetime.fromisoformat(at)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000
