"""Attempts of one reply in the database: fences, owners that died, and text whose first chunks are not in the log any more."""

import json
from typing import Any
from uuid import UUID

import asyncpg

from rustygpt.assistant.procedures import (
    Claim,
    claim_generation,
    continue_generation,
    finish_generation,
    reap_generations,
    renew_leases,
)
from rustygpt.database.pool import Database
from rustygpt.ids import MessageId, UserId
from rustygpt.messages.procedures import get_message
from rustygpt.streaming.procedures import append_deltas, prune_events

LAST_WORD: dict[str, Any] = {"prompt_tokens": None, "completion_tokens": None, "error_code": None, "error_message": None}


class Reply:
    """One reply of one person, at which a test is the process that writes it."""

    def __init__(self, database: Database, owner: asyncpg.Connection, person: UserId, message: UUID) -> None:
        self.database = database
        self.owner = owner
        self.person = person
        self.message = message
        self.next_idx = 0

    async def claim(self) -> Claim:
        claim = await claim_generation(self.database, owner="a", lease_seconds=15.0, deadline_seconds=600.0)
        assert claim is not None
        assert (claim.message_id, claim.next_idx) == (self.message, self.next_idx)
        return claim

    async def append(self, claim: Claim, *texts: str) -> list[str]:
        """Write chunks, one call each; return what became of them."""
        found = []
        for text in texts:
            (row,) = await append_deltas(
                self.database,
                messages=[self.message],
                fences=[claim.fence],
                indexes=[self.next_idx],
                contents=[text],
                lease_seconds=15.0,
            )
            found.append(row.status)
            self.next_idx += row.status == "appended"
        return found

    async def finish(self, claim: Claim, state: Any = "done") -> str:
        last_word = await finish_generation(self.database, message=self.message, fence=claim.fence, state=state, **LAST_WORD)
        return last_word.status

    async def go_on(self) -> None:
        bounds = {"max_queued": 10, "max_queued_per_user": 10}
        await continue_generation(self.database, actor=self.person, message=MessageId(self.message), key=None, **bounds)

    async def reap(self) -> None:
        """Start as a process that finds its dead predecessor's reply."""
        (reaped,) = await reap_generations(self.database, running=[], is_alone=True, limit=10)
        assert (reaped.message_id, reaped.state) == (self.message, "interrupted")

    async def prune(self) -> int:
        """Delete every event that may go."""
        await self.owner.execute("update rustygpt.event_log set created_at = created_at - interval '4 days'")
        return await prune_events(self.database, retention_seconds=3_600.0, keep=None, limit=10_000)

    async def read(self) -> dict[str, Any]:
        return (await get_message(self.database, actor=self.person, message=MessageId(self.message))).message

    async def ends(self) -> list[tuple[int, str]]:
        rows = await self.owner.fetch("select payload from rustygpt.event_log where type = 'message.done' order by position")
        payloads = [json.loads(row["payload"]) for row in rows]
        return [(payload["attempt"], payload["finish_reason"]) for payload in payloads]


async def begun(database: Database, owner: asyncpg.Connection) -> Reply:
    """A question whose reply waits."""
    person = await owner.fetchval("select (rustygpt.insert_user('a@example.org', 'Ada', 'x', 'user')).id")
    conversation = await owner.fetchval(
        "select conversation ->> 'id' from rustygpt_api.create_conversation($1, '', false, null, '', 'always', '{}', null)",
        person,
    )
    message = await owner.fetchval(
        "select answer -> 'generation' ->> 'message_id' from rustygpt_api.post_message($1, $2, null, 'Hello?', null, null, null)",
        person,
        UUID(conversation),
    )
    return Reply(database, owner, UserId(person), UUID(message))


async def test_owner_of_the_first_attempt_is_refused(database: Database, owner: asyncpg.Connection) -> None:
    """A zombie that still writes at the first attempt cannot append, finish or renew once the reply goes on; the new owner can."""
    reply = await begun(database, owner)
    zombie = await reply.claim()
    assert await reply.append(zombie, "Once") == ["appended"]
    await reply.reap()
    await reply.go_on()
    assert await reply.append(zombie, " lost") == ["refused"]
    claim = await reply.claim()
    assert await reply.append(zombie, " lost") == ["refused"]
    assert await reply.append(claim, " upon") == ["appended"]
    assert await reply.append(zombie, " lost") == ["refused"]
    assert await reply.finish(zombie) == "refused"
    (lease,) = await renew_leases(database, messages=[reply.message], fences=[zombie.fence], lease_seconds=15.0)
    assert lease.is_lost
    assert (await reply.read())["content"] == "Once upon"
    assert await reply.finish(claim) == "finished"
    assert await reply.ends() == [(1, "error"), (2, "stop")]


async def test_interrupted_twice_and_continued_twice(database: Database, owner: asyncpg.Connection) -> None:
    """Two owners die in the middle and the third writes the end: the text is all of theirs, each attempt has one last word."""
    reply = await begun(database, owner)
    for text in ("Once", " upon"):
        claim = await reply.claim()
        await reply.append(claim, text, ",")
        await reply.reap()
        message = await reply.read()
        assert (message["status"], message["error"]["code"]) == ("interrupted", "generation_interrupted")
        await reply.go_on()
    claim = await reply.claim()
    await reply.append(claim, " a time.")
    assert await reply.finish(claim) == "finished"
    message = await reply.read()
    assert (message["status"], message["content"], message["attempt"]) == ("complete", "Once, upon, a time.", 3)
    assert await reply.ends() == [(1, "error"), (2, "error"), (3, "stop")]


async def test_text_is_whole_though_its_first_chunks_were_pruned(database: Database, owner: asyncpg.Connection) -> None:
    """What was said before the continuing is kept with the message: its chunks may go, also while the rest is being written."""
    reply = await begun(database, owner)
    claim = await reply.claim()
    await reply.append(claim, "Once", " upon")
    await reply.finish(claim, "length")
    assert await reply.prune() > 0
    await reply.go_on()
    assert (await reply.read())["content"] == "Once upon"
    claim = await reply.claim()
    await reply.append(claim, " a", " time")
    assert (await reply.read())["content"] == "Once upon a time"
    assert await reply.prune() > 0
    kept = await owner.fetch("select idx from rustygpt.event_log where type = 'message.delta' order by idx")
    assert [row["idx"] for row in kept] == [2, 3], "the new chunks are nowhere else, the old ones may go"
    assert (await reply.read())["content"] == "Once upon a time"
    await reply.append(claim, ".")
    await reply.finish(claim)
    assert await reply.prune() > 0
    message = await reply.read()
    assert (message["content"], message["next_idx"], message["status"]) == ("Once upon a time.", 5, "complete")
