"""State without an id: told to who may see it, the last of each place while a reader is slow, and never kept."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

from rustygpt.signals import Transient
from rustygpt.streaming.frames import encode_transient
from rustygpt.streaming.transients import MAX_PENDING, PendingTransients
from tests.person import Person, StreamReader
from tests.raw_reader import RawReader
from tests.site import Site, serving, settings_for
from tests.streaming.test_slow_reader import COUNT


def typing(conversation: str, key: str, number: int, audience: str | None = None) -> Transient:
    """Somebody types; *number* tells one time from another."""
    return Transient(
        UUID(conversation), UUID(audience) if audience else None, "typing.update", key, {"user_id": key, "n": number}
    )


def told(reader: StreamReader, key: str | None = None) -> list[int]:
    """The numbers that a stream was told."""
    events = [event for event in reader.events if event.type == "typing.update"]
    return [event.payload["n"] for event in events if key in (None, event.payload["user_id"])]


def tell(site: Site, *transients: Transient) -> None:
    for transient in transients:
        site.application._parts.bus.transient(transient)


async def test_members_alone_are_told(site: Site, ada: Person, bob: Person) -> None:
    """Readers of the conversation get it on both kinds of stream; strangers do not; with an audience that one member alone."""
    shared, private = await ada.make_conversation(), await ada.make_conversation()
    await ada.add(shared, bob)
    async with (
        ada.stream(f"/api/stream/conversations/{shared}") as one,
        ada.stream("/api/stream") as all_of_ada,
        bob.stream("/api/stream") as all_of_bob,
    ):
        for reader in (one, all_of_ada, all_of_bob):
            await reader.until_type("stream.ready")
        tell(site, typing(private, "x", 1), typing(shared, "x", 2), typing(shared, "x", 3, ada.id), typing(shared, "x", 4))
        for reader, expected in ((one, [2, 3, 4]), (all_of_ada, [1, 2, 3, 4]), (all_of_bob, [2, 4])):
            await reader.until(lambda r: told(r)[-1:] == [4])
            assert told(reader) == expected
        event = next(event for event in one.events if event.type == "typing.update")
        assert (event.id, event.body["prev"], event.body["conversation_id"]) == (None, None, shared)
        assert event.body["at"].endswith("Z")
        assert b"\nid: " not in bytes(one.raw).partition(b"event: typing.update")[2].partition(b"\n\n")[0]


async def test_removed_member_is_told_nothing_more(site: Site, ada: Person, bob: Person) -> None:
    """After the event of the removal no state of that conversation comes, on neither kind of stream."""
    shared, other = await ada.make_conversation(), await ada.make_conversation()
    for conversation in (shared, other):
        await ada.add(conversation, bob)
    async with bob.stream(f"/api/stream/conversations/{shared}") as one, bob.stream("/api/stream") as everything:
        for reader in (one, everything):
            await reader.until_type("stream.ready")
        tell(site, typing(shared, "x", 1))
        answer = await ada.request("DELETE", f"/api/conversations/{shared}/participants/{bob.id}")
        assert answer.status_code == 204
        tell(site, typing(shared, "x", 2), typing(other, "x", 3))
        await everything.until(lambda r: 3 in told(r))
        await one.until_closed()
        for reader in (one, everything):
            kinds = [event.type for event in reader.events]
            removal = len(kinds) - 1 - kinds[::-1].index("membership.changed")
            after = [event.body["conversation_id"] for event in reader.events[removal + 1 :] if event.type == "typing.update"]
            assert set(after) <= {other}


async def test_slow_reader_gets_the_last_of_each(dsn: str, data_dir: Path) -> None:
    """A thousand changes while a reader sleeps are one when it wakes; its memory holds no more than that."""
    async with serving(settings_for(data_dir, sse={"flush_ms": 0}), dsn) as site:
        ada = await Person(site.url).set_up("Ada")
        conversation = await ada.make_conversation()
        slow = RawReader(ada, f"/api/stream/conversations/{conversation}")
        await slow.open()
        await slow.read_until(b"stream.ready")
        async with ada.stream(f"/api/stream/conversations/{conversation}") as quick:
            await quick.until_type("stream.ready")
            await ada.say(conversation, f"count to {COUNT}")
            await quick.until_type("message.done")
            for number in range(1_000):
                tell(site, *(typing(conversation, key, number) for key in "ab"))
                await asyncio.sleep(0)
            await quick.until(lambda r: told(r, "b")[-1:] == [999])
        while told(slow.reader, "b")[-1:] != [999]:
            assert await slow.read()
        slow.close()
        assert [told(slow.reader, key) for key in "ab"] == [[999], [999]]
        await ada.close()


def test_pending_state_is_bounded() -> None:
    """Of one place the last stays, of too many places the newest; what is taken is gone."""
    conversation = str(uuid4())
    pending = PendingTransients()
    assert not pending
    for number in range(3 * MAX_PENDING):
        pending.put(encode_transient(typing(conversation, f"{number % (2 * MAX_PENDING)}", number)))
    frames = pending.take()
    assert [frame.place[3] for frame in frames] == [
        f"{number % (2 * MAX_PENDING)}" for number in range(2 * MAX_PENDING, 3 * MAX_PENDING)
    ]
    assert not pending
    assert pending.take() == []
