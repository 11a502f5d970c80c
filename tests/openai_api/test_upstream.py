"""An OpenAI-compatible upstream behind /v1, driven by the test: what passes through, what becomes of its failures, and who hangs up."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.assistant.conftest import scripted_settings
from tests.person import DEADLINE_SECONDS, Person
from tests.scripted_openai import ScriptedOpenAI, scripted_openai
from tests.site import Site, serving

QUESTION: list[Any] = [{"role": "user", "content": "Tell me"}]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """A server that speaks on cue."""
    async with scripted_openai() as server:
        yield server


@pytest.fixture
def assistant(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of `[assistant]`, given by indirect parametrisation."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
async def site(dsn: str, data_dir: Path, upstream: ScriptedOpenAI, assistant: dict[str, Any]) -> AsyncIterator[Site]:
    """A site with that model."""
    async with serving(scripted_settings(data_dir, upstream, **assistant), dsn) as served:
        yield served


def ask(client: openai.AsyncOpenAI, **options: Any) -> Any:
    """Ask for a stream."""
    return client.chat.completions.create(**{"model": "scripted", "messages": QUESTION, "stream": True, **options})


async def metric(site: Site, name: str) -> float:
    """A sample of /metrics, 0 while there is none."""
    async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS) as scraper:
        lines = (await scraper.get(f"{site.url}/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_request_reaches_the_upstream_as_it_is(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """Turns, tools, form and sampling go through unchanged; nothing is added, not even to a begun answer."""
    asked = asyncio.ensure_future(
        client.chat.completions.create(
            model="scripted",
            messages=[*QUESTION, {"role": "assistant", "content": "Well"}],
            tools=[TOOL],
            tool_choice="required",
            response_format={"type": "json_object"},
            temperature=0.5,
            top_p=0.9,
            seed=7,
            stop="END",
            presence_penalty=0.25,
            frequency_penalty=-0.25,
            max_completion_tokens=50,
        )
    )
    call = await upstream.next_call()
    await call.answer("fine", USAGE)
    answer = await asked
    assert answer.choices[0].message.content == "fine"
    assert call.body == {
        "model": "scripted",
        "messages": [*QUESTION, {"role": "assistant", "content": "Well"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [TOOL],
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "presence_penalty": 0.25,
        "frequency_penalty": -0.25,
        "max_tokens": 50,
    }


async def test_pictures_pass_through(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """Parts keep their order where the provider takes pictures."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    asked = asyncio.ensure_future(ask(client, messages=[{"role": "user", "content": parts}], stream=False))
    call = await upstream.next_call()
    await call.answer("a cat")
    assert (await asked).choices[0].message.content == "a cat"
    assert call.messages[0]["content"] == parts


async def test_calls_of_tools_come_back(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """Streamed in the upstream's pieces, whole put together, and the reason is theirs."""
    pieces: list[dict[str, Any]] = [
        {"index": 0, "id": "c9", "type": "function", "function": {"name": "weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"city":"Ulm"}'}},
    ]
    for stream in (True, False):
        asked = asyncio.ensure_future(ask(client, tools=[TOOL], stream=stream))
        call = await upstream.next_call()
        for piece in pieces:
            await call.event({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None}]})
        await call.finish("tool_calls", USAGE)
        if stream:
            chunks = [chunk async for chunk in await asked]
            got = [each for chunk in chunks for each in chunk.choices[0].delta.tool_calls or []]
            assert [(each.index, each.function.arguments) for each in got] == [(0, ""), (0, '{"city":"Ulm"}')]
            assert chunks[-1].choices[0].finish_reason == "tool_calls"
        else:
            (choice,) = (await asked).choices
            assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
            assert [(each.id, each.function.name, each.function.arguments) for each in choice.message.tool_calls] == [
                ("c9", "weather", '{"city":"Ulm"}')
            ]


async def test_counts_are_estimated_where_there_are_none(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """A provider that does not count leaves an estimate that says so."""
    asked = asyncio.ensure_future(ask(client, stream=False))
    await (await upstream.next_call()).answer("four and twenty letters..")
    usage = (await asked).usage.model_dump()
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["estimated"]) == (6, 7, True)


REFUSALS: dict[str, tuple[str, Any, type[openai.APIStatusError], str]] = {
    "a bad request": ("400 Bad", {"error": {"message": "no such schema"}}, openai.BadRequestError, "provider_rejected"),
    "too long": (
        "400 Bad",
        {"error": {"message": "too long", "code": "context_length_exceeded"}},
        openai.BadRequestError,
        "context_length_exceeded",
    ),
    "our key": ("401 No", {"error": {"message": "bad key"}}, openai.InternalServerError, "provider_rejected"),
    "no such model": ("404 No", {"error": {"message": "gone"}}, openai.NotFoundError, "model_not_found"),
    "their limit": ("429 No", {"error": {"message": "slow down"}}, openai.RateLimitError, "provider_rejected"),
    "a crash": ("500 Oops", {"error": {"message": "oops"}}, openai.InternalServerError, "provider_rejected"),
    "a page": ("200 OK", "<html>", openai.InternalServerError, "provider_garbage"),
    "an error inside a 200": ("200 OK", {"error": {"message": "no room"}}, openai.InternalServerError, "provider_rejected"),
}


@pytest.mark.parametrize("assistant", [{"provider": {"retries": 0}}], indirect=True)
async def test_failure_before_the_first_piece_has_a_status(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """Whatever the upstream does instead of answering becomes the right class of error, also of a stream."""
    for name, (status, body, kind, code) in REFUSALS.items():
        for stream in (True, False):
            asked = asyncio.ensure_future(ask(client, stream=stream))
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            media_type = "text/html" if isinstance(body, str) else "application/json"
            await (await upstream.next_call()).respond(status, media_type, content)
            (refused,) = await asyncio.gather(asked, return_exceptions=True)
            assert (name, type(refused), getattr(refused, "code", None)) == (name, kind, code)


async def test_crash_and_then_fine_is_fine(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """An upstream that fails once is asked again before the client hears of it."""
    asked = asyncio.ensure_future(ask(client, stream=False))
    await (await upstream.next_call()).respond("500 Oops", "application/json", b"{}")
    await (await upstream.next_call()).answer("fine")
    assert (await asked).choices[0].message.content == "fine"


@pytest.mark.parametrize("how", ["an error", "a hang-up"])
async def test_failure_in_the_middle_is_the_last_event(site: Site, key: str, upstream: ScriptedOpenAI, how: str) -> None:
    """What was said stays said; then one error event, no [DONE], and the end of the body."""
    body = {"model": "scripted", "messages": QUESTION, "stream": True}
    async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS) as program:
        headers = {"Authorization": f"Bearer {key}"}
        asked = asyncio.ensure_future(program.post(f"{site.url}/v1/chat/completions", json=body, headers=headers))
        call = await upstream.next_call()
        await call.say("half ", "an answer")
        if how == "an error":
            await call.event({"error": {"message": "out of memory"}})
        call.hang_up()
        answer = await asked
    *events, last = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert answer.status_code == 200
    text = "".join(each["choices"][0]["delta"].get("content", "") for each in events)
    assert text == "half an answer"
    assert last["error"]["type"] == "server_error"
    assert last["error"]["code"] in ("provider_rejected", "provider_garbage")


async def test_client_of_openai_raises_a_failure_in_the_middle(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """OpenAI's client turns the error event into its APIError."""
    asked = asyncio.ensure_future(ask(client))
    call = await upstream.next_call()
    await call.say("half")
    stream = await asked
    await call.event({"error": {"message": "out of memory"}})
    call.hang_up()
    with pytest.raises(openai.APIError, match="out of memory"):
        async for _ in stream:
            pass


@pytest.mark.parametrize("when", ["before the first token", "in the middle", "of a whole answer"])
async def test_hanging_up_stops_the_upstream(site: Site, key: str, upstream: ScriptedOpenAI, when: str) -> None:
    """The upstream's connection is closed, the place is free, and it counts as cancelled."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS, headers={"Authorization": f"Bearer {key}"}) as program:
            body = {"model": "scripted", "messages": QUESTION, "stream": when != "of a whole answer"}
            asked = asyncio.ensure_future(_read(program, site, body))
            call = await upstream.next_call()
            if when != "before the first token":
                await call.say("Well")
            asked.cancel()
            await asyncio.wait([asked])
        await call.until_gone()
        while await metric(site, 'rustygpt_generations_total{model="scripted",outcome="cancelled"') != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await metric(site, "rustygpt_generations_running ") == 0
    assert await metric(site, "rustygpt_stream_cancel_latency_seconds_count") == 1


async def _read(program: httpx2.AsyncClient, site: Site, body: dict[str, Any]) -> None:
    async with program.stream("POST", f"{site.url}/v1/chat/completions", json=body) as answer:
        async for _ in answer.aiter_raw():
            pass


@pytest.mark.parametrize("assistant", [{"deadline_seconds": 1.0}], indirect=True)
async def test_deadline_ends_an_answer(client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """A model that never ends is cut: 504 before the first piece, an error event after it."""
    with pytest.raises(openai.InternalServerError) as late:
        await ask(client, stream=False)
    assert (late.value.status_code, late.value.code) == (504, "generation_timeout")
    await (await upstream.next_call()).until_gone()
    asked = asyncio.ensure_future(ask(client))
    await (await upstream.next_call()).say("Well")
    with pytest.raises(openai.APIError, match="longer than the server allows"):
        async for _ in await asked:
            pass


@pytest.mark.parametrize("assistant", [{"max_concurrency": 1, "max_queued_per_user": 1}], indirect=True)
async def test_places_are_shared_with_conversations(
    site: Site, ada: Person, client: openai.AsyncOpenAI, upstream: ScriptedOpenAI
) -> None:
    """With one place a reply of a conversation waits for /v1, and a third is refused with when to come again."""
    first = asyncio.ensure_future(ask(client, stream=False, messages=[{"role": "user", "content": "first"}]))
    call = await upstream.next_call("first")
    conversation = await ada.make_conversation()
    await ada.say(conversation, "second")
    third = None
    async with asyncio.timeout(DEADLINE_SECONDS):
        while third is None:
            third = await _refused(client)
    assert int(third.response.headers["retry-after"]) > 0
    assert len(upstream.calls) == 1
    await call.answer("done")
    await first
    await (await upstream.next_call("second")).answer("done too")


async def _refused(client: openai.AsyncOpenAI) -> openai.APIStatusError | None:
    """Ask while nobody may wait; None while the conversation's reply has not come to stand in the row."""
    try:
        await client.with_options(timeout=0.2).chat.completions.create(model="scripted", messages=QUESTION)
    except openai.RateLimitError as error:
        return error
    except openai.APITimeoutError:
        return None
    raise AssertionError("it was answered")


async def test_drain_lets_answers_end_and_begins_none(site: Site, client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """After SIGTERM what runs goes on to its end, and what comes is sent elsewhere."""
    asked = asyncio.ensure_future(ask(client))
    call = await upstream.next_call()
    await call.say("Well")
    stream = await asked
    site.application.begin_drain()
    with pytest.raises(openai.InternalServerError) as refused:
        await ask(client)
    assert (refused.value.status_code, refused.value.code) == (503, "unavailable")
    await call.answer(", fine")
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Well, fine"


@pytest.mark.parametrize("assistant", [{"shutdown_grace_seconds": 0}], indirect=True)
async def test_drain_has_an_end(site: Site, client: openai.AsyncOpenAI, upstream: ScriptedOpenAI) -> None:
    """What has not ended after the grace gets a last word, and the upstream is let go."""
    asked = asyncio.ensure_future(ask(client))
    call = await upstream.next_call()
    await call.say("Well")
    stream = await asked
    site.application.begin_drain()
    with pytest.raises(openai.APIError, match="The server stopped"):
        async for _ in stream:
            pass
    await call.until_gone()


@pytest.mark.parametrize("assistant", [{"sse": {"heartbeat_seconds": 0.1}}], indirect=True)
async def test_silence_is_filled_with_comments(site: Site, key: str, upstream: ScriptedOpenAI) -> None:
    """A model that takes long keeps its client: a comment now and then, before the first piece and after it."""
    body = {"model": "scripted", "messages": QUESTION, "stream": True}
    async with (
        httpx2.AsyncClient(timeout=DEADLINE_SECONDS, headers={"Authorization": f"Bearer {key}"}) as program,
        program.stream("POST", f"{site.url}/v1/chat/completions", json=body) as answer,
    ):
        pieces = answer.aiter_text()
        assert await anext(pieces) == ": keep-alive\n\n"
        call = await upstream.next_call()
        await call.answer("fine")
        text = "".join([piece async for piece in pieces]).replace(": keep-alive\n\n", "")
    assert json.loads(text.split("\n\n")[0].removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    assert text.endswith("data: [DONE]\n\n")
