"""How a conversation's model samples: chosen with the conversation, checked, told to everybody in it, and handed to the model."""

from pathlib import Path
from typing import Any

import pytest

from tests.assistant.exchange import ask, until_status
from tests.assistant.providers.openai_stream import chunk, stream
from tests.person import Person
from tests.scripted_http import Answer, scripted_server
from tests.site import serving, settings_for

CHOSEN = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 64, "stop": ["\n\n"], "seed": 7, "presence_penalty": -1.0}


async def test_parameters_are_kept_replaced_and_reset(ada: Person) -> None:
    """What is chosen at the start is shown; a change replaces all of it, null leaves one to the model, and {} all of them."""
    conversation = await ada.make_conversation(parameters=CHOSEN)
    path = f"/api/conversations/{conversation}"
    assert (await ada.get(path)).json()["parameters"] == CHOSEN
    listed = (await ada.get("/api/conversations")).json()["items"]
    assert [each["parameters"] for each in listed if each["id"] == conversation] == [CHOSEN]
    changed = await ada.request("PATCH", path, json={"parameters": {"seed": 8, "temperature": None}})
    assert changed.json()["parameters"] == {"seed": 8}
    assert (await ada.request("PATCH", path, json={"title": "Other"})).json()["parameters"] == {"seed": 8}
    assert (await ada.request("PATCH", path, json={"parameters": {}})).json()["parameters"] == {}


async def test_change_is_told_to_those_in_the_conversation(ada: Person) -> None:
    """conversation.updated carries the parameters."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as reader:
        await ada.request("PATCH", f"/api/conversations/{conversation}", json={"parameters": {"seed": 8}})
        assert (await reader.until_type("conversation.updated")).payload["parameters"] == {"seed": 8}


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 2.1},
        {"temperature": "hot"},
        {"top_p": 0},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": 1.5},
        {"stop": "word"},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"stop": [""]},
        {"stop": ["\0"]},
        {"seed": -1},
        {"seed": 2**31},
        {"mood": "good"},
        [],
        None,
    ],
)
async def test_wrong_parameters_are_refused(ada: Person, wrong: Any) -> None:
    """Out of range, of another type or unknown: 422 that names the field, and no conversation."""
    answer = await ada.post("/api/conversations", {"title": "A", "parameters": wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("parameters")
    assert (await ada.get("/api/conversations")).json()["items"] == []


async def test_repeated_request_with_other_parameters_is_a_conflict(ada: Person) -> None:
    """The same key asks for the same."""
    first = {"title": "A", "client_id": "one", "parameters": {"seed": 1}}
    assert (await ada.post("/api/conversations", first)).status_code == 201
    assert (await ada.post("/api/conversations", first)).status_code == 201
    assert (await ada.post("/api/conversations", {**first, "parameters": {"seed": 2}})).status_code == 409


async def test_model_is_asked_with_the_parameters(dsn: str, data_dir: Path) -> None:
    """An OpenAI-compatible server gets each of them with the conversation's next question."""
    async with scripted_server() as server:
        server.answer("/v1/models", Answer((b'{"data": [{"id": "gpt"}]}',)))
        server.answer("/v1/chat/completions", stream(chunk(content="Hello"), chunk("stop")))
        provider = {"kind": "openai", "name": "other", "base_url": f"{server.base_url}/v1"}
        settings = settings_for(data_dir, assistant={"providers": (provider,), "demo": {"enabled": False}})
        async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
            conversation = await ada.make_conversation(parameters=CHOSEN)
            async with ada.stream(f"/api/stream/conversations/{conversation}") as reader:
                await ada.say(conversation, "Hello")
                await reader.until_type("message.done")
        (asked,) = [request.body for request in server.requests if request.path == "/v1/chat/completions"]
        assert {name: asked.get(name) for name in CHOSEN} == CHOSEN


async def test_what_a_provider_does_not_heed_is_told(ada: Person) -> None:
    """The demo heeds max_tokens alone; the reply names the rest."""
    conversation = await ada.make_conversation(parameters={"temperature": 0.5, "max_tokens": 64, "seed": 7})
    reply = await until_status(ada, await ask(ada, conversation, "Hello"), "complete")
    assert reply["context"]["ignored"] == ["temperature", "seed"]
