"""The OpenAI-compatible provider against llama.cpp's own server, and against a server that misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from rustygpt.assistant.providers.base import (
    Delta,
    Finish,
    ModelInfo,
    ProviderContextExceeded,
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
    Sampling,
    Usage,
)
from rustygpt.assistant.providers.openai import OpenAIProvider, normalise_base_url
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, MAX_MESSAGE_CHARACTERS, Patience
from tests.assistant.providers.replies import ask, first_deltas_of, reply_of, until
from tests.llama_server import LlamaServer
from tests.scripted_http import Answer, ScriptedServer
from tests.story_model import story_text

CHAT = "/v1/chat/completions"
KEY = "sk-secret-of-this-test-000"
QUICK = Patience(connect_seconds=1.0, first_token_seconds=0.3, idle_seconds=0.3)


@pytest.fixture
async def real(llama_server: LlamaServer) -> AsyncIterator[OpenAIProvider]:
    """A provider of the real server."""
    provider = OpenAIProvider("upstream", llama_server.base_url, api_key=llama_server.api_key)
    await provider.open()
    yield provider
    await provider.close()


@pytest.fixture
async def provider(scripted: ScriptedServer) -> AsyncIterator[OpenAIProvider]:
    """A provider of the scripted server that waits 0.3 s for anything."""
    provider = OpenAIProvider("upstream", scripted.base_url, api_key=KEY, patience=QUICK)
    await provider.open()
    yield provider
    await provider.close()


def event(data: object) -> bytes:
    """Return one server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()) + b"\n\n"


def chunk(finish_reason: str | None = None, **delta: Any) -> bytes:
    """Return a chunk of a completion."""
    return event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def stream(*pieces: bytes, then: Any = "end") -> Answer:
    """Return a stream of events."""
    return Answer(pieces, content_type="text/event-stream", then=then)


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
    provider = OpenAIProvider("upstream", llama_server.base_url, api_key="sk-wrong-key-123456")
    await provider.open()
    with pytest.raises(ProviderRejected, match="status 401") as caught:
        await reply_of(provider, ask("x"))
    assert "sk-wrong" not in caught.value.message
    await provider.close()


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
    assert (reply.deltas, reply.finish) == (("a", "b"), Finish("stop", Usage(5, 2)))


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


BROKEN = {
    "an error in the stream": (
        stream(event({"error": {"message": "out of memory", "code": 500}})),
        ProviderRejected,
        "out of memory",
    ),
    "an error as text": (stream(event({"error": "overloaded"})), ProviderRejected, "overloaded"),
    "an error with a status": (
        Answer((b'{"error":{"message":"no such model"}}',), status=404),
        ProviderRejected,
        "404: no such model",
    ),
    "a page with a status": (
        Answer((b"<html>Bad Gateway",), status=502, content_type="text/html"),
        ProviderRejected,
        "status 502",
    ),
    "a redirect": (Answer(status=302), ProviderRejected, "status 302"),
    "a page": (Answer((b"<html>Welcome",), content_type="text/html"), ProviderGarbage, "understood"),
    "no JSON": (stream(event(b"{oops")), ProviderGarbage, "understood"),
    "JSON of another shape": (stream(event([1, 2])), ProviderGarbage, "understood"),
    "an endless line": (stream(b"data: ", *([b"x" * 65_536] * (MAX_EVENT_BYTES // 65_536 + 1))), ProviderGarbage, "understood"),
    "an end without a sign": (stream(chunk(content="a")), ProviderGarbage, "hung up"),
    "an empty body": (stream(), ProviderGarbage, "hung up"),
    "a hang-up": (stream(chunk(content="a"), then="hang up"), ProviderGarbage, "hung up"),
    "a hang-up at once": (stream(then="hang up"), ProviderGarbage, "hung up"),
    "silence": (stream(then="hang"), ProviderTimeout, "stopped answering"),
    "only a role, then silence": (stream(chunk(role="assistant"), then="hang"), ProviderTimeout, "stopped answering"),
    "silence in the middle": (stream(chunk(content="a"), then="hang"), ProviderTimeout, "stopped answering"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_misbehaviour_has_a_name(scripted: ScriptedServer, provider: OpenAIProvider, name: str) -> None:
    """Whatever the upstream does, the error is of the right kind and says so; the next reply works."""
    answer, kind, message = BROKEN[name]
    scripted.answer(CHAT, answer, stream(chunk(content="fine"), chunk("stop")))
    with pytest.raises(ProviderError, match=message) as caught:
        await reply_of(provider, ask("x"))
    assert type(caught.value) is kind
    assert caught.value.message.startswith("upstream ")
    assert (await reply_of(provider, ask("x"))).text == "fine"


async def test_partial_text_comes_before_the_error(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """What arrived before the upstream failed is not lost."""
    scripted.answer(CHAT, stream(chunk(content="half "), chunk(content="an answer"), event({"error": {"message": "boom"}})))
    items = provider.stream(ask("x"))
    assert (await anext(items), await anext(items)) == (Delta("half "), Delta("an answer"))
    with pytest.raises(ProviderRejected, match="boom"):
        await anext(items)


async def test_thinking_counts_as_a_sign_of_life(scripted: ScriptedServer) -> None:
    """A model that thinks for longer than the first-token deadline is not given up while its thoughts arrive."""
    patience = Patience(first_token_seconds=0.5, idle_seconds=5.0)
    provider = OpenAIProvider("upstream", scripted.base_url, patience=patience)
    await provider.open()
    scripted.answer(CHAT, stream(chunk(reasoning_content="hm"), then="hang"))
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    task = asyncio.ensure_future(reply_of(provider, ask("x")))
    done, _ = await asyncio.wait([task], timeout=1.0)
    assert not done
    assert loop.time() - started_at >= 1.0
    task.cancel()
    await asyncio.wait([task], timeout=5.0)
    await provider.close()


async def test_closing_the_stream_closes_the_socket(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Stop in the middle: the upstream sees the connection end."""
    scripted.answer(CHAT, stream(chunk(content="a"), chunk(content="b"), then="hang"))
    assert await first_deltas_of(provider, ask("x"), 1) == ["a"]
    await asyncio.wait_for(scripted.abandoned.wait(), 5.0)


async def test_cancelling_before_the_first_token_closes_the_socket(scripted: ScriptedServer) -> None:
    """Stop before anything came: the upstream sees the connection end, and cancellation is not swallowed."""
    provider = OpenAIProvider("upstream", scripted.base_url)
    await provider.open()
    scripted.answer(CHAT, stream(then="hang"))
    task = asyncio.ensure_future(reply_of(provider, ask("x")))
    await until(lambda: bool(scripted.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(scripted.abandoned.wait(), 5.0)
    await provider.close()


async def test_nobody_there_is_unreachable(free_port: int) -> None:
    """A refused connection is told as such, for replies and for lists."""
    provider = OpenAIProvider("upstream", f"http://127.0.0.1:{free_port}", patience=QUICK)
    await provider.open()
    with pytest.raises(ProviderUnreachable, match="upstream cannot be reached"):
        await reply_of(provider, ask("x"))
    with pytest.raises(ProviderUnreachable):
        await provider.models()
    await provider.close()


@pytest.mark.parametrize("address", ["http://", "http://no-such-host.invalid", "http://127.0.0.1:99999"])
async def test_unusable_addresses_are_unreachable(address: str) -> None:
    """An address that leads nowhere is an error of the provider, not a crash."""
    provider = OpenAIProvider("upstream", address, patience=QUICK)
    await provider.open()
    with pytest.raises(ProviderUnreachable):
        await reply_of(provider, ask("x"))
    await provider.close()


async def test_keys_and_walls_of_text_stay_out_of_messages(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """An upstream that repeats the key, or writes a novel, does not get through to users, nor does anything to the log."""
    capture = LogCapture()
    structlog.configure(processors=[capture])
    message = f"Incorrect API key provided: {KEY}, or sk-live-abcdef123456. " + "so sorry " * 1_000
    scripted.answer(CHAT, Answer((json.dumps({"error": {"message": message}}).encode(),), status=401))
    with pytest.raises(ProviderRejected) as caught:
        await reply_of(provider, ask("x"))
    structlog.reset_defaults()
    assert KEY not in caught.value.message
    assert "abcdef" not in caught.value.message
    assert len(caught.value.message) < MAX_MESSAGE_CHARACTERS + 100
    assert KEY not in str(capture.entries)


async def test_lists_leave_out_what_cannot_chat(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Embedding, speech and picture models are no choice; a small and new model comes first; junk is passed over."""
    names = [("gpt-1", 1), ("gpt-2", 2), ("text-embedding-3", 9), ("gpt-2-mini", 2), ("gpt-3-mini", 3), ("whisper-1", 4)]
    data: list[object] = [{"id": name, "created": created} for name, created in names]
    scripted.answer("/v1/models", Answer((json.dumps({"data": [*data, "junk", {"id": 5}]}).encode(),)))
    assert [model.id for model in await provider.models()] == ["gpt-3-mini", "gpt-2-mini", "gpt-2", "gpt-1"]


@pytest.mark.parametrize("body", [b"[]", b'{"data":5}', b"<html>", b""])
async def test_lists_of_another_shape_are_garbage(scripted: ScriptedServer, provider: OpenAIProvider, body: bytes) -> None:
    """A list that is none is an error, not an empty list."""
    scripted.answer("/v1/models", Answer((body,)))
    with pytest.raises(ProviderGarbage):
        await provider.models()


async def test_configured_models_are_not_asked_for(scripted: ScriptedServer) -> None:
    """With models in the settings the upstream's list is not needed."""
    provider = OpenAIProvider("upstream", scripted.base_url, models=("a", "b"))
    await provider.open()
    assert [model.id for model in await provider.models()] == ["a", "b"]
    assert scripted.requests == []
    await provider.close()


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
    body = provider._body(ask("x", sampling=Sampling(max_tokens=5)))
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body
