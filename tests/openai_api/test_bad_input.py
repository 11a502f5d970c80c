"""What a client may get wrong: always OpenAI's shape, the class of error that its client knows, the field, and nothing done."""

import asyncio
from typing import Any

import httpx2
import openai
import pytest

from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site

MESSAGES = [{"role": "user", "content": "count to 2"}]
GOOD: dict[str, Any] = {"model": "demo", "messages": MESSAGES}
TOOL = {"type": "function", "function": {"name": "f"}}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"messages": MESSAGES}, "model"),
    "a number for a model": ({**GOOD, "model": 5}, "model"),
    "no messages": ({"model": "demo"}, "messages"),
    "empty messages": ({**GOOD, "messages": []}, "messages"),
    "messages as a text": ({**GOOD, "messages": "hi"}, "messages"),
    "a message as a text": ({**GOOD, "messages": ["hi"]}, "messages.0"),
    "no role": ({**GOOD, "messages": [{"content": "x"}]}, "messages.0.role"),
    "a bad role": ({**GOOD, "messages": [*MESSAGES, {"role": "root", "content": "x"}]}, "messages.1.role"),
    "a number for a role": ({**GOOD, "messages": [{"role": 1, "content": "x"}]}, "messages.0.role"),
    "no content": ({**GOOD, "messages": [{"role": "user"}]}, "messages.0.content"),
    "a number for content": ({**GOOD, "messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    "no parts": ({**GOOD, "messages": [{"role": "user", "content": []}]}, "messages.0.content"),
    "an unknown part": ({**GOOD, "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0"),
    "a picture from a file": (
        {**GOOD, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        "messages.0.content.0.image_url",
    ),
    "a picture for who is blind": (
        {**GOOD, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]},
        "messages",
    ),
    "a tool's answer to nothing": ({**GOOD, "messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    "calls of a user": ({**GOOD, "messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]}, "messages.0.tool_calls"),
    "a call without a name": (
        {**GOOD, "messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}]},
        "messages.0.tool_calls.0",
    ),
    "a negative limit": ({**GOOD, "max_tokens": -1}, "max_tokens"),
    "no tokens at all": ({**GOOD, "max_completion_tokens": 0}, "max_completion_tokens"),
    "half a token": ({**GOOD, "max_tokens": 1.5}, "max_tokens"),
    "a huge limit": ({**GOOD, "max_tokens": 2**80}, "max_tokens"),
    "a hot temperature": ({**GOOD, "temperature": 2.5}, "temperature"),
    "a temperature in words": ({**GOOD, "temperature": "hot"}, "temperature"),
    "a share above one": ({**GOOD, "top_p": 1.01}, "top_p"),
    "a penalty too far": ({**GOOD, "presence_penalty": -2.1}, "presence_penalty"),
    "yes for stream": ({**GOOD, "stream": "yes"}, "stream"),
    "a word for its options": ({**GOOD, "stream": True, "stream_options": "all"}, "stream_options"),
    "five stops": ({**GOOD, "stop": ["a", "b", "c", "d", "e"]}, "stop"),
    "an empty stop": ({**GOOD, "stop": [""]}, "stop"),
    "a seed in words": ({**GOOD, "seed": "one"}, "seed"),
    "a form nobody knows": ({**GOOD, "response_format": {"type": "xml"}}, "response_format"),
    "a tool without a name": ({**GOOD, "tools": [{"type": "function", "function": {}}]}, "tools"),
    "tools as an object": ({**GOOD, "tools": TOOL}, "tools"),
    "a choice nobody knows": ({**GOOD, "tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice"),
    "NUL": ({**GOOD, "messages": [{"role": "user", "content": "a\0b"}]}, "messages.0.content"),
    "a place that is none": (
        {**GOOD, "metadata": {"rustygpt": {"conversation_id": "here"}}},
        "metadata.rustygpt.conversation_id",
    ),
}


@pytest.fixture
async def program(site: Site, key: str) -> httpx2.AsyncClient:
    """A program that writes its own bodies."""
    return httpx2.AsyncClient(base_url=f"{site.url}/v1", timeout=DEADLINE_SECONDS, headers={"Authorization": f"Bearer {key}"})


async def test_each_wrong_body_names_its_field(program: httpx2.AsyncClient) -> None:
    """400 with the field, whatever the client got wrong, streamed or not."""
    async with program:
        for name, (body, field) in WRONG.items():
            for stream in ({}, {"stream": True}) if "stream" not in body else ({},):
                answer = await program.post("/chat/completions", json={**body, **stream})
                error = answer.json()["error"]
                assert (name, answer.status_code, error["type"]) == (name, 400, "invalid_request_error")
                assert str(error["param"]).startswith(field), (name, error)
                assert set(error) == {"message", "type", "param", "code"}


NONE: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"{", {}, 400, "invalid_request"),
    (b"[]", {}, 400, "invalid_request"),
    (b"", {}, 400, "invalid_request"),
    (b'{"model":"demo","model":"x","messages":[]}', {}, 400, "invalid_request"),
    (b'{"x":' * 100 + b"1" + b"}" * 100, {}, 400, "invalid_request"),
    (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    (b'{"messages":"' + b"x" * 2_000_000 + b'"}', {}, 413, "request_too_large"),
]


async def test_bodies_that_are_none(program: httpx2.AsyncClient) -> None:
    """Not JSON, not an object, twice the same key, too deep, too large: told apart, in OpenAI's shape."""
    async with program:
        for content, headers, status, code in NONE:
            all_headers = {"Content-Type": "application/json", **headers}
            answer = await program.post("/chat/completions", content=content, headers=all_headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_addresses_that_are_none(program: httpx2.AsyncClient) -> None:
    """404 and 405 under /v1 have OpenAI's shape; the method is named."""
    async with program:
        missing = await program.get("/nothing/here")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
        wrong = await program.get("/chat/completions")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
        assert "POST" in wrong.headers["allow"]


async def test_errors_are_those_that_the_client_knows(site: Site, ada: Person, client: openai.AsyncOpenAI) -> None:
    """The client raises the class of each status, with code and parameter."""
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as unlisted:
        await client.models.retrieve("nobody")
    assert unlisted.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=-5)
    assert bad.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError) as cannot:
        await client.embeddings.create(model="demo", input="x")
    assert "cannot make embeddings" in cannot.value.message
    stranger = client.with_options(api_key="sk-" + "x" * 43)
    with pytest.raises(openai.AuthenticationError) as refused:
        await stranger.models.list()
    assert refused.value.code == "invalid_api_key"
    made = await ada.post("/api/keys", {"name": "Chat", "scopes": ["chat"]})
    with pytest.raises(openai.PermissionDeniedError):
        await client.with_options(api_key=made.json()["key"]).models.list()


async def test_limits_of_ours_are_rate_limits(site: Site, ada: Person, client: openai.AsyncOpenAI) -> None:
    """A profile on /v1 refuses with 429, the client's RateLimitError, and says when to come again."""
    profile = {"name": "once", "requests": 1, "per_seconds": 3_600, "burst": 1}
    made = await ada.post("/api/admin/limits/profiles", profile)
    await ada.post("/api/admin/limits/assignments", {"profile_id": made.json()["id"], "route": "/v1/*"})
    limited = None
    async with asyncio.timeout(DEADLINE_SECONDS):
        while limited is None:
            limited = await _limit_of(client)
    assert limited.code == "rate_limit_exceeded"
    assert int(limited.response.headers["retry-after"]) > 0


async def _limit_of(client: openai.AsyncOpenAI) -> openai.RateLimitError | None:
    try:
        await client.models.list()
    except openai.RateLimitError as error:
        return error
    return None


async def test_quota_is_a_rate_limit(site: Site, ada: Person, client: openai.AsyncOpenAI) -> None:
    """Whoever has used up their tokens is told so before the model is asked, streamed or not."""
    answer = await ada.request("PUT", f"/api/admin/users/{ada.id}/quota", json={"generations": 1, "tokens": None})
    assert answer.status_code == 200, answer.text
    await client.chat.completions.create(model="demo", messages=MESSAGES)
    for stream in (False, True):
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="demo", messages=MESSAGES, stream=stream)


NO_INPUTS: list[Any] = ["", [], [""], ["a", 5], [[1, 2]], [1, 2], 5, None, ["x"] * 2_049]


async def test_inputs_that_are_none(program: httpx2.AsyncClient) -> None:
    """Nothing, tokens, numbers, too many texts: 400 that names the input."""
    async with program:
        for wrong in NO_INPUTS:
            answer = await program.post("/embeddings", json={"model": "demo", "input": wrong})
            error = answer.json()["error"]
            assert (answer.status_code, str(error["param"]).startswith("input")) == (400, True), error
