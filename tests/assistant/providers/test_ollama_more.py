"""What else Ollama can: tools, pictures, forms, embeddings, its own context, and the loading of a model."""

import pytest

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Delta,
    Embeddings,
    Image,
    Loading,
    PromptMessage,
    ProviderGarbage,
    ProviderRejected,
)
from rustygpt.assistant.providers.ollama import OllamaProvider
from rustygpt.assistant.providers.upstream import Patience
from tests.assistant.providers.replies import ask, opened, reply_of, said
from tests.scripted_http import Answer, ScriptedServer
from tests.scripted_ollama import NDJSON, chat, delta, done

ONCE = Patience(retries=0)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PIXEL = "data:image/png;base64,aGVsbG8="


async def test_tools_go_and_calls_come(scripted: ScriptedServer) -> None:
    """Tools as Ollama wants them; its calls come out in OpenAI's pieces, with ids of ours, and the reply ends for their sake."""
    call = {"function": {"name": "weather", "arguments": {"city": "Vellbruk"}}}
    scripted.answer("/api/chat", Answer((delta("", tool_calls=[call, call, "junk"]), done()), content_type=NDJSON))
    asked_before = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    before = (
        said("user", "and Ulm?"),
        PromptMessage("assistant", "", tool_calls=(asked_before,)),
        PromptMessage("tool", "rain", tool_call_id="c1"),
    )
    request = CompletionRequest("m", (*before, said("user", "q")), tools=(TOOL,), response_format={"type": "json_object"})
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=ONCE)) as provider:
        reply = await reply_of(provider, request)
        assert request.unsupported(provider.capabilities) == []
    assert reply.finish.reason == "tool_calls"
    assert [(each["index"], each["function"]) for each in reply.tool_calls] == [
        (0, {"name": "weather", "arguments": '{"city":"Vellbruk"}'}),
        (1, {"name": "weather", "arguments": '{"city":"Vellbruk"}'}),
    ]
    assert len({each["id"] for each in reply.tool_calls}) == 2
    body = scripted.requests[-1].body
    assert (body["tools"], body["format"]) == ([TOOL], "json")
    assert body["messages"][1:3] == [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Ulm"}}}]},
        {"role": "tool", "content": "rain", "tool_name": "weather"},
    ]


async def test_no_tools_means_no_tools(scripted: ScriptedServer) -> None:
    """tool_choice none is heeded by sending none; a forced tool is not heeded, and said so."""
    scripted.answer("/api/chat", chat("a"))
    question = (said("user", "q"),)
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    none = CompletionRequest("m", question, tools=(TOOL,), tool_choice="none", response_format=schema)
    forced = CompletionRequest("m", question, tools=(TOOL,), tool_choice="required")
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=ONCE)) as provider:
        await reply_of(provider, none)
        assert none.unsupported(provider.capabilities) == []
        assert forced.unsupported(provider.capabilities) == ["tool_choice"]
    body = scripted.requests[-1].body
    assert "tools" not in body
    assert body["format"] == {"type": "object"}


async def test_pictures_go_as_base64(scripted: ScriptedServer) -> None:
    """The data of a data: URL is sent; an address, which Ollama would not fetch, is refused before anything is sent."""
    scripted.answer("/api/chat", chat("a"))
    seen = PromptMessage("user", "what is it?", parts=("what is it?", Image(PIXEL)))
    elsewhere = PromptMessage("user", "?", parts=(Image("https://example.org/cat.png"),))
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=ONCE)) as provider:
        await reply_of(provider, CompletionRequest("m", (seen,)))
        with pytest.raises(ProviderRejected, match="data: URLs"):
            await reply_of(provider, CompletionRequest("m", (elsewhere,)))
    assert scripted.requests[-1].body["messages"] == [{"role": "user", "content": "what is it?", "images": ["aGVsbG8="]}]


async def test_context_and_keep_alive_are_ours_to_set(scripted: ScriptedServer) -> None:
    """num_ctx and keep_alive go with every request where they are configured, and the list tells the context."""
    scripted.answer("/api/chat", chat("a"))
    scripted.answer("/api/embed", Answer((b'{"embeddings":[[1]]}',)))
    provider = OllamaProvider("o", scripted.base_url, models=("m",), context_tokens=8_192, keep_alive="-1", patience=ONCE)
    async with opened(provider):
        await reply_of(provider, ask("q", model="m"))
        await provider.embed("m", ["a"])
        assert [model.context_tokens for model in await provider.models()] == [8_192]
    for request in scripted.requests:
        if request.method == "POST":
            assert (request.body["keep_alive"], request.body["options"]) == (-1, {"num_ctx": 8_192})


async def test_loading_is_told_first(scripted: ScriptedServer) -> None:
    """A model that is not in memory is said to be loading; one that has just answered is not asked about again."""
    scripted.answer("/api/chat", chat("a"))
    scripted.answer("/api/ps", Answer((b'{"models":[{"name":"other:latest"}]}',)))
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=ONCE)) as provider:
        items = [item async for item in provider.stream(ask("q", model="m"))]
        assert items[:2] == [Loading(), Delta("a")]
        assert Loading() not in [item async for item in provider.stream(ask("q", model="m"))]
    assert [request.path for request in scripted.requests] == ["/api/ps", "/api/chat", "/api/chat"]


async def test_texts_become_vectors(scripted: ScriptedServer) -> None:
    """All texts in one request, vectors in their order, the count told; a text too long is Ollama's error, not a cut."""
    good = Answer((b'{"embeddings":[[0.5,-1],[2,3.25]],"prompt_eval_count":9}',))
    too_long = Answer((b'{"error":"the input length exceeds the context length"}',), status=400)
    scripted.answer("/api/embed", good, too_long)
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=ONCE)) as provider:
        assert await provider.embed("e", ["a", "b"]) == Embeddings(((0.5, -1), (2, 3.25)), 9)
        with pytest.raises(ProviderRejected, match="input length exceeds"):
            await provider.embed("e", ["a"])
    assert scripted.requests[0].body["truncate"] is False
    assert scripted.requests[0].body["input"] == ["a", "b"]


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"embeddings":[[1]]}', b'{"embeddings":[[1],["x"]]}', b'{"embeddings":[[],[]]}']
)
async def test_vectors_of_another_shape_are_garbage(scripted: ScriptedServer, body: bytes) -> None:
    """Too few vectors, empty ones or no numbers never get through."""
    scripted.answer("/api/embed", Answer((body,)))
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=ONCE)) as provider:
        with pytest.raises(ProviderGarbage):
            await provider.embed("e", ["a", "b"])
