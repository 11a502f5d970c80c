"""The Ollama provider against Ollama's protocol as its API reference has it, good days and bad."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from rustygpt.assistant.providers.base import (
    Finish,
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
    Sampling,
    Usage,
)
from rustygpt.assistant.providers.ollama import OllamaProvider, normalise_base_url
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, Patience
from tests.assistant.providers.replies import DEADLINE_SECONDS, ask, first_deltas_of, opened, reply_of
from tests.scripted_http import Answer, ScriptedServer
from tests.scripted_ollama import NDJSON, chat, delta, done, record, tags


@pytest.fixture
async def provider(scripted: ScriptedServer) -> AsyncIterator[OllamaProvider]:
    """A provider of the scripted server that waits longer than a test, and asks once."""
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=Patience(retries=0))) as provider:
        yield provider


def lines(*pieces: bytes, then: str = "end") -> Answer:
    """Return a stream of lines, cut as given."""
    return Answer(pieces, content_type=NDJSON, then=then)  # type: ignore[arg-type]


async def test_reply_comes_with_ollamas_own_count(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """Deltas in order, then the finish with the tokens that Ollama counted."""
    scripted.answer("/api/chat", chat("Hello", ",", " you"))
    reply = await reply_of(provider, ask("x", model="llama3.2:latest"))
    assert (reply.deltas, reply.finish) == (("Hello", ",", " you"), Finish("stop", Usage(26, 3)))


async def test_request_is_what_the_reference_says(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """Options go under their Ollama names, and only those that were set; num_ctx is Ollama's business."""
    scripted.answer("/api/chat", chat("a"))
    sampling = Sampling(temperature=0.0, top_p=0.5, max_tokens=7, stop=("end",), seed=0)
    await reply_of(provider, ask("q", model="m", sampling=sampling))
    await reply_of(provider, ask("q", model="m"))
    asked = [request for request in scripted.requests if request.path == "/api/chat"]
    assert asked[0].body == {
        "model": "m",
        "messages": [{"role": "user", "content": "q"}],
        "stream": True,
        "options": {"temperature": 0.0, "top_p": 0.5, "num_predict": 7, "stop": ["end"], "seed": 0},
    }
    assert asked[1].body["options"] == {}
    assert "authorization" not in asked[0].headers


@pytest.mark.parametrize(("said", "meant"), [("stop", "stop"), ("length", "length"), ("load", "stop"), ("unload", "stop")])
async def test_reasons_are_translated(scripted: ScriptedServer, provider: OllamaProvider, said: str, meant: str) -> None:
    """Only `length` is a length; all else that ends well is a stop."""
    scripted.answer("/api/chat", chat("a", last=done(said)))
    assert (await reply_of(provider, ask("x"))).finish.reason == meant


async def test_cached_prompt_counts_no_tokens(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """Ollama leaves prompt_eval_count out when the prompt came from its cache."""
    scripted.answer("/api/chat", chat("a", last=done(prompt_tokens=None, completion_tokens=4)))
    assert (await reply_of(provider, ask("x"))).finish.usage == Usage(0, 4)


async def test_text_cut_anywhere_is_put_together(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """Single bytes, several lines at once, blank lines, no line feed at the end: the text is the same."""
    whole = delta("灯台 ") + delta("🌊\u2028") + b"\n" + delta("é\r\n") + done().rstrip(b"\n")
    single = tuple(whole[index : index + 1] for index in range(len(whole)))
    for pieces in (single, (whole,), (whole[:100], whole[100:])):
        scripted.answer("/api/chat", lines(*pieces))
        assert (await reply_of(provider, ask("x"))).text == "灯台 🌊\u2028é\r\n"


async def test_thinking_is_not_shown(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """What a reasoning model thinks is no part of the reply."""
    scripted.answer("/api/chat", lines(delta("", thinking="hm, "), delta("", thinking="well"), delta("Yes."), done()))
    assert (await reply_of(provider, ask("x"))).deltas == ("Yes.",)


BROKEN = {
    "an error inside a 200": (
        lines(delta("a"), record(error="llama runner process has terminated")),
        ProviderRejected,
        "terminated",
    ),
    "an error at once": (lines(b'{"error":"out of memory"}\n'), ProviderRejected, "reported an error: out of memory"),
    "an unknown model": (
        Answer((b'{"error":"model \'x\' not found"}',), status=404),
        ProviderRejected,
        "404: model 'x' not found",
    ),
    "a full queue": (Answer((b'{"error":"server busy"}',), status=503), ProviderRejected, "503: server busy"),
    "a page with a status": (
        Answer((b"<html>Bad Gateway",), status=502, content_type="text/html"),
        ProviderRejected,
        "status 502",
    ),
    "a page": (Answer((b"<html>Welcome</html>\n",), content_type="text/html"), ProviderGarbage, "understood"),
    "no JSON": (lines(delta("a"), b"{oops\n"), ProviderGarbage, "understood"),
    "JSON of another shape": (lines(b"[1]\n"), ProviderGarbage, "understood"),
    "not UTF-8": (lines(b'{"message":{"content":"\xff"}}\n'), ProviderGarbage, "understood"),
    "an endless line": (lines(*([b"x" * 65_536] * (MAX_EVENT_BYTES // 65_536 + 1))), ProviderGarbage, "understood"),
    "an end without done": (lines(delta("a")), ProviderGarbage, "hung up"),
    "an empty body": (lines(), ProviderGarbage, "hung up"),
    "a hang-up": (chat("a", last=b"", then="hang up"), ProviderGarbage, "hung up"),
    "a hang-up in a line": (lines(delta("a")[:-9], then="hang up"), ProviderGarbage, "hung up"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_misbehaviour_has_a_name(scripted: ScriptedServer, provider: OllamaProvider, name: str) -> None:
    """Whatever the upstream does, the error is of the right kind and says so; the next reply works."""
    answer, kind, message = BROKEN[name]
    scripted.answer("/api/chat", answer, chat("fine"))
    with pytest.raises(ProviderError, match=message) as caught:
        await reply_of(provider, ask("x"))
    assert type(caught.value) is kind
    assert (await reply_of(provider, ask("x"))).text == "fine"


SILENT = {
    "at once": (lines(then="hang"), Patience(first_token_seconds=2.0)),
    "in the middle": (chat("a", last=b"", then="hang"), Patience(idle_seconds=0.3)),
}
"""Two seconds, because the head of the answer must have come by then, also where the machine is busy."""


@pytest.mark.parametrize("when", SILENT)
async def test_silence_has_an_end(scripted: ScriptedServer, when: str) -> None:
    """An Ollama that says nothing more is given up after first_token_seconds, or idle_seconds once it has begun."""
    answer, patience = SILENT[when]
    scripted.answer("/api/chat", answer)
    async with opened(OllamaProvider("ollama", scripted.base_url, patience=patience)) as provider:
        with pytest.raises(ProviderTimeout, match="ollama stopped answering"):
            await reply_of(provider, ask("x"))
        await asyncio.wait_for(scripted.abandoned.wait(), DEADLINE_SECONDS)


async def test_closing_the_stream_closes_the_socket(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """Stop in the middle: Ollama sees the connection end, which is how it stops."""
    scripted.answer("/api/chat", chat("a", "b", last=b"", then="hang"))
    assert await first_deltas_of(provider, ask("x"), 1) == ["a"]
    await asyncio.wait_for(scripted.abandoned.wait(), DEADLINE_SECONDS)


async def test_models_have_their_uses(scripted: ScriptedServer, provider: OllamaProvider) -> None:
    """Ollama's order is kept; what embeds is told by family or by capability, and what does neither is left out."""
    listed = tags("llama3.2:latest", "qwen3:8b").pieces[0]
    extra = (
        b', {"name":"nomic-embed-text:latest","details":{"family":"nomic-bert"}}, {"name":"e:1","capabilities":["embedding"]},'
        b'{"name":"x:1","capabilities":["image"]}, 7]}'
    )
    scripted.answer("/api/tags", Answer((listed[:-2] + extra,)))
    assert [(model.id, *model.uses) for model in await provider.models()] == [
        ("llama3.2:latest", "chat"),
        ("qwen3:8b", "chat"),
        ("nomic-embed-text:latest", "embed"),
        ("e:1", "embed"),
    ]


async def test_no_ollama_is_unreachable(deaf_port: int) -> None:
    """A refused connection is told as such."""
    async with opened(OllamaProvider("ollama", f"http://127.0.0.1:{deaf_port}")) as provider:
        with pytest.raises(ProviderUnreachable, match="ollama cannot be reached"):
            await provider.models()


@pytest.mark.parametrize(
    "written", ["http://h:11434", "http://h:11434/", "http://h:11434/api", "http://h:11434/v1/", "h:11434", " http://h:11434 "]
)
def test_addresses_as_people_write_them(written: str) -> None:
    """With or without a scheme, slashes, /api or /v1."""
    assert normalise_base_url(written) == "http://h:11434/api"
