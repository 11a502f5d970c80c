"""Near the log's end all users read the same pages, and each takes from them exactly what the database would have shown."""

from tests.person import Person
from tests.streaming.gated_database import GatedDatabase


async def _cursor(person: Person) -> str:
    async with person.stream("/api/stream") as reader:
        return str((await reader.until_type("stream.ready")).payload["cursor"])


async def _resumed(person: Person, cursor: str, last: str) -> list[tuple[str, str]]:
    """Resume, and read until a message with the text *last*; return types and conversations."""
    async with person.stream("/api/stream", headers={"Last-Event-ID": cursor}) as reader:
        await reader.until(lambda r: any(e.type == "message.created" and last in str(e.payload) for e in r.logged))
        return [(event.type, event.body["conversation_id"]) for event in reader.logged]


async def test_pages_for_all_show_each_only_their_own(carol: Person, dave: Person, gate: GatedDatabase) -> None:
    """Two users that missed the same stretch of the log read it once, and neither sees a conversation of the other's."""
    common = await carol.make_conversation(assistant_mode="off")
    await carol.add(common, dave)
    own = {carol: await carol.make_conversation(assistant_mode="off"), dave: await dave.make_conversation(assistant_mode="off")}
    cursors = {person: await _cursor(person) for person in own}
    for number in range(6):
        for person, conversation in own.items():
            await person.say(conversation, f"alone {number}")
        await dave.say(common, f"together {number}")
    for person in own:
        await person.say(common, f"the last of {person.id}")
    gate.calls.clear()
    for person, conversation in own.items():
        seen = await _resumed(person, cursors[person], f"the last of {dave.id}")
        assert {conversation for _, conversation in seen} == {common, conversation}
        assert sum(kind == "message.created" for kind, _ in seen) == 6 + 6 + 2
    assert gate.calls.count("read_log") == 1
    assert "read_user_events" not in gate.calls


async def test_who_came_or_left_meanwhile_is_shown_that(carol: Person, dave: Person, gate: GatedDatabase) -> None:
    """Whoever joined or left since the cursor is shown each conversation exactly from the joining and up to the leaving."""
    joined = await carol.make_conversation(assistant_mode="off")
    left = await carol.make_conversation(assistant_mode="off")
    await carol.add(left, dave)
    end = await dave.make_conversation(assistant_mode="off")
    cursor = await _cursor(dave)
    for conversation in (joined, left):
        await carol.say(conversation, "before")
    await carol.add(joined, dave)
    answer = await carol.request("DELETE", f"/api/conversations/{left}/participants/{dave.id}")
    assert answer.status_code in (200, 204)
    for conversation in (joined, left):
        await carol.say(conversation, "after")
    await dave.say(end, "the last")
    gate.calls.clear()
    seen = await _resumed(dave, cursor, "the last")
    created = [conversation for kind, conversation in seen if kind == "message.created"]
    assert sorted(created) == sorted([left, joined, end])
    assert "read_log" not in gate.calls
