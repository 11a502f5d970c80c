"""`metadata.rustygpt`: an OpenAI client that writes into a thread, seen by everybody who reads it, under the member's rights."""

import asyncio
from typing import Any

import openai
import pytest

from tests.assistant.exchange import read, until_status
from tests.openai_api.test_upstream import assistant, site, upstream  # noqa: F401 - fixtures
from tests.person import Person
from tests.scripted_openai import ScriptedOpenAI


def ask(client: openai.AsyncOpenAI, conversation: str, text: str, *, parent: str | None = None, **options: Any) -> Any:
    """Ask within a conversation."""
    place = {"conversation_id": conversation, **({"parent_message_id": parent} if parent else {})}
    asked: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": True}
    return client.chat.completions.create(**{**asked, "extra_body": {"metadata": {"rustygpt": place}}, **options})


async def test_question_and_answer_are_in_the_thread(
    ada: Person,
    client: openai.AsyncOpenAI,
    upstream: ScriptedOpenAI,  # noqa: F811
) -> None:
    """The client gets what readers of the thread see, the prompt is the thread's, and what is not heeded is named."""
    conversation = await ada.make_conversation(system_prompt="Be kind.")
    async with ada.stream(f"/api/stream/conversations/{conversation}") as reader:
        asked = asyncio.ensure_future(ask(client, conversation, "Hello", temperature=0.5, stream_options={"include_usage": True}))
        call = await upstream.next_call()
        assert call.system == "Be kind."
        await call.say("Hi ", "Ada")
        await call.finish(usage={"prompt_tokens": 9, "completion_tokens": 2})
        chunks = [chunk async for chunk in await asked]
        first = chunks[0].model_dump()
        message = first["rustygpt"]["message_id"]
        await reader.until(lambda stream: any(event.type == "message.done" for event in stream.events))
        assert reader.text_of(message) == "Hi Ada"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hi Ada"
    assert (chunks[-2].choices[0].finish_reason, chunks[-1].usage.total_tokens) == ("stop", 11)
    assert first["warnings"] == ["temperature"]
    stored = await read(ada, message)
    assert (stored["content"], stored["status"]) == ("Hi Ada", "complete")
    whole = asyncio.ensure_future(ask(client, conversation, "And now?", parent=message, stream=False))
    call = await upstream.next_call()
    assert [content for _, content in call.turns] == ["Hello", "Hi Ada", "And now?"]
    await call.answer("Bye")
    answer = await whole
    assert (answer.choices[0].message.content, answer.id) == (
        "Bye",
        f"chatcmpl-{answer.model_dump()['rustygpt']['message_id'].replace('-', '')}",
    )


async def test_rights_are_the_members(site: Any, ada: Person, bob: Person, client: openai.AsyncOpenAI) -> None:  # noqa: F811
    """Whose conversation it is not gets 404, a viewer 403, and a bad question 400; nothing is stored."""
    conversation = await ada.make_conversation(is_group=True)
    made = await bob.post("/api/keys", {"name": "Bob's", "scopes": ["v1"]})
    bobs = client.with_options(api_key=made.json()["key"])
    with pytest.raises(openai.NotFoundError):
        await ask(bobs, conversation, "Hello")
    await ada.add(conversation, bob, "viewer")
    with pytest.raises(openai.PermissionDeniedError):
        await ask(bobs, conversation, "Hello")
    with pytest.raises(openai.BadRequestError, match="user's text"):
        await ask(client, conversation, "", messages=[{"role": "system", "content": "x"}])
    assert (await ada.get(f"/api/conversations/{conversation}/messages")).json()["items"] == []


async def test_hanging_up_stops_the_reply(ada: Person, client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:  # noqa: F811
    """The client that asked and leaves stops the model; what was said stays."""
    conversation = await ada.make_conversation()
    asked = asyncio.ensure_future(ask(client, conversation, "Hello"))
    call = await upstream.next_call()
    await call.say("Well")
    stream = await asked
    first = await anext(aiter(stream))
    await stream.close()
    await call.until_gone()
    stored = await until_status(ada, first.model_dump()["rustygpt"]["message_id"], "cancelled")
    assert stored["content"] == "Well"


async def test_repeated_request_follows_the_same_reply(
    ada: Person,
    client: openai.AsyncOpenAI,
    upstream: ScriptedOpenAI,  # noqa: F811
) -> None:
    """With the same Idempotency-Key nothing is asked twice: a second request joins in, one after the end gets the whole."""
    conversation = await ada.make_conversation()
    key = {"Idempotency-Key": "once"}
    first = asyncio.ensure_future(ask(client, conversation, "Hello", stream=False, extra_headers=key))
    call = await upstream.next_call()
    await call.say("Well, ")
    second = asyncio.ensure_future(ask(client, conversation, "Hello", stream=False, extra_headers=key))
    await call.answer("fine")
    answers = [await first, await second, await ask(client, conversation, "Hello", stream=False, extra_headers=key)]
    assert {answer.choices[0].message.content for answer in answers} == {"Well, fine"}
    assert len({answer.id for answer in answers}) == 1
    assert len(upstream.calls) == 1


async def test_failures_of_the_model_are_told(ada: Person, client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:  # noqa: F811
    """What ends the reply as an error is the client's error; an assistant that is off is a conflict."""
    conversation = await ada.make_conversation()
    asked = asyncio.ensure_future(ask(client, conversation, "Hello", stream=False))
    await (await upstream.next_call()).respond("400 Bad", "application/json", b'{"error":{"message":"no such schema"}}')
    with pytest.raises(openai.InternalServerError, match="no such schema"):
        await asked
    silent = await ada.make_conversation(assistant_mode="off")
    with pytest.raises(openai.ConflictError):
        await ask(client, silent, "Hello")
