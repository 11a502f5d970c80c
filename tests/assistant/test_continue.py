"""Continue: the same message runs again from its next chunk, by whoever may write, once at a time, to the same text."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rustygpt.assistant.providers.openai_wire import GO_ON
from tests.assistant.conftest import scripted_settings
from tests.assistant.exchange import ask, read, stop, until_done, until_status
from tests.person import Event, Person, StreamReader
from tests.scripted_openai import Call, ScriptedOpenAI
from tests.site import serving, settings_for

COUNT = 60
SLOW_DEMO = {"demo": {"tokens_per_second": 100}}


async def go_on(person: Person, message: str, **options: Any) -> dict[str, Any]:
    """Press Continue and return the answer."""
    answer = await person.post(f"/api/messages/{message}/continue", **options)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def stopped(person: Person, upstream: ScriptedOpenAI, conversation: str, *texts: str) -> str:
    """Let the model begin a reply with *texts*, and stop it there."""
    message = await ask(person, conversation, "Hello?")
    call = await upstream.next_call()
    async with person.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        await call.say(*texts)
        await stream.until(lambda r: r.text_of(message) == "".join(texts))
        await stop(person, message)
        await until_done(stream, message)
    return message


def of_message(reader: StreamReader, message: str, kind: str) -> list[Event]:
    """The events of one type about a message."""
    return [event for event in reader.events if event.type == kind and event.payload.get("message_id") == message]


async def test_demo_counts_on_to_the_byte(dsn: str, data_dir: Path) -> None:
    """A count that was stopped in the middle and continued is, byte for byte, the whole count; each number came once."""
    async with serving(settings_for(data_dir, assistant=SLOW_DEMO), dsn) as site:
        ada = await Person(site.url).set_up("Ada")
        conversation = await ada.make_conversation()
        async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
            reply = await ask(ada, conversation, f"count to {COUNT}")
            await stream.until(lambda r: r.text_of(reply).startswith("1 2 3 4 5"))
            await stop(ada, reply)
            await until_done(stream, reply)
            await go_on(ada, reply)
            await stream.until(lambda r: len(of_message(r, reply, "message.done")) == 2)
            assert stream.text_of(reply) == " ".join(str(n) for n in range(1, COUNT + 1))
        message = await read(ada, reply)
        await ada.close()
    assert (message["status"], message["content"]) == ("complete", stream.text_of(reply))
    deltas = of_message(stream, reply, "message.delta")
    assert [event.payload["idx"] for event in deltas] == list(range(message["next_idx"]))


async def test_what_continuing_tells(ada: Person, upstream: ScriptedOpenAI) -> None:
    """message.continued undoes the end; chunks are numbered on; the second last word has the attempt and the usage of both."""
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    call = await upstream.next_call()
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        await call.say("Once", " upon")
        await call.finish("length", {"prompt_tokens": 3, "completion_tokens": 2})
        await until_done(stream, reply)
        before = await read(ada, reply)
        assert (before["status"], before["finish_reason"], before["usage"]["total_tokens"]) == ("complete", "length", 5)
        answer = await go_on(ada, reply)
        call = await upstream.next_call()
        now = await read(ada, reply)
        await call.say(" a time")
        await call.finish("stop", {"prompt_tokens": 5, "completion_tokens": 1})
        await stream.until(lambda r: len(of_message(r, reply, "message.done")) == 2)
    (continued,) = of_message(stream, reply, "message.continued")
    root = before["root_id"]
    assert continued.payload == {"message_id": reply, "root_id": root, "next_idx": before["next_idx"], "attempt": 2}
    assert answer == {**continued.payload, "conversation_id": conversation, "status": "queued"}
    undone = {"status": "queued", "finish_reason": None, "usage": None, "error": None, "attempt": 2, "content": "Once upon"}
    assert {key: now[key] for key in undone} == undone
    first, second = (event.payload for event in of_message(stream, reply, "message.done"))
    assert (first["attempt"], first["finish_reason"], first["usage"]["total_tokens"]) == (1, "length", 5)
    assert (second["attempt"], second["finish_reason"]) == (2, "stop")
    assert second["usage"] == {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
    assert second["chunks"] == before["next_idx"] + 1
    after = await read(ada, reply)
    assert (after["status"], after["content"], after["usage"]) == ("complete", "Once upon a time", second["usage"])


async def test_model_is_given_what_it_has_said(ada: Person, upstream: ScriptedOpenAI) -> None:
    """The partial text is the last turn, and OpenAI's protocol needs a word that it is to go on; the same model is asked."""
    conversation = await ada.make_conversation()
    reply = await stopped(ada, upstream, conversation, "Once", " upon")
    await go_on(ada, reply)
    call = await upstream.next_call()
    assert call.turns == [("user", "Hello?"), ("assistant", "Once upon"), ("user", GO_ON)]
    assert call.body["model"] == "scripted"
    await call.answer(" a time.")
    assert (await until_status(ada, reply, "complete"))["content"] == "Once upon a time."


async def test_reply_that_was_never_begun_is_begun(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A reply that was stopped before its first word is asked anew, without a turn of its own."""
    conversation = await ada.make_conversation()
    reply = await stopped(ada, upstream, conversation)
    await go_on(ada, reply)
    call = await upstream.next_call()
    assert call.turns == [("user", "Hello?")]
    await call.answer("Yes.")
    assert (await until_status(ada, reply, "complete"))["content"] == "Yes."


async def test_who_may_continue_what(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """A member may; a viewer 403, a stranger 404, without the CSRF header 403; what did not stop early is a 409."""
    conversation = await ada.make_conversation(assistant_mode="always")
    reply = await stopped(ada, upstream, conversation, "Once")
    path = f"/api/messages/{reply}/continue"
    assert (await bob.post(path)).status_code == 404
    await ada.add(conversation, bob, "viewer")
    assert (await bob.post(path)).json()["code"] == "RGP.RBAC.FORBIDDEN"
    assert (await ada.post(path, headers={"X-CSRF-TOKEN": "wrong"})).json()["code"] == "RGP.AUTH.CSRF"
    role = await ada.request("PATCH", f"/api/conversations/{conversation}/participants/{bob.id}", json={"role": "member"})
    assert role.status_code == 200
    await go_on(bob, reply)
    call = await upstream.next_call()
    question = (await read(ada, reply))["parent_id"]
    for message in (reply, question):
        assert (await ada.post(f"/api/messages/{message}/continue")).json()["code"] == "RGP.CONFLICT"
    await call.answer(" upon a time.")
    await until_status(ada, reply, "complete")
    assert (await ada.post(path)).json()["code"] == "RGP.CONFLICT"
    other = await stopped(ada, upstream, conversation, "Twice")
    changed = await ada.request("PATCH", f"/api/conversations/{conversation}", json={"assistant_mode": "off"})
    assert changed.status_code == 200
    assert (await ada.post(f"/api/messages/{other}/continue")).json()["code"] == "RGP.CONFLICT"
    assert (await ada.post("/api/messages/00000000-0000-7000-8000-000000000000/continue")).status_code == 404
    assert (await ada.post("/api/messages/nonsense/continue")).status_code == 400


async def test_continue_twice_at_once_is_once(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Of two that press at once one wins and the other gets a 409; with one Idempotency-Key both get the same answer."""
    conversation = await ada.make_conversation()
    for round_, key in enumerate((None, "mine")):
        reply = await stopped(ada, upstream, conversation, "Once")
        headers = {"Idempotency-Key": key} if key else {}
        path = f"/api/messages/{reply}/continue"
        answers = await asyncio.gather(*(ada.post(path, headers=headers) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == ([200, 409] if key is None else [200, 200])
        call = await upstream.next_call()
        await call.answer(" upon.")
        message = await until_status(ada, reply, "complete")
        assert (message["content"], message["attempt"]) == ("Once upon.", 2)
        assert len(upstream.calls) == 2 * (round_ + 1)
        if key:
            assert answers[0].json() == answers[1].json() == (await ada.post(path, headers=headers)).json()
            other = await stopped(ada, upstream, conversation, "Twice")
            assert (await ada.post(f"/api/messages/{other}/continue", headers=headers)).status_code == 409


async def test_continued_reply_is_stopped_again(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Stop works on a continued reply, before its first new word and after; each attempt ends once, and the text stays."""
    conversation = await ada.make_conversation()
    reply = await stopped(ada, upstream, conversation, "Once")
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        await go_on(ada, reply)
        call = await upstream.next_call()
        await stop(ada, reply)
        await call.until_gone()
        await stream.until(lambda r: len(of_message(r, reply, "message.done")) == 2)
        assert (await until_status(ada, reply, "cancelled"))["content"] == "Once"
        await go_on(ada, reply)
        call = await upstream.next_call()
        await call.say(" upon")
        await stream.until(lambda r: r.text_of(reply) == "Once upon")
        await stop(ada, reply)
        await call.until_gone()
        await stream.until(lambda r: len(of_message(r, reply, "message.done")) == 3)
    assert [event.payload["attempt"] for event in of_message(stream, reply, "message.done")] == [1, 2, 3]
    message = await until_status(ada, reply, "cancelled")
    assert (message["content"], message["next_idx"]) == ("Once upon", 2)


async def test_failed_reply_goes_on(ada: Person, upstream: ScriptedOpenAI) -> None:
    """When the model's server hung up in the middle, continuing keeps what came and undoes the error."""
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    call = await upstream.next_call()
    await call.say("Once")
    call.hang_up()
    assert (await until_status(ada, reply, "error"))["error"]["code"] == "provider_garbage"
    await go_on(ada, reply)
    call = await upstream.next_call()
    assert (await read(ada, reply))["error"] is None
    await call.answer(" upon.")
    message = await until_status(ada, reply, "complete")
    assert (message["content"], message["error"]) == ("Once upon.", None)


async def test_model_that_has_gone_is_refused_after_the_gate(dsn: str, data_dir: Path, upstream: ScriptedOpenAI) -> None:
    """Continuing needs the model that began: 422 without it, 404 for strangers all the same; an earlier answer is given again."""
    async with serving(scripted_settings(data_dir, upstream), dsn) as site:
        ada, bob = await Person(site.url).set_up("Ada"), await Person(site.url).register("Bob")
        conversation = await ada.make_conversation()
        reply = await stopped(ada, upstream, conversation, "Once")
        upstream.script = _answer
        body = {"content": "Hi", "model": "scripted", "client_id": "first"}
        posted = await ada.post(f"/api/conversations/{conversation}/messages", body)
        await until_status(ada, posted.json()["generation"]["message_id"], "complete")
        made_body = {"title": "T", "model": "scripted"}
        made = await ada.post("/api/conversations", made_body, headers={"Idempotency-Key": "made"})
    async with serving(settings_for(data_dir), dsn) as site:
        ada, bob = await _again(ada, site.url), await _again(bob, site.url)
        answer = await ada.post(f"/api/messages/{reply}/continue")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "model")
        assert (await bob.post(f"/api/messages/{reply}/continue")).status_code == 404
        path = f"/api/conversations/{conversation}/messages"
        assert (await ada.post(path, body)).json() == posted.json()
        assert (await ada.post("/api/conversations", made_body, headers={"Idempotency-Key": "made"})).json() == made.json()
        assert (await ada.post(path, {**body, "client_id": "second"})).status_code == 422
        assert (await ada.post(path, {**body, "content": "Other"})).status_code == 409
        assert (await bob.post(path, {**body, "client_id": "mine"})).status_code == 404
        changed = await bob.request("PATCH", f"/api/conversations/{conversation}", json={"model": "scripted"})
        assert changed.status_code == 404
        for person in (ada, bob):
            await person.close()


async def _answer(call: Call) -> None:
    await call.answer("Yes.")


async def _again(person: Person, url: str) -> Person:
    """The same person, with the same session, at a server that has started again."""
    again = Person(url)
    again.id = person.id
    again.client.cookies.update(person.client.cookies)
    await person.close()
    return again


@pytest.mark.parametrize("assistant", [{"max_concurrency": 1, "max_queued": 1}], indirect=True)
async def test_continuing_needs_a_place_in_the_queue(ada: Person, upstream: ScriptedOpenAI) -> None:
    """While the queue is full continuing is a 503, and the message stays as it was."""
    conversation = await ada.make_conversation()
    reply = await stopped(ada, upstream, conversation, "Once")
    await ask(ada, conversation, "Running")
    call = await upstream.next_call("Running")
    waiting = await ask(ada, conversation, "Waiting")
    before = await read(ada, reply)
    answer = await ada.post(f"/api/messages/{reply}/continue")
    assert (answer.status_code, answer.json()["code"]) == (503, "RGP.UNAVAILABLE")
    assert {**await read(ada, reply), "stream_cursor": ""} == {**before, "stream_cursor": ""}
    upstream.script = _answer
    await call.answer("Yes.")
    await until_status(ada, waiting, "complete")
