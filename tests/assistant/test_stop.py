"""Stop: at any moment, by whoever may speak, twice; the provider hears it, and what was said stays."""

import asyncio

import asyncpg
import pytest

from tests.assistant.exchange import ask, read, stop, until_done, until_status
from tests.person import Person
from tests.scripted_openai import ScriptedOpenAI
from tests.site import Site


async def test_stop_before_the_first_token(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A reply that has said nothing ends as cancelled, empty, and the provider's connection is closed."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await ask(ada, conversation, "Hello?")
        call = await upstream.next_call()
        answer = await stop(ada, reply)
        assert answer == {"message_id": reply, "status": "queued"}
        await call.until_gone()
        ((_, done),) = await until_done(stream, reply)
    message = await read(ada, reply)
    assert (message["status"], message["finish_reason"], message["content"]) == ("cancelled", "cancelled", "")
    assert (done["finish_reason"], done["chunks"], message["error"]) == ("cancelled", 0, None)


async def test_stop_in_the_middle_keeps_what_was_said(ada: Person, upstream: ScriptedOpenAI) -> None:
    """What everybody has seen stays; the provider's connection is closed; a second and a late Stop change nothing."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await ask(ada, conversation, "Hello?")
        call = await upstream.next_call()
        await call.say("Once upon", " a time")
        await stream.until(lambda r: r.text_of(reply) == "Once upon a time")
        answers = await asyncio.gather(*(stop(ada, reply) for _ in range(4)))
        assert {answer["status"] for answer in answers} <= {"streaming", "cancelled"}
        await call.until_gone()
        ((_, done),) = await until_done(stream, reply)
        assert await stop(ada, reply) == {"message_id": reply, "status": "cancelled"}
        upstream.script = lambda call: call.answer("Yes.")
        await until_done(stream, await ask(ada, conversation, "And now?"))
    message = await read(ada, reply)
    assert (message["status"], message["content"], done["finish_reason"]) == ("cancelled", "Once upon a time", "cancelled")
    assert len([e for e in stream.events if e.type == "message.done" and e.payload["message_id"] == reply]) == 1


async def test_stop_after_the_end_changes_nothing(ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """A reply that is complete stays complete; no event is written."""
    upstream.script = lambda call: call.answer("Yes.")
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    before = await until_status(ada, reply, "complete")
    assert await stop(ada, reply) == {"message_id": reply, "status": "complete"}
    after = await read(ada, reply)
    assert after == before  # the cursor too: nothing was appended to the log


@pytest.mark.parametrize("assistant", [{"max_concurrency": 1}], indirect=True)
async def test_stop_in_the_queue(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A reply that waits for its turn ends at once, is never asked of the provider, and lets the next one pass."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        first = await ask(ada, conversation, "First?")
        call = await upstream.next_call()
        second, third = await ask(ada, conversation, "Second?"), await ask(ada, conversation, "Third?")
        assert await stop(ada, second) == {"message_id": second, "status": "cancelled"}
        assert await stop(ada, second) == {"message_id": second, "status": "cancelled"}
        ((_, done),) = await until_done(stream, second)
        assert done["finish_reason"] == "cancelled"
        await call.answer("One.")
        await (await upstream.next_call()).answer("Three.")
        await until_status(ada, third, "complete")
    assert (await read(ada, first))["content"] == "One."
    assert [call.turns[-1][1] for call in upstream.calls] == ["First?", "Third?"]


async def test_only_those_who_may_speak_may_stop(site: Site, ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """A viewer is refused (403), a stranger is told that there is nothing (404), and the reply goes on; any member may stop it."""
    conversation = await ada.make_conversation(assistant_mode="always")
    await ada.add(conversation, bob, "viewer")
    reply = await ask(ada, conversation, "Hello?")
    call = await upstream.next_call()
    refused = await bob.post(f"/api/messages/{reply}/cancel")
    async with Person(site.url) as stranger:
        await stranger.register("Stranger")
        unseen = await stranger.post(f"/api/messages/{reply}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (403, "RGP.RBAC.FORBIDDEN")
    assert (unseen.status_code, unseen.json()["code"]) == (404, "RGP.NOT_FOUND")
    await call.say("Still here")
    await until_status(ada, reply, "streaming")
    path = f"/api/conversations/{conversation}/participants/{bob.id}"
    assert (await ada.request("PATCH", path, json={"role": "member"})).status_code == 200
    await stop(bob, reply)
    await call.until_gone()
    assert (await until_status(ada, reply, "cancelled"))["content"] == "Still here"


async def test_what_is_no_reply_cannot_be_stopped(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A person's message is a conflict (409), an unknown one is not found, a malformed id is a bad request."""
    conversation = await ada.make_conversation(assistant_mode="off")
    posted = await ada.say(conversation, "Hello?")
    unknown = conversation  # an id of another kind of thing
    for message, status, code in (
        (posted["message_id"], 409, "RGP.CONFLICT"),
        (unknown, 404, "RGP.NOT_FOUND"),
        ("not-a-uuid", 400, "RGP.BAD_REQUEST"),
    ):
        answer = await ada.post(f"/api/messages/{message}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (status, code)


STOPPED_AT_ITS_CLAIM = """
create function rustygpt.stop_at_once() returns trigger language plpgsql as $$
begin
  new.cancel_requested_at := clock_timestamp();
  return new;
end
$$;
create trigger stop_at_once before update on rustygpt.generations for each row when (old.state = 'queued' and new.state = 'running')
execute function rustygpt.stop_at_once();
"""


async def test_stop_whose_signal_was_lost(ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """A stop that falls between the claim and the question, so that only the database knows of it, asks the provider nothing."""
    await owner.execute(STOPPED_AT_ITS_CLAIM)
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    message = await until_status(ada, reply, "cancelled", "error")
    assert (message["status"], message["content"], upstream.calls) == ("cancelled", "", [])


@pytest.mark.parametrize("assistant", [{"lease_heartbeat_seconds": 0.5}], indirect=True)
async def test_lost_signal_is_found_by_the_heartbeat(ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """A model that says nothing is stopped within a heartbeat, also when only the database knows of the stop."""
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    call = await upstream.next_call()
    await owner.execute("update rustygpt.generations set cancel_requested_at = clock_timestamp() where state = 'running'")
    await call.until_gone()
    assert (await until_status(ada, reply, "cancelled"))["content"] == ""


@pytest.mark.parametrize(
    "assistant", [{"deadline_seconds": 3}], indirect=True
)  # a busy machine has stored the first words by then
async def test_deadline_ends_a_reply_as_timeout(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A model that goes on past the deadline is stopped: `timeout`, its text kept, an error that says why, the connection closed."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await ask(ada, conversation, "Hello?")
        call = await upstream.next_call()
        await call.say("Once upon")
        await call.until_gone()
        (_, done), (_, error) = await until_done(stream, reply)
    message = await read(ada, reply)
    assert (message["status"], message["finish_reason"], message["content"]) == ("error", "timeout", "Once upon")
    assert done["finish_reason"] == "timeout"
    assert error == {"code": "generation_timeout", "message": message["error"]["message"], "message_id": reply, "attempt": 1}


async def test_client_that_leaves_stops_nothing(site: Site, ada: Person, upstream: ScriptedOpenAI) -> None:
    """Closing every stream is no Stop: the reply is written to its end."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await ask(ada, conversation, "Hello?")
        call = await upstream.next_call()
        await call.say("Once")
        await stream.until(lambda r: r.text_of(reply) == "Once")

    await call.answer(" upon a time")
    assert (await until_status(ada, reply, "complete"))["content"] == "Once upon a time"
