"""I5 and the life of a session: rights are checked on live streams, at their place in the log."""

import asyncio

import asyncpg
import pytest

from tests.person import Person, StreamReader
from tests.streaming.gated_database import Barrier, GatedDatabase


async def _remove(owner_of_it: Person, conversation: str, whom: Person) -> None:
    answer = await owner_of_it.request("DELETE", f"/api/conversations/{conversation}/participants/{whom.id}")
    assert answer.status_code == 204, answer.text


def _removal(reader: StreamReader, whom: Person) -> int:
    return next(
        number
        for number, event in enumerate(reader.events)
        if event.type == "membership.changed" and event.payload["action"] == "removed" and event.payload["user_id"] == whom.id
    )


async def test_removed_member_gets_nothing_after_the_removal(carol: Person, dave: Person) -> None:
    """The conversation's stream ends with the removal; the user's own goes on without that conversation; the others see all."""
    shared = await carol.make_conversation(assistant_mode="off")
    other = await carol.make_conversation(assistant_mode="off")
    await carol.add(shared, dave)
    await carol.add(other, dave)
    async with (
        dave.stream(f"/api/stream/conversations/{shared}") as of_conversation,
        dave.stream("/api/stream") as of_user,
        carol.stream("/api/stream") as of_carol,
    ):
        for reader in (of_conversation, of_user, of_carol):
            await reader.until_type("stream.ready")
        await carol.say(shared, "Dave may read this.")
        await _remove(carol, shared, dave)
        await carol.say(shared, "Dave may not read this.")
        await carol.say(other, "The end.")
        await of_conversation.until_closed()
        for reader in (of_user, of_carol):
            await reader.until(lambda r: "The end." in r.raw.decode())
        for reader in (of_conversation, of_user):
            assert "may read this" in reader.raw.decode()
            assert "may not read" not in reader.raw.decode()
        assert _removal(of_conversation, dave) == len(of_conversation.events) - 1
        after = of_user.events[_removal(of_user, dave) + 1 :]
        assert {event.body["conversation_id"] for event in after} == {other}
        assert "may not read" in of_carol.raw.decode()
    for path in (f"/api/stream/conversations/{shared}", f"/api/conversations/{shared}/messages"):
        assert (await dave.get(path)).status_code == 404


async def test_removal_that_happened_while_away_ends_the_replay(carol: Person, dave: Person) -> None:
    """A resume from before the removal shows what was said until then, the removal, and nothing of later."""
    shared, other = [await carol.make_conversation(assistant_mode="off") for _ in range(2)]
    for conversation in (shared, other):
        await carol.add(conversation, dave)
    async with dave.stream("/api/stream") as before:
        cursor = (await before.until_type("stream.ready")).payload["cursor"]
    await carol.say(shared, "Dave may read this.")
    await _remove(carol, shared, dave)
    await carol.say(shared, "Dave may not read this.")
    await carol.say(other, "The end.")
    async with dave.stream("/api/stream", headers={"Last-Event-ID": cursor}) as reader:
        await reader.until(lambda r: "The end." in r.raw.decode())
        after = reader.events[_removal(reader, dave) + 1 :]
        assert {event.body["conversation_id"] for event in after} == {other}
        assert "may read this" in reader.raw.decode()
        assert "may not read" not in reader.raw.decode()


async def test_member_who_comes_back_gets_what_is_said_from_then_on(carol: Person, dave: Person) -> None:
    """On the user's own stream, what was said between leaving and coming back is not shown; from the return on, everything is."""
    shared = await carol.make_conversation(assistant_mode="off")
    await carol.add(shared, dave)
    async with dave.stream("/api/stream") as live:
        cursor = (await live.until_type("stream.ready")).payload["cursor"]
        await _remove(carol, shared, dave)
        await carol.say(shared, "In between.")
        await carol.add(shared, dave)
        await carol.say(shared, "Welcome back.")
        await live.until(lambda r: "Welcome back" in r.raw.decode())
        assert "In between" not in live.raw.decode()
    async with dave.stream("/api/stream", params={"last_event_id": cursor}) as replay:
        await replay.until(lambda r: "Welcome back" in r.raw.decode())
        assert [event.id for event in replay.logged[: len(live.logged)]] == [event.id for event in live.logged]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_membership_changes_while_a_stream_opens(carol: Person, dave: Person, gate: GatedDatabase, moment: str) -> None:
    """Whoever is added or removed between the steps of connecting sees exactly their own part."""
    joined = await carol.make_conversation(assistant_mode="off")
    left = await carol.make_conversation(assistant_mode="off")
    await carol.add(left, dave)
    hooks = gate.before if moment == "before" else gate.after
    barrier = hooks["open_user_stream"] = Barrier()
    async with asyncio.TaskGroup() as group:

        async def change() -> None:
            await barrier.reached()
            hooks.clear()
            await _remove(carol, left, dave)
            await carol.say(left, "Too late for Dave.")
            await carol.say(joined, "Too early for Dave.")
            await carol.add(joined, dave)
            barrier.go_on.set()

        group.create_task(change())
        async with dave.stream("/api/stream") as reader:
            await reader.until_type("stream.ready")
            await carol.say(joined, "For Dave.")
            await carol.say(left, "Not for Dave.")
            await carol.say(joined, "The end.")
            await reader.until(lambda r: "The end." in r.raw.decode())
    text = reader.raw.decode()
    assert "For Dave." in text
    assert "Too late" not in text
    assert "Too early" not in text
    assert "Not for" not in text
    added = [event for event in reader.logged if event.type == "membership.changed" and event.payload["action"] == "added"]
    assert len(added) == (1 if moment == "after" else 0), "after the head was read the joining is news, before it is not"


async def test_logout_ends_the_streams_of_that_session(carol: Person) -> None:
    """Signing out ends the session's streams at once with a coded error; the reconnect is a 401."""
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        assert (await carol.post("/api/auth/logout")).status_code in (200, 204)
        await reader.until_closed()
        assert reader.events[-1].type == "error"
        assert reader.events[-1].payload["code"] == "RGP.AUTH.SESSION_EXPIRED"
        assert reader.events[-1].id is None
    assert (await carol.get("/api/stream")).status_code == 401


async def test_expired_session_ends_its_streams(carol: Person, dave: Person, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """A session that ran out in the database loses its streams at the next poll, though nobody sent a signal."""
    async with carol.stream("/api/stream") as reader, dave.stream("/api/stream") as other:
        await reader.until_type("stream.ready")
        await other.until_type("stream.ready")
        await owner.execute("update rustygpt.sessions set expires_at = now() - interval '1 s' where user_id = $1", carol.id)
        await reader.until_closed()
        assert reader.events[-1].payload["code"] == "RGP.AUTH.SESSION_EXPIRED"
        assert not other.is_closed


async def test_streams_are_ones_own(carol: Person, dave: Person) -> None:
    """Another user's stream and a foreign conversation are a 404, anonymous readers get a 401, and nothing is opened."""
    conversation = await carol.make_conversation()
    assert (await dave.get(f"/api/stream/{carol.id}")).status_code == 404
    assert (await dave.get(f"/api/stream/conversations/{conversation}")).status_code == 404
    assert (await dave.get("/api/stream/conversations/nonsense")).json()["code"] == "RGP.BAD_REQUEST"
    async with carol.stream(f"/api/stream/{carol.id}") as reader:
        await reader.until_type("stream.ready")
    async with Person(str(carol.client.base_url)) as stranger:
        answer = await stranger.get("/api/stream")
    assert (answer.status_code, answer.json()["code"]) == (401, "RGP.AUTH.REQUIRED")
