"""The OpenAI-compatible provider on good days: against llama.cpp's own server, and against the protocol as it may be spoken."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from rustygpt.assistant.providers.base import (
    Finish,
    ModelInfo,
    ProviderContextExceeded,
    ProviderGarbage,
    ProviderRejected,
    Sampling,
    Usage,
)
from rustygpt.assistant.providers.openai import OpenAIProvider, normalise_base_url
from rustygpt.assistant.providers.openai_wire import completion_body
from tests.assistant.providers.openai_stream import CHAT, KEY, chunk, event, stream
from tests.assistant.providers.replies import ask, opened, reply_of
from tests.llama_server import LlamaServer
from tests.scripted_http import Answer, ScriptedServer
from tests.story_model import story_text


@pytest.fixture
async def real(llama_server: LlamaServer) -> AsyncIterator[OpenAIProvider]:
    """A provider of the real server."""
    async with opened(OpenAIProvider("upstream", llama_server.base_url, api_key=llama_server.api_key)) as provider:
        yield provider


@pytest.fixture
async def provider(scripted: ScriptedServer) -> AsyncIterator[OpenAIProvider]:
    """A provider of the scripted server."""
    async with opened(OpenAIProvider("upstream", scripted.base_url, api_key=KEY)) as provider:
        yield provider


async def test_reply_is_the_story_to_the_character(real: OpenAIProvider) -> None:
    """A real engine's reply arrives whole, with the engine's own count of tokens, and a split emoji is one character."""
    reply = await reply_of(real, ask("Tell me anything 🌊", sampling=Sampling(temperature=1.5, top_p=0.9, seed=7)))
    assert reply.text == story_text()
    assert len(reply.deltas) > 200
    assert reply.finish.reason == "stop"
    assert reply.finish.usage is not None
    assert reply.finish.usage.completion_tokens == 241  # the end of the text is a token too


async def test_limit_is_obeyed_and_told(real: OpenAIProvider) -> None:
    """max_tokens reaches the engine, and its finish_reason comes back."""
    reply = await reply_of(real, ask("x", sampling=Sampling(max_tokens=4)))
    assert (reply.text, reply.finish.reason) == ("Once upon a time", "length")


async def test_stop_text_is_obeyed(real: OpenAIProvider) -> None:
    """A stop sequence reaches the engine."""
    assert (await reply_of(real, ask("x", sampling=Sampling(stop=(" harbour",))))).text == "Once upon a time, in the"


async def test_models_are_listed_with_their_context(real: OpenAIProvider) -> None:
    """The real server's list is understood."""
    assert await real.models() == (ModelInfo("story", "upstream", 8_192),)


async def test_replies_run_side_by_side(real: OpenAIProvider) -> None:
    """Several replies at once do not get into each other."""
    replies = await asyncio.gather(*(reply_of(real, ask(f"number {number}")) for number in range(4)))
    assert {reply.text for reply in replies} == {story_text()}


async def test_too_long_a_prompt_is_told_apart(real: OpenAIProvider) -> None:
    """A prompt beyond the context says how long it is and how long it may be."""
    with pytest.raises(ProviderContextExceeded, match=r"too long for this model.*\d+ tokens"):
        await reply_of(real, ask("y" * 20_000))


async def test_wrong_key_is_told_without_the_key(llama_server: LlamaServer) -> None:
    """A refused key is an error with its status, and the key is not in it."""
    async with opened(OpenAIProvider("upstream", llama_server.base_url, api_key="sk-wrong-key-123456")) as provider:
        with pytest.raises(ProviderRejected, match="status 401") as caught:
            await reply_of(provider, ask("x"))
    assert "sk-wrong" not in caught.value.message


async def test_request_is_what_the_protocol_wants(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """The key, the model, the messages and only the options that were set are sent."""
    scripted.answer(CHAT, stream(chunk(content="hi"), chunk("stop"), event(b"[DONE]")))
    await reply_of(provider, ask("q", model="m", sampling=Sampling(temperature=0.0, max_tokens=9, stop=("a", "b"), seed=0)))
    received = scripted.requests[0]
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "q"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "max_tokens": 9,
        "stop": ["a", "b"],
        "seed": 0,
    }


async def test_chunks_of_every_kind_are_understood(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Comments, role-only, reasoning-only and empty chunks are no text; usage may come before, with or after the finish."""
    scripted.answer(
        CHAT,
        stream(
            b": keep-alive\n\n",
            chunk(role="assistant", content=None),
            chunk(reasoning_content="let me think"),
            chunk(content=""),
            event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}),
            chunk(content="a"),
            chunk(content="b"),
            chunk("content_filter"),
            event({"choices": [], "usage": None}),
            event(b"[DONE]"),
        ),
    )
    reply = await reply_of(provider, ask("x"))
    assert (reply.deltas, reply.finish) == (("a", "b"), Finish("content_filter", Usage(5, 2)))


@pytest.mark.parametrize("ending", [(chunk("stop"),), (event(b"[DONE]"),)])
async def test_one_sign_of_the_end_is_enough(scripted: ScriptedServer, provider: OpenAIProvider, ending: tuple[bytes]) -> None:
    """A server that sends only a finish_reason, or only [DONE], has finished; usage may be missing."""
    scripted.answer(CHAT, stream(chunk(content="a"), *ending))
    assert (await reply_of(provider, ask("x"))).finish == Finish("stop", None)


async def test_text_cut_anywhere_is_put_together(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Cut into single bytes, between CR and LF and inside code points, the text is the same."""
    whole = (chunk(content="灯台 🌊\u2028\r\n") + chunk(content="é") + chunk("stop")).replace(b"\n\n", b"\r\n\r\n")
    scripted.answer(CHAT, stream(*(whole[index : index + 1] for index in range(len(whole)))))
    assert (await reply_of(provider, ask("x"))).text == "灯台 🌊\u2028\r\né"


async def test_lists_leave_out_what_cannot_chat(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Embedding, speech and picture models are no choice; a small and new model comes first; junk is passed over."""
    names = [("gpt-1", 1), ("gpt-2", 2), ("text-embedding-3", 9), ("gpt-2-mini", 2), ("gpt-3-mini", 3), ("whisper-1", 4)]
    data: list[object] = [{"id": name, "created": created} for name, created in names]
    scripted.answer("/v1/models", Answer((json.dumps({"data": [*data, "junk", {"id": 5}]}).encode(),)))
    assert [model.id for model in await provider.models()] == ["gpt-3-mini", "gpt-2-mini", "text-embedding-3", "gpt-2", "gpt-1"]


@pytest.mark.parametrize("body", [b"[]", b'{"data":5}', b"<html>", b""])
async def test_lists_of_another_shape_are_garbage(scripted: ScriptedServer, provider: OpenAIProvider, body: bytes) -> None:
    """A list that is none is an error, not an empty list."""
    scripted.answer("/v1/models", Answer((body,)))
    with pytest.raises(ProviderGarbage):
        await provider.models()


async def test_configured_models_are_not_asked_for(scripted: ScriptedServer) -> None:
    """With models in the settings the upstream's list is not needed."""
    async with opened(OpenAIProvider("upstream", scripted.base_url, models=("a", "b"))) as provider:
        assert [model.id for model in await provider.models()] == ["a", "b"]
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://h:8080", "http://h:8080/v1"),
        ("http://h:8080/", "http://h:8080/v1"),
        ("http://h:8080/v1", "http://h:8080/v1"),
        (" http://h:8080/v1/ ", "http://h:8080/v1"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ("https://h/v1/chat/completions", "https://h/v1"),
    ],
)
def test_addresses_as_people_write_them(written: str, meant: str) -> None:
    """With or without /v1, slashes, or the whole path of a request."""
    assert normalise_base_url(written) == meant


async def test_openai_itself_gets_the_limit_it_understands() -> None:
    """OpenAI's reasoning models refuse max_tokens, so the limit has its new name there."""
    provider = OpenAIProvider("openai", "https://api.openai.com")
    assert provider._limit_field == "max_completion_tokens"
    body = completion_body(ask("x", sampling=Sampling(max_tokens=5)), provider._limit_field, is_prefilled=False)
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body
