"""Connections to PostgreSQL are cut while replies are written: nothing ends, nothing is lost (fault 4)."""

import asyncio

import asyncpg

from tests.person import DEADLINE_SECONDS, Person
from tests.streaming.gated_database import GatedDatabase


async def test_backends_killed_again_and_again(carol: Person, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Every backend of the application is terminated ten times in the middle of four replies; all four arrive whole."""
    conversations = [await carol.make_conversation() for _ in range(4)]
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        replies = [(await carol.say(each, "count to 30000"))["generation"]["message_id"] for each in conversations]
        await reader.until_type("message.delta")
        for _ in range(10):
            await owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'rustygpt'")
            seen = len(reader.events)
            await reader.until(lambda r, seen=seen: len(r.events) > seen or r.comments[20:])
        await reader.until(lambda r: sum(e.type == "message.done" for e in r.events) == 4)
        wanted = " ".join(str(n) for n in range(1, 30_001))
        assert [reader.text_of(reply) == wanted for reply in replies] == [True] * 4
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await carol.get("/readyz")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_database_away_while_the_prompt_is_read(carol: Person, gate: GatedDatabase) -> None:
    """Calls that fail between the claim and the first token delay the reply; they do not end it."""
    conversation = await carol.make_conversation()
    gate.lose_answers = {"name_model": 1, "read_prompt": 1, "read_generation_setting": 1}
    async with carol.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        reply = (await carol.say(conversation, "count to 5"))["generation"]["message_id"]
        done = await reader.until_type("message.done")
        assert (done.payload["finish_reason"], reader.text_of(reply)) == ("stop", "1 2 3 4 5")
    assert set(gate.lose_answers.values()) == {0}
