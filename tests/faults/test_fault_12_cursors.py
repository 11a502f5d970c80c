"""Fault 12: cursors: the same one twice, malformed, of the future, of another epoch, pruned. More of them are in test_bad_input.py."""

import asyncpg

from tests.faults.conftest import MakeServer, People
from tests.faults.recorder import recording_one
from tests.person import Person
from tests.server_process import ServerProcess

PRUNE = """
with kept as (update rustygpt.event_head set first_position = $1 returning 1) delete from rustygpt.event_log where position < $1
"""


async def replay(person: Person, path: str, cursor: str, last: str) -> bytes:
    """Resume, and return the bytes from the first event to the last."""
    async with recording_one(person, path, cursor) as recorder:
        await recorder.until(lambda r: r.last_id == last)
        raw = bytes(recorder.readers[0].raw)
    return raw[raw.index(b"id: ") :].replace(b": heartbeat\n\n", b"")


async def history(person: Person, conversation: str) -> list[str]:
    """Make a reply of some hundred chunks; return the ids of its events."""
    async with recording_one(person, f"/api/stream/conversations/{conversation}") as recorder:
        reply = (await person.say(conversation, "count to 300"))["generation"]["message_id"]
        await recorder.until(lambda r: r.done(reply) and r.logged[-1].type == "thread.activity")
        return [event.id or "" for event in recorder.logged]


async def test_fault_12_cursors_twice_malformed_future_other_epoch_pruned(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection
) -> None:
    """The same cursor twice gives identical bytes, also after a restart; malformed is a 400; the others are one gap each."""
    server: ServerProcess = make_server("one", dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=300, SSE__FLUSH_MS=0)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    ids = await history(ada, conversation)
    for path in (f"/api/stream/conversations/{conversation}", "/api/stream"):
        first = await replay(ada, path, ids[9], ids[-1])
        assert first == await replay(ada, path, ids[9], ids[-1])
        assert first.count(b"\nid: ") + 1 == len(ids) - 10
        await server.stop()
        await server.start()
        assert first == await replay(ada, path, ids[9], ids[-1])
        assert (await ada.get(path, headers={"Last-Event-ID": "not a cursor"})).status_code == 400
        epoch, _, last = ids[-1].partition("-")
        for cursor in (f"{epoch}-{int(last) + 1_000}", f"zzzzzz-{last}"):
            assert await reasons(ada, path, cursor) == ["unknown_cursor"]
    await owner.execute(PRUNE, int(ids[20].partition("-")[2]))
    assert await reasons(ada, path, ids[9]) == ["history_pruned"]
    assert await reasons(ada, path, ids[19]) == []


async def reasons(person: Person, path: str, cursor: str) -> list[str]:
    """What a resume is told to be missing."""
    async with recording_one(person, path, cursor) as recorder:
        return [gap["reason"] for gap in recorder.gaps]
