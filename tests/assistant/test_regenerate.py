"""Regenerate: another reply to the same message, by the same model or another, once at a time, and without what was deleted."""

import asyncio
from typing import Any

import pytest

from tests.assistant.exchange import ask, read, until_done, until_status
from tests.person import Person
from tests.scripted_openai import Call, ScriptedOpenAI

OTHERS = {"others": {"second": {"models": ("second",)}}}


async def _answer(call: Call) -> None:
    await call.answer(f"By {call.body['model']}.")


async def again(person: Person, message: str, body: Any = None, **options: Any) -> dict[str, Any]:
    """Press Regenerate and return the answer."""
    answer = await person.post(f"/api/messages/{message}/regenerate", body, **options)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def answered(person: Person, upstream: ScriptedOpenAI, conversation: str, text: str = "Hello?", **fields: Any) -> str:
    """Ask, and wait for the whole reply."""
    upstream.script = _answer
    reply = await ask(person, conversation, text, **fields)
    await until_status(person, reply, "complete")
    return reply


async def test_reply_gets_a_sibling(ada: Person, upstream: ScriptedOpenAI) -> None:
    """The answer is that of a post; the reply stands beside the first, of the same parent, and both know how many there are."""
    conversation = await ada.make_conversation()
    first = await answered(ada, upstream, conversation)
    before = await read(ada, first)
    assert (before["sibling_index"], before["sibling_count"]) == (0, 1)
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        await stream.until_type("stream.ready")
        made = await again(ada, first)
        second = made["message_id"]
        assert made == {
            "message_id": second,
            "root_id": before["root_id"],
            "conversation_id": conversation,
            "parent_id": before["parent_id"],
            "depth": before["depth"],
            "generation": {"message_id": second, "state": "queued"},
        }
        await until_done(stream, second)
    created, activity = stream.logged[:2]
    assert (created.type, activity.type) == ("message.created", "thread.activity")
    sibling = created.payload["message"]
    assert (sibling["id"], sibling["sibling_index"], sibling["sibling_count"]) == (second, 1, 2)
    replies = [await read(ada, message) for message in (first, second)]
    assert [(reply["sibling_index"], reply["sibling_count"]) for reply in replies] == [(0, 2), (1, 2)]
    assert (await read(ada, before["parent_id"]))["sibling_count"] == 1
    assert [call.turns for call in upstream.calls] == [[("user", "Hello?")]] * 2


@pytest.mark.parametrize("assistant", [OTHERS], indirect=True)
async def test_which_model_writes(ada: Person, upstream: ScriptedOpenAI) -> None:
    """The one that is named, else the one that was asked for the reply, else the conversation's; a mention in an edited question counts."""
    conversation = await ada.make_conversation(model="second")
    reply = await answered(ada, upstream, conversation, model="scripted")
    question = (await read(ada, reply))["parent_id"]

    async def model_of(message: str, body: Any = None) -> str:
        made = (await again(ada, message, body))["message_id"]
        return str((await until_status(ada, made, "complete"))["model"])

    assert await model_of(reply) == "scripted"
    assert await model_of(reply, {"model": "second"}) == "second"
    assert await model_of(question) == "second"
    edited = await ada.post(f"/api/messages/{question}/edit", {"content": "@scripted what about you?"})
    assert edited.status_code == 200
    assert await model_of(question) == "scripted"
    assert await model_of(question, {"model": "second"}) == "second"
    assert upstream.calls[-1].turns == [("user", "@scripted what about you?")]
    refused = await ada.post(f"/api/messages/{reply}/regenerate", {"model": "nobody"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "model")
    assert (await ada.post(f"/api/messages/{reply}/regenerate", {"modle": "second"})).status_code == 422


async def test_message_without_a_reply_gets_one(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """In company a message that addressed nobody can be given a reply later, by whoever may write."""
    upstream.script = _answer
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob)
    posted = await ada.say(conversation, "Which tree?")
    assert posted["generation"] is None
    made = await again(bob, posted["message_id"])
    reply = await until_status(ada, made["message_id"], "complete")
    assert (reply["parent_id"], reply["sibling_index"], reply["sibling_count"]) == (posted["message_id"], 0, 1)


async def test_who_may_regenerate_what(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """A member may; a viewer 403, a stranger 404; 409 while a reply is written, after a deletion, and where the assistant is off."""
    conversation = await ada.make_conversation(assistant_mode="always")
    reply = await answered(ada, upstream, conversation)
    question = (await read(ada, reply))["parent_id"]
    path = f"/api/messages/{reply}/regenerate"
    assert (await bob.post(path)).status_code == 404
    await ada.add(conversation, bob, "viewer")
    assert (await bob.post(path)).json()["code"] == "RGP.RBAC.FORBIDDEN"
    upstream.script = None
    made = await again(ada, reply)
    call = await upstream.next_call()
    for message in (reply, question, made["message_id"]):
        refused = await ada.post(f"/api/messages/{message}/regenerate")
        assert (refused.status_code, refused.json()["code"]) == (409, "RGP.CONFLICT")
    assert (await ada.post(f"/api/messages/{made['message_id']}/delete")).json()["code"] == "RGP.CONFLICT"
    await call.answer("Yes.")
    await until_status(ada, made["message_id"], "complete")
    for gone in (reply, question):
        assert (await ada.post(f"/api/messages/{gone}/delete")).status_code == 200
        assert (await ada.post(path)).json()["code"] == "RGP.CONFLICT"
        assert (await ada.post(f"/api/messages/{gone}/restore")).status_code == 200
    changed = await ada.request("PATCH", f"/api/conversations/{conversation}", json={"assistant_mode": "off"})
    assert changed.status_code == 200
    assert (await ada.post(path)).json()["code"] == "RGP.CONFLICT"
    assert (await ada.post("/api/messages/00000000-0000-7000-8000-000000000000/regenerate")).status_code == 404
    assert len(upstream.calls) == 2


async def test_regenerate_twice_at_once_is_once(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Of two that press at once one wins and the other gets a 409; with one Idempotency-Key both get the same answer."""
    conversation = await ada.make_conversation()
    reply = await answered(ada, upstream, conversation)
    upstream.script = None
    path = f"/api/messages/{reply}/regenerate"
    for round_, headers in enumerate(({}, {"Idempotency-Key": "mine"})):
        answers = await asyncio.gather(*(ada.post(path, headers=headers) for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == ([201, 201] if headers else [201, 409])
        call = await upstream.next_call()
        await call.answer("Again.")
        made = next(answer for answer in answers if answer.status_code == 201).json()
        assert (await until_status(ada, made["message_id"], "complete"))["sibling_index"] == round_ + 1
        if headers:
            assert answers[0].json() == answers[1].json() == (await ada.post(path, headers=headers)).json()
            other = await ada.post(path, {"model": "scripted"}, headers=headers)
            assert (other.status_code, other.json()["code"]) == (409, "RGP.CONFLICT")


@pytest.mark.parametrize("assistant", [{"max_concurrency": 1, "max_queued": 1}], indirect=True)
async def test_regenerating_needs_a_place_in_the_queue(ada: Person, upstream: ScriptedOpenAI) -> None:
    """While the queue is full it is a 503, and there is no sibling."""
    conversation = await ada.make_conversation()
    reply = await answered(ada, upstream, conversation)
    upstream.script = None
    await ask(ada, conversation, "Running")
    call = await upstream.next_call("Running")
    waiting = await ask(ada, conversation, "Waiting")
    refused = await ada.post(f"/api/messages/{reply}/regenerate")
    assert (refused.status_code, refused.json()["code"]) == (503, "RGP.UNAVAILABLE")
    assert (await read(ada, reply))["sibling_count"] == 1
    upstream.script = _answer
    await call.answer("Yes.")
    await until_status(ada, waiting, "complete")


async def test_regenerating_is_paid_for(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Another reply counts as an answer of who asks for it: beyond the quota it is a 429, and there is no sibling."""
    conversation = await ada.make_conversation()
    reply = await answered(ada, upstream, conversation)
    quota = await ada.request("PUT", f"/api/admin/users/{ada.id}/quota", json={"generations": 2, "tokens": None})
    assert quota.status_code == 200, quota.text
    second = (await again(ada, reply))["message_id"]
    await until_status(ada, second, "complete")
    refused = await ada.post(f"/api/messages/{reply}/regenerate")
    assert (refused.status_code, refused.json()["code"]) == (429, "RGP.RATE_LIMITED")
    assert refused.headers["X-RateLimit-Profile"] == "quota-generations"
    assert (await read(ada, reply))["sibling_count"] == 2


async def test_deleted_messages_leave_the_prompt(ada: Person, upstream: ScriptedOpenAI) -> None:
    """What was deleted is not told to a model, nor among a reply's chunks; the branch of another sibling is not its business either."""
    conversation = await ada.make_conversation()
    first = await answered(ada, upstream, conversation, "One")
    second = await answered(ada, upstream, conversation, "Two", parent_id=first)
    assert (await ada.post(f"/api/messages/{first}/delete")).status_code == 200
    assert (await ada.get(f"/api/messages/{first}/chunks")).json()["items"] == []
    assert (await read(ada, first))["content"] == ""
    await answered(ada, upstream, conversation, "Three", parent_id=second)
    assert [text for _, text in upstream.calls[-1].turns] == ["One\n\nTwo", "By scripted.", "Three"]


@pytest.mark.parametrize("assistant", [{"max_concurrency": 1}], indirect=True)
async def test_deleted_question_is_not_answered(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A question that is deleted while it waits is put to no model: its reply ends as cancelled."""
    conversation = await ada.make_conversation()
    before = await answered(ada, upstream, conversation, "Earlier")
    upstream.script = None
    running = await ask(ada, conversation, "Running")
    call = await upstream.next_call("Running")
    waiting = await ask(ada, conversation, "Waiting", parent_id=before)
    question = (await read(ada, waiting))["parent_id"]
    assert (await ada.post(f"/api/messages/{question}/delete")).status_code == 200
    await call.answer("Yes.")
    await until_status(ada, running, "complete")
    assert (await until_status(ada, waiting, "cancelled"))["content"] == ""
    assert len(upstream.calls) == 2
