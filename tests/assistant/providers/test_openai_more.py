"""What else the protocol has: tools, pictures, forms, embeddings, and asking again while no answer has begun."""

import json

import pytest

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Embeddings,
    Finish,
    Image,
    PromptMessage,
    ProviderGarbage,
    ProviderRejected,
    Sampling,
    Usage,
)
from rustygpt.assistant.providers.openai import OpenAIProvider
from rustygpt.assistant.providers.upstream import Patience
from tests.assistant.providers.openai_stream import CHAT, chunk, event, stream
from tests.assistant.providers.replies import ask, opened, reply_of
from tests.scripted_http import Answer, ScriptedServer

EMBEDDINGS = "/v1/embeddings"
FINE = stream(chunk(content="fine"), chunk("stop"), event(b"[DONE]"))
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


async def test_everything_asked_for_is_sent(scripted: ScriptedServer) -> None:
    """Tools, forms, penalties, pictures, earlier calls and their results reach the upstream as they are."""
    scripted.answer(CHAT, FINE)
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    request = CompletionRequest(
        "m",
        (
            PromptMessage("user", "look", parts=("look", Image("https://example.org/a.png", "low"))),
            PromptMessage("assistant", "", tool_calls=(call,)),
            PromptMessage("tool", "rain", tool_call_id="c1"),
        ),
        Sampling(presence_penalty=0.5, frequency_penalty=-0.5),
        tools=(TOOL,),
        tool_choice={"type": "function", "function": {"name": "weather"}},
        response_format={"type": "json_object"},
    )
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        assert request.unsupported(provider.capabilities) == []
        await reply_of(provider, request)
    body = scripted.requests[0].body
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
    ]
    sent = {name: body[name] for name in ("tools", "tool_choice", "response_format", "presence_penalty", "frequency_penalty")}
    assert sent == {
        "tools": [TOOL],
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
    }


async def test_pieces_of_calls_pass_through(scripted: ScriptedServer) -> None:
    """Calls come in pieces, as the upstream cut them, and the reply ends for their sake."""
    pieces = [
        {"index": 0, "id": "c9", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":'}},
        {"index": 0, "function": {"arguments": '"Ulm"}'}},
    ]
    scripted.answer(CHAT, stream(*(chunk(tool_calls=[piece]) for piece in pieces), chunk("tool_calls"), event(b"[DONE]")))
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        reply = await reply_of(provider, ask("x"))
    assert list(reply.tool_calls) == pieces
    assert reply.finish == Finish("tool_calls", None)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_refusal_for_the_moment_is_asked_again(scripted: ScriptedServer, status: int) -> None:
    """An upstream that fails once and then answers is no error."""
    scripted.answer(CHAT, Answer((b'{"error":{"message":"overloaded"}}',), status=status), FINE)
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        assert (await reply_of(provider, ask("x"))).text == "fine"
    assert len(scripted.requests) == 2


async def test_asking_again_has_an_end(scripted: ScriptedServer) -> None:
    """An upstream that keeps failing is asked three times; one that refuses for good, once."""
    scripted.answer(CHAT, Answer((b'{"error":{"message":"overloaded"}}',), status=503))
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        with pytest.raises(ProviderRejected, match="503: overloaded"):
            await reply_of(provider, ask("x"))
        assert len(scripted.requests) == 3
        scripted.answer(CHAT, Answer((b'{"error":{"message":"no such model"}}',), status=404))
        with pytest.raises(ProviderRejected, match="404"):
            await reply_of(provider, ask("x"))
    assert len(scripted.requests) == 4


async def test_hang_up_before_the_head_is_asked_again(scripted: ScriptedServer) -> None:
    """A connection that ends before the answer's head, as a kept one does that is just being closed, costs no reply."""
    scripted.answer(CHAT, Answer(then="drop"), FINE)
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        assert (await reply_of(provider, ask("x"))).text == "fine"


async def test_nothing_is_asked_again_after_the_first_token(scripted: ScriptedServer) -> None:
    """What a reader has seen is not said twice."""
    scripted.answer(CHAT, stream(chunk(content="a"), then="hang up"), FINE)
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        with pytest.raises(ProviderGarbage, match="hung up"):
            await reply_of(provider, ask("x"))
    assert len(scripted.requests) == 1


async def test_finish_without_an_end_is_an_end(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says how the reply ended, and then neither [DONE] nor closes, has ended it."""
    monkeypatch.setattr("rustygpt.assistant.providers.openai.AFTER_FINISH_SECONDS", 0.1)
    scripted.answer(CHAT, stream(chunk(content="a"), chunk("stop"), then="hang"))
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        assert (await reply_of(provider, ask("x"))).text == "a"


async def test_usage_may_follow_the_finish(scripted: ScriptedServer) -> None:
    """OpenAI sends the counts after the finish."""
    counts = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
    scripted.answer(CHAT, stream(chunk(content="a"), chunk("length"), counts, event(b"[DONE]")))
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        assert (await reply_of(provider, ask("x"))).finish == Finish("length", Usage(5, 2))


async def test_context_that_nobody_tells_is_configured(scripted: ScriptedServer) -> None:
    """A model's own word counts; where there is none, also for models that were listed by hand, what the operator says does."""
    listed = {"data": [{"id": "told", "context_length": 4_096}, {"id": "untold"}]}
    scripted.answer("/v1/models", Answer((json.dumps(listed).encode(),)))
    async with opened(OpenAIProvider("o", scripted.base_url, context_tokens=8_192)) as provider:
        assert {model.id: model.context_tokens for model in await provider.models()} == {"told": 4_096, "untold": 8_192}
    async with opened(OpenAIProvider("o", scripted.base_url, models=("m",), context_tokens=8_192)) as provider:
        assert [model.context_tokens for model in await provider.models()] == [8_192]


async def test_texts_become_vectors(scripted: ScriptedServer) -> None:
    """Vectors come in the order of the texts, whatever order the upstream sent them in."""
    data = [{"index": 1, "embedding": [2, 3.25]}, {"index": 0, "embedding": [0.5, -1]}]
    scripted.answer(EMBEDDINGS, Answer((json.dumps({"data": data, "usage": {"prompt_tokens": 9}}).encode(),)))
    async with opened(OpenAIProvider("upstream", scripted.base_url)) as provider:
        assert await provider.embed("text-embedding-3", ["a", "b"]) == Embeddings(((0.5, -1), (2, 3.25)), 9)
    assert scripted.requests[0].body == {"model": "text-embedding-3", "input": ["a", "b"], "encoding_format": "float"}


@pytest.mark.parametrize(
    "data",
    [None, [], [{"embedding": [1]}], [{"index": 0, "embedding": [1]}] * 2, [{"embedding": [1]}, {"embedding": "AAAA"}], [1, 2]],
)
async def test_vectors_of_another_shape_are_garbage(scripted: ScriptedServer, data: object) -> None:
    """Too few, twice the same, no numbers: an error, never a wrong vector."""
    scripted.answer(EMBEDDINGS, Answer((json.dumps({"data": data}).encode(),)))
    async with opened(OpenAIProvider("upstream", scripted.base_url, patience=Patience(retries=0))) as provider:
        with pytest.raises(ProviderGarbage):
            await provider.embed("e", ["a", "b"])
