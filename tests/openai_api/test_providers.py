"""OpenAI's client over every kind of provider, real ones where there are any: a GGUF in a process of ours, llama.cpp's own server, Ollama's protocol."""

import asyncio
import base64
import json
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.llama_server import LlamaServer
from tests.person import DEADLINE_SECONDS
from tests.scripted_http import Answer, ScriptedServer
from tests.scripted_ollama import NDJSON, chat, delta, done, tags
from tests.site import Site, serving, settings_for
from tests.story_model import story_text

QUESTION: list[Any] = [{"role": "user", "content": "Tell me anything 🌊"}]


@pytest.fixture
async def site(
    dsn: str,
    data_dir: Path,
    story_file: Path,
    llama_server: LlamaServer,
    scripted: ScriptedServer,
) -> AsyncIterator[Site]:
    """All providers at once: the file is `local`, llama.cpp's server has it as `story`, Ollama what the test scripts."""
    (data_dir / "models").mkdir(parents=True)
    os.link(story_file, data_dir / "models" / "local.gguf")
    scripted.answer("/api/tags", tags("llama3.2:latest"))
    providers = [
        {"kind": "ollama", "name": "ollama", "base_url": scripted.base_url},
        {"kind": "openai", "name": "server", "base_url": llama_server.base_url, "api_key": llama_server.api_key},
    ]
    assistant = {"providers": providers, "llama_cpp": {"enabled": True, "slots": 2}}
    async with serving(settings_for(data_dir, assistant=assistant), dsn) as served:
        yield served


async def read(client: openai.AsyncOpenAI, **options: Any) -> tuple[str, list[Any]]:
    """Ask for a stream; the text, and all chunks."""
    stream = await client.chat.completions.create(
        messages=QUESTION, stream=True, stream_options={"include_usage": True}, **options
    )
    chunks = [chunk async for chunk in stream]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), chunks


@pytest.mark.parametrize("model", ["local", "story"])
async def test_real_llama_cpp_tells_its_story(client: openai.AsyncOpenAI, model: str) -> None:
    """Exact text at any temperature, streamed and whole, side by side, with real counts; a stop and a limit are heeded."""
    whole, (text, chunks) = await asyncio.gather(
        client.chat.completions.create(model=model, messages=QUESTION, temperature=1.5, seed=3),
        read(client, model=model, temperature=1.5),
    )
    assert whole.choices[0].message.content == text == story_text()
    assert (whole.choices[0].finish_reason, chunks[-2].choices[0].finish_reason) == ("stop", "stop")
    assert whole.usage == chunks[-1].usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens > 200
    assert "warnings" not in whole.model_dump()
    cut, _ = await read(client, model=model, stop=[" harbour"])
    assert cut == "Once upon a time, in the"
    short, chunks = await read(client, model=model, max_tokens=4)
    assert (short, chunks[-2].choices[0].finish_reason) == ("Once upon a time", "length")


async def test_synchronous_client_over_each_provider(site: Site, key: str, scripted: ScriptedServer) -> None:
    """The client without asyncio gets the same from a file of ours, llama.cpp's server and Ollama, streamed and whole, and sees all of them."""
    scripted.answer("/api/chat", chat("Hello", ", you"))
    expected = {"local": story_text(), "story": story_text(), "llama3.2:latest": "Hello, you"}

    def ask() -> dict[str, tuple[str | None, str]]:
        said: dict[str, tuple[str | None, str]] = {}
        with openai.OpenAI(base_url=f"{site.url}/v1", api_key=key, max_retries=0, timeout=DEADLINE_SECONDS) as client:
            listed = {model.id for model in client.models.list()}
            for model in expected:
                whole = client.chat.completions.create(model=model, messages=QUESTION)
                stream = client.chat.completions.create(model=model, messages=QUESTION, stream=True)
                pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
                said[model] = whole.choices[0].message.content, "".join(pieces)
        assert listed >= set(expected)
        return said

    assert await asyncio.to_thread(ask) == {model: (text, text) for model, text in expected.items()}


@pytest.mark.parametrize("model", ["local", "story"])
async def test_too_long_a_prompt_is_the_clients_error(client: openai.AsyncOpenAI, model: str) -> None:
    """What does not fit into the model's context is a 400 with OpenAI's code for it."""
    messages: list[Any] = [{"role": "user", "content": "y" * 20_000}]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model=model, messages=messages)
    assert refused.value.code == "context_length_exceeded"


async def test_ollama_answers_in_openais_words(client: openai.AsyncOpenAI, scripted: ScriptedServer) -> None:
    """Text, counts and tools of Ollama's protocol come out in OpenAI's; what it has no word for is named."""
    scripted.answer("/api/chat", chat("Hello", ", you"))
    text, chunks = await read(client, model="llama3.2", temperature=0.5)
    assert (text, chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == ("Hello, you", 26, 2)
    assert chunks[0].model == "llama3.2:latest"
    call = {"function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    scripted.answer("/api/chat", Answer((delta("", tool_calls=[call]), done()), content_type=NDJSON))
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    asked = await client.chat.completions.create(model="llama3.2", messages=QUESTION, tools=[tool], tool_choice="required")
    assert asked.choices[0].finish_reason == "tool_calls"
    (made,) = asked.choices[0].message.tool_calls or []
    assert made.type == "function"
    assert (made.function.name, json.loads(made.function.arguments)) == ("weather", {"city": "Ulm"})
    assert asked.model_dump()["warnings"] == ["tool_choice"]


async def test_ollamas_errors_are_openais(client: openai.AsyncOpenAI, scripted: ScriptedServer) -> None:
    """An error before the first line has a status, also inside a 200; one in the middle is an APIError of the stream."""
    scripted.answer("/api/chat", Answer((b'{"error":"out of memory"}\n',), content_type=NDJSON))
    with pytest.raises(openai.InternalServerError, match="out of memory"):
        await client.chat.completions.create(model="llama3.2", messages=QUESTION)
    scripted.answer("/api/chat", Answer((b'{"error":"model gone"}',), status=404))
    with pytest.raises(openai.NotFoundError, match="model gone"):
        await client.chat.completions.create(model="llama3.2", messages=QUESTION)
    broken = Answer((delta("half"), b'{"error":"runner has terminated"}\n'), content_type=NDJSON)
    scripted.answer("/api/chat", broken)
    with pytest.raises(openai.APIError, match="terminated"):
        await read(client, model="llama3.2")


async def test_embeddings_come_as_asked(site: Site, key: str, client: openai.AsyncOpenAI, scripted: ScriptedServer) -> None:
    """Floats or base64, one text or many, in their order; the client's own default decodes to the same."""
    vectors = [[0.5, -1.0, 3.25], [2.0, 0.125, -8.0]]
    answer = json.dumps({"embeddings": vectors, "prompt_eval_count": 7}).encode()
    scripted.answer("/api/embed", Answer((answer,)))
    by_default = await client.embeddings.create(model="llama3.2", input=["a", "b"])
    assert [entry.embedding for entry in by_default.data] == vectors
    assert (by_default.usage.prompt_tokens, by_default.usage.total_tokens) == (7, 7)
    async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS, headers={"Authorization": f"Bearer {key}"}) as program:
        for form in ("float", "base64"):
            body = {"model": "llama3.2", "input": ["a", "b"], "encoding_format": form, "dimensions": 3}
            got = (await program.post(f"{site.url}/v1/embeddings", json=body)).json()
            found = [entry["embedding"] for entry in got["data"]]
            if form == "base64":
                found = [list(struct.unpack("<3f", base64.b64decode(text))) for text in found]
            assert found == vectors
            assert got["warnings"] == ["dimensions"]


async def test_provider_that_is_away_is_told_and_recovers(
    site: Site, client: openai.AsyncOpenAI, scripted: ScriptedServer
) -> None:
    """A provider that fails takes nothing from the others, and answers again as soon as it can."""
    scripted.answer("/api/chat", Answer((b"<html>Bad Gateway",), status=502, content_type="text/html"), chat("back"))
    text, _ = await read(client, model="llama3.2")
    assert text == "back"
    scripted.answer("/api/chat", Answer((b"<html>Welcome</html>\n",), content_type="text/html"))
    with pytest.raises(openai.InternalServerError) as garbage:
        await client.chat.completions.create(model="llama3.2", messages=QUESTION)
    assert garbage.value.code == "provider_garbage"
    assert (await client.chat.completions.create(model="local", messages=QUESTION)).choices[0].message.content == story_text()
