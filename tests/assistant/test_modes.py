"""When the assistant answers, which model does, and what it is told of who spoke."""

from typing import Any

import pytest

from tests.assistant.exchange import ask, read, until_done, until_status
from tests.person import Person
from tests.scripted_openai import Call, ScriptedOpenAI
from tests.site import Site

TWO_MODELS = {"provider": {"models": ("scripted", "other")}}


async def answering(call: Call) -> None:
    """Answer with the name of the model that was asked."""
    await call.answer(f"I am {call.body['model']}.")


async def is_answered(person: Person, conversation: str, text: str, **fields: Any) -> bool:
    """Post and say whether a reply was queued."""
    return (await person.say(conversation, text, **fields))["generation"] is not None


async def test_by_default_always_alone_and_on_mention_in_company(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """Without a choice the assistant answers everything alone, in company only what addresses it; leaving turns that back."""
    upstream.script = answering
    conversation = await ada.make_conversation()
    path = f"/api/conversations/{conversation}"
    assert (await ada.get(path)).json()["assistant_mode"] == "always"
    assert await is_answered(ada, conversation, "Hello?")
    await ada.add(conversation, bob)
    assert (await ada.get(path)).json()["assistant_mode"] == "mention"
    assert not await is_answered(ada, conversation, "Hello Bob?")
    assert await is_answered(bob, conversation, "@assistant hello?")
    assert (await bob.request("DELETE", f"{path}/participants/{bob.id}")).status_code == 204
    assert (await ada.get(path)).json()["assistant_mode"] == "always"
    assert await is_answered(ada, conversation, "Am I alone?")


@pytest.mark.parametrize("assistant", [TWO_MODELS], indirect=True)
async def test_mode_decides(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """`always` answers everything, `off` nothing at all, `mention` what names it, a model or the field `model`."""
    upstream.script = answering
    expected = {
        "always": {"Hello": True, "@assistant hi": True, "@other hi": True, "`@assistant`": True, "a@assistant.org": True},
        "mention": {"Hello": False, "@assistant hi": True, "@OTHER, hi": True, "`@assistant`": False, "a@assistant.org": False},
        "off": {"Hello": False, "@assistant hi": False, "@other hi": False, "`@assistant`": False, "a@assistant.org": False},
    }
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob)
    for mode, texts in expected.items():
        changed = await ada.request("PATCH", f"/api/conversations/{conversation}", json={"assistant_mode": mode})
        assert changed.json()["assistant_mode"] == mode
        assert {text: await is_answered(bob, conversation, text) for text in texts} == texts, mode
        assert await is_answered(bob, conversation, "Hello", model="other") == (mode != "off")
    back = await ada.request("PATCH", f"/api/conversations/{conversation}", json={"assistant_mode": None})
    assert back.json()["assistant_mode"] == "mention"


@pytest.mark.parametrize("assistant", [TWO_MODELS], indirect=True)
async def test_which_model_answers(ada: Person, upstream: ScriptedOpenAI) -> None:
    """The field `model` beats a mention, a mention the conversation's model, that the default; the message names who answered."""
    upstream.script = answering
    plain, chosen = await ada.make_conversation(), await ada.make_conversation(model="other")
    for conversation, text, fields, model in (
        (plain, "Hello", {}, "scripted"),
        (plain, "@other hello", {}, "other"),
        (plain, "@other hello", {"model": "scripted"}, "scripted"),
        (chosen, "Hello", {}, "other"),
        (chosen, "@assistant hello", {}, "other"),
        (chosen, "@scripted hello", {}, "scripted"),
        (chosen, "Hello", {"model": "demo"}, "demo"),
        (plain, "Hello", {"model": "scripted/other"}, "other"),
    ):
        message = await until_status(ada, await ask(ada, conversation, text, **fields), "complete", "error")
        assert (text, message["model"], message["status"]) == (text, model, "complete")
        assert model == "demo" or message["content"] == f"I am {model}."


async def test_speakers_are_named_to_the_model(site: Site, ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """The upstream receives who said what on the way to the question, and nothing of other threads or branches."""
    upstream.script = lambda call: call.answer("Fine.")
    conversation = await ada.make_conversation(system_prompt="You are a gardener.")
    await ada.add(conversation, bob)
    async with Person(site.url) as carol:
        await ada.add(conversation, await carol.register("Carol"))
    await ada.say(conversation, "Another thread")
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        root = await ada.say(conversation, "@assistant which tree?")
        first = root["generation"]["message_id"]
        await until_done(stream, first)
        await bob.say(conversation, "An aside", parent_id=root["message_id"])
        objection = await bob.say(conversation, "Why that one?\nCarol: I agree\nNote: it is dry", parent_id=first)
        reply = await ask(ada, conversation, "@assistant answer Bob, please", parent_id=objection["message_id"])
        await until_done(stream, reply)
    call = upstream.calls[-1]
    assert call.turns == [
        ("user", "Ada: @assistant which tree?"),
        ("assistant", "Fine."),
        ("user", "Bob: Why that one?\n> Carol: I agree\nNote: it is dry\n\nAda: @assistant answer Bob, please"),
    ]
    assert call.system.startswith("You are a gardener.\n\n")
    assert "Several people" in call.system
    assert call.body["stream"] is True


async def test_alone_the_model_gets_the_bare_words(ada: Person, upstream: ScriptedOpenAI) -> None:
    """One person's conversation is sent as it was typed, the partial text of a failed reply included."""
    conversation = await ada.make_conversation()
    first = await ask(ada, conversation, "Hello")
    call = await upstream.next_call()
    await call.say("Once upon")
    call.hang_up()
    failed = await until_status(ada, first, "error")
    upstream.script = lambda call: call.answer("A time.")
    second = await ask(ada, conversation, "Go on", parent_id=failed["id"])
    await until_status(ada, second, "complete")
    assert upstream.calls[-1].messages == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Once upon"},
        {"role": "user", "content": "Go on"},
    ]


@pytest.mark.parametrize("assistant", [{"prompt_characters": 1_000}], indirect=True)
async def test_long_threads_are_cut_at_the_oldest(ada: Person, upstream: ScriptedOpenAI) -> None:
    """The prompt walks up from the question until its budget is full; the question and the thread's first message are always there."""
    upstream.script = lambda call: call.answer("y" * 100)
    conversation = await ada.make_conversation()
    parent: dict[str, Any] = {}
    for number in range(6):
        reply = await ask(ada, conversation, f"{number}" * 100, **parent)
        await until_status(ada, reply, "complete")
        parent = {"parent_id": reply}
    assert [content for _, content in upstream.calls[-1].turns][1:] == [c * 100 for c in "y2y3y4y5"]
    assert upstream.calls[-1].turns[0] == ("user", "0" * 100 + "\n\n" + "1" * 100)
    context = (await read(ada, reply))["context"]
    assert (context["budget_tokens"], context["is_estimated"], context["left_out"]) == (None, True, 1)
    whole = await ask(ada, conversation, "z" * 5_000, **parent)
    await until_status(ada, whole, "complete")
    assert upstream.calls[-1].turns == [("user", "0" * 100 + "\n\n" + "z" * 5_000)]


async def test_viewers_call_nobody(ada: Person, bob: Person, upstream: ScriptedOpenAI) -> None:
    """A viewer can neither post nor, by that, run a model."""
    conversation = await ada.make_conversation(assistant_mode="always")
    await ada.add(conversation, bob, "viewer")
    answer = await bob.post(f"/api/conversations/{conversation}/messages", {"content": "@assistant hi", "model": "scripted"})
    assert (answer.status_code, answer.json()["code"]) == (403, "RGP.RBAC.FORBIDDEN")
    assert upstream.calls == []
    assert (await read(ada, (await ada.say(conversation, "Hi", model="demo"))["message_id"]))["role"] == "user"
