"""OpenAI's client against the demo model, whose every byte is known: answers, streams, counts, models."""

import asyncio
import json
from typing import Any

import httpx2
import openai

from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site

COUNT = [{"role": "user", "content": "count to 5"}]


async def test_answer_is_whole(client: openai.AsyncOpenAI) -> None:
    """The text, the reason, the counts and the model of one answer."""
    answer = await client.chat.completions.create(model="demo", messages=COUNT)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "1 2 3 4 5", "stop")
    assert (answer.model, answer.object) == ("demo", "chat.completion")
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 5, 8)
    assert not hasattr(answer, "warnings")


async def test_stream_has_the_shape_that_clients_know(client: openai.AsyncOpenAI) -> None:
    """The role first, then text, then an empty delta with the reason; no counts unless they are asked for."""
    stream = await client.chat.completions.create(model="demo", messages=COUNT, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "1 2 3 4 5"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "stop"]
    assert chunks[-1].choices[0].delta.content is None
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks)


async def test_counts_come_last_where_asked_for(client: openai.AsyncOpenAI) -> None:
    """With include_usage one more chunk without choices has them, and every other has null."""
    stream = await client.chat.completions.create(
        model="demo", messages=COUNT, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (3, 5, 8)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_bytes_of_a_stream(site: Site, key: str) -> None:
    """Events as the protocol has them, ended by [DONE], never kept by a cache or a proxy."""
    async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS) as program:
        body = {"model": "demo", "messages": COUNT, "stream": True}
        answer = await program.post(f"{site.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    *blocks, last, rest = answer.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    assert all(json.loads(block.removeprefix("data: "))["object"] == "chat.completion.chunk" for block in blocks)


async def test_limit_is_heeded_under_both_its_names(client: openai.AsyncOpenAI) -> None:
    """max_tokens and max_completion_tokens cut the answer, and the reason says so."""
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        options: dict[str, Any] = limit
        answer = await client.chat.completions.create(model="demo", messages=COUNT, **options)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("1 2", "length")


async def test_what_is_not_heeded_is_named(client: openai.AsyncOpenAI) -> None:
    """Unknown fields, and parameters that the model's provider has no use for, are in `warnings`, streamed or not."""
    asked: dict[str, Any] = {
        "model": "demo",
        "messages": [{"role": "user", "name": "Ada", "content": "count to 2"}],
        "temperature": 0.5,
        "stop": ["x"],
        "logit_bias": {"50": 1},
        "metadata": {"purpose": "test"},
        "n": 1,
        "user": "ada",
        "extra_body": {"made_up": True, "nothing": None},
    }
    expected = {"messages.0.name", "temperature", "stop", "logit_bias", "metadata.purpose", "made_up"}
    answer = await client.chat.completions.create(**asked)
    assert set(answer.model_dump()["warnings"]) == expected
    stream = await client.chat.completions.create(**asked, stream=True)
    chunks = [chunk.model_dump() async for chunk in stream]
    assert set(chunks[0]["warnings"]) == expected
    assert all("warnings" not in chunk for chunk in chunks[1:])


async def test_parts_of_text_are_text(client: openai.AsyncOpenAI) -> None:
    """Content may come in parts; a developer's message counts as the system's."""
    parts = [{"type": "text", "text": "please"}, {"type": "text", "text": "count to 3"}]
    messages: list[Any] = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}]
    answer = await client.chat.completions.create(model="demo", messages=messages)
    assert answer.choices[0].message.content == "1 2 3"


async def test_models_are_listed_and_shown(client: openai.AsyncOpenAI) -> None:
    """All models with their provider as owner; each under its id and provider/id."""
    assert [(model.id, model.owned_by) async for model in client.models.list()] == [("demo", "demo")]
    assert (await client.models.retrieve("demo")).id == "demo"
    assert (await client.models.retrieve("demo/demo")).owned_by == "demo"


async def test_session_does_as_well_as_a_key(site: Site, ada: Person) -> None:
    """A page of ours may ask with its cookie and the CSRF token; without the token it is refused in OpenAI's shape."""
    body = {"model": "demo", "messages": COUNT}
    answer = await ada.post("/v1/chat/completions", body)
    assert answer.json()["choices"][0]["message"]["content"] == "1 2 3 4 5"
    forged = await ada.request("POST", "/v1/chat/completions", json=body, headers={"X-CSRF-TOKEN": ""})
    assert (forged.status_code, forged.json()["error"]["code"]) == (403, "csrf")


async def test_synchronous_client_works(site: Site, key: str) -> None:
    """The client without asyncio, streamed and whole."""

    def ask() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=f"{site.url}/v1", api_key=key, max_retries=0, timeout=DEADLINE_SECONDS) as client:
            whole = client.chat.completions.create(model="demo", messages=COUNT)
            stream = client.chat.completions.create(model="demo", messages=COUNT, stream=True)
            return whole.choices[0].message.content, "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(ask) == ("1 2 3 4 5", "1 2 3 4 5")


async def test_long_answers_are_whole(client: openai.AsyncOpenAI) -> None:
    """Twenty thousand deltas as fast as possible: nothing is lost, nothing twice."""
    stream = await client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": "count to 20000"}], stream=True
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == " ".join(map(str, range(1, 20_001)))
