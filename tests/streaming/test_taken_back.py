"""A text that was deleted or edited away is in no stream that begins afterwards: from the log, a ring or a page, for whoever reads."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from rustygpt.streaming.arrivals import Arrivals
from tests.person import Person, StreamReader
from tests.streaming.gated_database import Barrier, GatedDatabase

SECRET = "wormwood"
FROM_START: Mapping[str, Any] = {"params": {"since": "0"}}


async def change(person: Person, deed: str, message: str, body: Any = None) -> None:
    """Edit, delete or restore."""
    answer = await person.post(f"/api/messages/{message}/{deed}", body)
    assert answer.status_code == 200, answer.text


def count(reader: StreamReader, kind: str) -> int:
    """How many events of a type were read."""
    return sum(event.type == kind for event in reader.logged)


async def replayed(person: Person, path: str, upto: str | None, options: Mapping[str, Any]) -> StreamReader:
    """Read a stream until the event with the id *upto*."""
    async with person.stream(path, **options) as reader:
        await reader.until(lambda r: r.last_id == upto)
    return reader


async def test_deleted_text_is_not_replayed(ada: Person, bob: Person) -> None:
    """Question and reply that were deleted: nobody who resumes, nor who joined since, is sent a word; ids and order are as before."""
    conversation = await ada.make_conversation(assistant_mode="always")
    path = f"/api/stream/conversations/{conversation}"
    async with ada.stream(path, params={"since": "0"}) as live:
        posted = await ada.say(conversation, f"The word is {SECRET}", model="demo")
        question, reply = posted["message_id"], posted["generation"]["message_id"]
        await live.until_type("message.done")
        await ada.add(conversation, bob)
        await live.until(lambda r: count(r, "thread.activity") == 2 and count(r, "membership.changed") == 2)
        for message in (reply, question):
            await change(ada, "delete", message)
        await live.until(lambda r: count(r, "message.deleted") == 2)
        assert (live.text_of(reply), SECRET in live.raw.decode()) != ("", False)
        resumed = {"headers": {"Last-Event-ID": live.logged[0].id or ""}}
        for person, where, options in ((bob, path, FROM_START), (ada, path, resumed), (ada, "/api/stream", resumed)):
            again = await replayed(person, where, live.last_id, options)
            assert SECRET not in again.raw.decode()
            assert (again.text_of(reply), count(again, "message.delta")) == ("", count(live, "message.delta"))
            assert [event.id for event in again.logged] == [event.id for event in live.logged][-len(again.logged) :]
            assert [e.body["prev"] for e in again.logged] == [e.body["prev"] for e in live.logged][-len(again.logged) :]


async def test_edited_text_is_told_from_the_beginning(ada: Person) -> None:
    """Each event that carried an earlier wording says the last one, the thread's excerpt its first 200 characters."""
    conversation = await ada.make_conversation(assistant_mode="off")
    path, new = f"/api/stream/conversations/{conversation}", "Better words. " * 20
    async with ada.stream(path, params={"since": "0"}) as live:
        message = (await ada.say(conversation, SECRET))["message_id"]
        for content in (f"{SECRET}, again", new):
            await change(ada, "edit", message, {"content": content})
        await live.until(lambda r: count(r, "message.edited") == 2)
        again = await replayed(ada, path, live.last_id, FROM_START)
    assert SECRET not in again.raw.decode()
    payloads = {event.type: event.payload for event in again.logged}
    assert payloads["message.created"]["message"]["content"] == new
    assert payloads["message.created"]["message"]["edited_at"] is None
    assert payloads["thread.new"]["summary"]["root_excerpt"] == new[:200]
    assert [event.payload["content"] for event in again.logged if event.type == "message.edited"] == [new, new]


async def test_restored_reply_is_told_and_listed_whole(ada: Person) -> None:
    """After a restore the pieces say again what the message says, in the stream and in the list of chunks."""
    conversation = await ada.make_conversation(assistant_mode="always")
    path = f"/api/stream/conversations/{conversation}"
    async with ada.stream(path, params={"since": "0"}) as live:
        reply = (await ada.say(conversation, "Hello", model="demo"))["generation"]["message_id"]
        await live.until_type("message.done")
        for deed in ("delete", "restore", "delete"):
            await change(ada, deed, reply)
        await live.until(lambda r: count(r, "message.deleted") == 2)
        gone = await replayed(ada, path, live.last_id, FROM_START)
        assert [e.payload["content"] for e in gone.logged if e.type == "message.restored"] == [""]
        await change(ada, "restore", reply)
        await live.until(lambda r: count(r, "message.restored") == 2)
        back = await replayed(ada, path, live.last_id, FROM_START)
    text = (await ada.get(f"/api/messages/{reply}")).json()["content"]
    chunks = (await ada.get(f"/api/messages/{reply}/chunks")).json()["items"]
    assert text == back.text_of(reply) == "".join(chunk["content"] for chunk in chunks) != ""
    assert [e.payload["content"] for e in back.logged if e.type == "message.restored"] == [text, text]


async def test_page_read_before_a_deletion_is_not_kept_after_it(carol: Person, gate: GatedDatabase) -> None:
    """A page that was on its way when the deletion came goes to who asked for it then, and to nobody who comes later."""
    conversation = await carol.make_conversation(assistant_mode="off")
    path = f"/api/stream/conversations/{conversation}"
    message = (await carol.say(conversation, SECRET))["message_id"]
    barrier = gate.after["read_conversation_events"] = Barrier()
    async with carol.stream(path) as live, carol.stream(path, params={"since": "0"}) as early:
        await barrier.reached()
        del gate.after["read_conversation_events"]
        await change(carol, "delete", message)
        await live.until_type("message.deleted")
        during = await replayed(carol, path, live.last_id, FROM_START)
        barrier.go_on.set()
        await early.until_type("message.deleted")
        after = await replayed(carol, path, live.last_id, FROM_START)
    assert SECRET in early.raw.decode()
    for reader in (during, after):
        assert SECRET not in reader.raw.decode()
        assert [event.id for event in reader.logged] == [event.id for event in early.logged]


async def test_nobody_is_served_before_the_deletion_was_heard(
    carol: Person, gate: GatedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process is behind the log, a stream from the past waits; when that takes too long the client is asked to come back."""
    conversation = await carol.make_conversation(assistant_mode="off")
    path = f"/api/stream/conversations/{conversation}"
    async with carol.stream(path, params={"since": "0"}) as live:
        message = (await carol.say(conversation, SECRET))["message_id"]
        await live.until_type("thread.new")
        barrier = gate.before["read_events"] = Barrier()
        await change(carol, "delete", message)
        await barrier.reached()
        with monkeypatch.context() as patched:
            patched.setattr("rustygpt.streaming.arrivals.PATIENCE_SECONDS", 0.05)
            async with carol.stream(path, params={"since": "0"}) as hurried:
                await hurried.until_closed()
        assert (hurried.events, len(hurried.retries)) == ([], 1)
        del gate.before["read_events"]
        barrier.go_on.set()
        await live.until_type("message.deleted")
        again = await replayed(carol, path, live.last_id, FROM_START)
    assert SECRET in live.raw.decode()
    assert SECRET not in again.raw.decode()


async def test_who_waits_is_woken_by_the_position() -> None:
    """A waiting reader goes on when its position is reached, and not before."""
    arrivals = Arrivals()
    async with asyncio.TaskGroup() as group:
        first, second = (group.create_task(arrivals.wait(position)) for position in (5, 7))
        await asyncio.sleep(0)
        arrivals.tell(6)
        assert await first
        assert not second.done()
        arrivals.tell(7)
    assert second.result()
