"""An answer of /v1 ends with the credential that it was asked with: on every process, streamed or whole, and the upstream is let go."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.assistant.conftest import scripted_settings
from tests.assistant.exchange import until_status
from tests.openai_api.test_upstream import QUESTION, assistant, metric, site, upstream  # noqa: F401 - fixtures
from tests.person import DEADLINE_SECONDS, Person
from tests.scripted_openai import ScriptedOpenAI
from tests.site import Site, serving, settings_for

SOON_SECONDS = 25.0
"""Less than the 30 s of sse.session_poll_seconds: what ends so soon was told by a signal. When all is well it is milliseconds."""


class Program:
    """A user's program with a key, and the key's id."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.key_id = made["id"]
        self.headers = {"Authorization": f"Bearer {made['key']}"}

        self.has_heard = asyncio.Event()

    async def ask(self, site: Site, **fields: Any) -> tuple[int, str]:  # noqa: F811
        """Return status and body of a whole exchange; `has_heard` is set when the model's first word has come."""
        body, text = {"model": "scripted", "messages": QUESTION, **fields}, ""
        async with (
            httpx2.AsyncClient(timeout=DEADLINE_SECONDS, headers=self.headers) as client,
            client.stream("POST", f"{site.url}/v1/chat/completions", json=body) as answer,
        ):
            async for piece in answer.aiter_text():
                text += piece
                if "Well" in text:
                    self.has_heard.set()
        return answer.status_code, text


@pytest.fixture
async def program(bob: Person) -> Program:
    """Bob's."""
    return Program((await bob.post("/api/keys", {"name": "Program", "scopes": ["v1"]})).json())


def last_error(text: str) -> dict[str, Any]:
    """The error event that is a stream's end."""
    error: dict[str, Any] = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    return error


async def disable(ada: Person, bob: Person) -> None:
    """Shut Bob's account."""
    assert (await ada.request("PATCH", f"/api/admin/users/{bob.id}", json={"status": "disabled"})).status_code == 200


async def test_revoked_key_ends_its_answers(
    site: Site,  # noqa: F811
    bob: Person,
    program: Program,
    upstream: ScriptedOpenAI,  # noqa: F811
) -> None:
    """A stream's last event is the error that the next request would get, a whole answer is that 401; quota and places are settled."""
    streamed = asyncio.ensure_future(program.ask(site, stream=True))
    first = await upstream.next_call()
    await first.say("Well")
    whole = asyncio.ensure_future(program.ask(site))
    second = await upstream.next_call()
    async with asyncio.timeout(SOON_SECONDS):
        await program.has_heard.wait()
        assert (await bob.request("DELETE", f"/api/keys/{program.key_id}")).status_code == 204
        status, text = await streamed
        refused, body = await whole
    assert (status, refused) == (200, 401)
    assert [last_error(text)["code"], json.loads(body)["error"]["code"]] == ["invalid_api_key", "invalid_api_key"]
    await first.until_gone()
    await second.until_gone()
    assert await metric(site, "rustygpt_generations_running ") == 0
    used = (await bob.get("/api/usage")).json()
    assert (used["generations"]["used"], used["generations"]["reserved"]) == (1, 0), used  # what said nothing costs nothing


async def test_disabled_account_ends_its_answers(
    site: Site,  # noqa: F811
    ada: Person,
    bob: Person,
    program: Program,
    upstream: ScriptedOpenAI,  # noqa: F811
) -> None:
    """423 for a whole answer, its code in a stream; others' answers go on."""
    hers = Program((await ada.post("/api/keys", {"name": "Other", "scopes": ["v1"]})).json())
    going_on = asyncio.ensure_future(hers.ask(site))
    other = await upstream.next_call()
    streamed = asyncio.ensure_future(program.ask(site, stream=True))
    await (await upstream.next_call()).say("Well")
    await asyncio.wait_for(program.has_heard.wait(), DEADLINE_SECONDS)
    whole = asyncio.ensure_future(program.ask(site))
    call = await upstream.next_call()
    async with asyncio.timeout(SOON_SECONDS):
        await disable(ada, bob)
        _, text = await streamed
        refused, body = await whole
    assert last_error(text)["code"] == "account_disabled"
    assert (refused, json.loads(body)["error"]["code"]) == (423, "account_disabled")
    await call.until_gone()
    await other.answer("fine")
    assert (await going_on)[0] == 200


async def test_ended_session_ends_its_answers(bob: Person, upstream: ScriptedOpenAI) -> None:  # noqa: F811
    """A browser's answer ends when somebody signs that session out."""
    asked = asyncio.ensure_future(bob.post("/v1/chat/completions", {"model": "scripted", "messages": QUESTION}))
    call = await upstream.next_call()
    async with asyncio.timeout(SOON_SECONDS):
        sessions = (await bob.get("/api/auth/sessions")).json()["items"]
        await bob.request("DELETE", f"/api/auth/sessions/{sessions[0]['id']}")
        answer = await asked
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "session_expired")
    await call.until_gone()


async def test_stored_answer_ends_too(
    site: Site,  # noqa: F811
    bob: Person,
    program: Program,
    upstream: ScriptedOpenAI,  # noqa: F811
) -> None:
    """The reply in the thread is stopped, and keeps what was said."""
    conversation = await bob.make_conversation()
    asked = asyncio.ensure_future(program.ask(site, stream=True, metadata={"rustygpt": {"conversation_id": conversation}}))
    call = await upstream.next_call()
    await call.say("Well")
    async with asyncio.timeout(SOON_SECONDS):
        await program.has_heard.wait()
        await bob.request("DELETE", f"/api/keys/{program.key_id}")
        _, text = await asked
    assert last_error(text)["code"] == "invalid_api_key"
    await call.until_gone()
    stored = text.partition('"message_id":"')[2].partition('"')[0]
    assert (await until_status(bob, stored, "cancelled"))["content"] == "Well"


async def test_answer_of_another_process_ends(dsn: str, data_dir: Path, upstream: ScriptedOpenAI) -> None:  # noqa: F811
    """The key is revoked at one process, and the answer of another ends."""
    base = scripted_settings(data_dir, upstream).model_dump(exclude_unset=True)
    settings = type(scripted_settings(data_dir, upstream)).model_validate({**base, "bus": {"kind": "postgres"}})
    async with serving(settings, dsn) as here, serving(settings, dsn) as there, await Person(here.url).set_up("Ada") as ada:
        program = Program((await ada.post("/api/keys", {"name": "Program", "scopes": ["v1"]})).json())
        asked = asyncio.ensure_future(program.ask(there, stream=True))
        call = await upstream.next_call()
        await call.say("Well")
        async with asyncio.timeout(SOON_SECONDS):
            await program.has_heard.wait()
            assert (await ada.request("DELETE", f"/api/keys/{program.key_id}")).status_code == 204
            _, text = await asked
        assert last_error(text)["code"] == "invalid_api_key"
        await call.until_gone()


async def test_embeddings_end_with_their_key(dsn: str, data_dir: Path) -> None:
    """A provider that takes long over vectors is let go, and the program gets 401."""
    asked_for, gone = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/embeddings" not in head:
            body = b'{"data":[{"id":"embedder"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        else:
            asked_for.set()
            while await reader.read(65_536):
                pass
            gone.set()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        provider = {"kind": "openai", "name": "slow", "base_url": url, "models": ["text-embedding-slow"]}
        settings = settings_for(data_dir, assistant={"providers": [provider]})
        async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
            program = Program((await ada.post("/api/keys", {"name": "Program", "scopes": ["v1"]})).json())
            async with httpx2.AsyncClient(timeout=DEADLINE_SECONDS, headers=program.headers) as client:
                body = {"model": "text-embedding-slow", "input": "x"}
                asked = asyncio.ensure_future(client.post(f"{site.url}/v1/embeddings", json=body))
                async with asyncio.timeout(SOON_SECONDS):
                    await asked_for.wait()
                    await ada.request("DELETE", f"/api/keys/{program.key_id}")
                    answer = await asked
                    await gone.wait()
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
