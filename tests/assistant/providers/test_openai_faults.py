"""The OpenAI-compatible provider on bad days: an upstream that misbehaves, falls silent or is not there, and a reader who stops."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from rustygpt.assistant.providers.base import (
    Delta,
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from rustygpt.assistant.providers.openai import OpenAIProvider
from rustygpt.assistant.providers.refusals import MAX_MESSAGE_CHARACTERS
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, Patience
from tests.assistant.providers.openai_stream import CHAT, KEY, chunk, event, stream
from tests.assistant.providers.replies import DEADLINE_SECONDS, ask, first_deltas_of, opened, reply_of, until
from tests.scripted_http import Answer, ScriptedServer


@pytest.fixture
async def provider(scripted: ScriptedServer) -> AsyncIterator[OpenAIProvider]:
    """A provider of the scripted server that waits longer than a test, and asks once."""
    patience = Patience(retries=0)
    async with opened(OpenAIProvider("upstream", scripted.base_url, api_key=KEY, patience=patience)) as provider:
        yield provider


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
    "an error inside a 200": (Answer((b'{"error":{"message":"no room"}}',)), ProviderRejected, "no room"),
    "no JSON": (stream(event(b"{oops")), ProviderGarbage, "understood"),
    "JSON of another shape": (stream(event([1, 2])), ProviderGarbage, "understood"),
    "an endless line": (stream(b"data: ", *([b"x" * 65_536] * (MAX_EVENT_BYTES // 65_536 + 1))), ProviderGarbage, "understood"),
    "an end without a sign": (stream(chunk(content="a")), ProviderGarbage, "hung up"),
    "an empty body": (stream(), ProviderGarbage, "hung up"),
    "a hang-up": (stream(chunk(content="a"), then="hang up"), ProviderGarbage, "hung up"),
    "a hang-up at once": (stream(then="hang up"), ProviderGarbage, "hung up"),
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


SILENT = {
    "at once": (stream(then="hang"), Patience(first_token_seconds=2.0)),
    "after a role": (stream(chunk(role="assistant"), then="hang"), Patience(first_token_seconds=2.0)),
    "in the middle": (stream(chunk(content="a"), then="hang"), Patience(idle_seconds=0.3)),
}
"""Two seconds, because the head of the answer must have come by then, also where the machine is busy."""


@pytest.mark.parametrize("when", SILENT)
async def test_silence_has_an_end(scripted: ScriptedServer, when: str) -> None:
    """An upstream that says nothing more is given up after first_token_seconds, or idle_seconds once it has begun."""
    answer, patience = SILENT[when]
    scripted.answer(CHAT, answer)
    async with opened(OpenAIProvider("upstream", scripted.base_url, patience=patience)) as provider:
        with pytest.raises(ProviderTimeout, match="upstream stopped answering"):
            await reply_of(provider, ask("x"))
        await asyncio.wait_for(scripted.abandoned.wait(), DEADLINE_SECONDS)


async def test_partial_text_comes_before_the_error(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """What arrived before the upstream failed is not lost."""
    scripted.answer(CHAT, stream(chunk(content="half "), chunk(content="an answer"), event({"error": {"message": "boom"}})))
    items = provider.stream(ask("x"))
    assert (await anext(items), await anext(items)) == (Delta("half "), Delta("an answer"))
    with pytest.raises(ProviderRejected, match="boom"):
        await anext(items)


async def test_thinking_counts_as_a_sign_of_life(scripted: ScriptedServer) -> None:
    """A model that thinks for longer than the first-token deadline is not given up while its thoughts arrive."""
    patience = Patience(first_token_seconds=2.0, idle_seconds=DEADLINE_SECONDS)
    scripted.answer(CHAT, stream(chunk(reasoning_content="hm"), then="hang"))
    async with opened(OpenAIProvider("upstream", scripted.base_url, patience=patience)) as provider:
        task = asyncio.ensure_future(reply_of(provider, ask("x")))
        done, _ = await asyncio.wait([task], timeout=2.5)
        task.cancel()
        await asyncio.wait([task], timeout=DEADLINE_SECONDS)
    assert not done


async def test_closing_the_stream_closes_the_socket(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Stop in the middle: the upstream sees the connection end."""
    scripted.answer(CHAT, stream(chunk(content="a"), chunk(content="b"), then="hang"))
    assert await first_deltas_of(provider, ask("x"), 1) == ["a"]
    await asyncio.wait_for(scripted.abandoned.wait(), DEADLINE_SECONDS)


async def test_cancelling_before_the_first_token_closes_the_socket(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """Stop before anything came: the upstream sees the connection end, and cancellation is not swallowed."""
    scripted.answer(CHAT, stream(then="hang"))
    task = asyncio.ensure_future(reply_of(provider, ask("x")))
    await until(lambda: bool(scripted.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(scripted.abandoned.wait(), DEADLINE_SECONDS)


async def test_nobody_there_is_unreachable(deaf_port: int) -> None:
    """A refused connection is told as such, for replies and for lists."""
    async with opened(OpenAIProvider("upstream", f"http://127.0.0.1:{deaf_port}")) as provider:
        with pytest.raises(ProviderUnreachable, match="upstream cannot be reached"):
            await reply_of(provider, ask("x"))
        with pytest.raises(ProviderUnreachable):
            await provider.models()


@pytest.mark.parametrize("address", ["http://", "http://no-such-host.invalid", "http://127.0.0.1:99999"])
async def test_unusable_addresses_are_unreachable(address: str) -> None:
    """An address that leads nowhere is an error of the provider, not a crash."""
    async with opened(OpenAIProvider("upstream", address)) as provider:
        with pytest.raises(ProviderUnreachable):
            await reply_of(provider, ask("x"))


async def test_keys_and_walls_of_text_stay_out_of_messages(scripted: ScriptedServer, provider: OpenAIProvider) -> None:
    """An upstream that repeats the key, or writes a novel, does not get through to users, nor does anything to the log."""
    message = f"Incorrect API key provided: {KEY}, or sk-live-abcdef123456. " + "so sorry " * 1_000
    scripted.answer(CHAT, Answer((json.dumps({"error": {"message": message}}).encode(),), status=401))
    with capture_logs() as logs, pytest.raises(ProviderRejected) as caught:
        await reply_of(provider, ask("x"))
    assert KEY not in caught.value.message
    assert "abcdef" not in caught.value.message
    assert len(caught.value.message) < MAX_MESSAGE_CHARACTERS + 100
    assert KEY not in str(logs)
