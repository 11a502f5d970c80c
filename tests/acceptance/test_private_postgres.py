"""The private PostgreSQL is killed under a running server: it is started again, and nobody who reads or writes is lost."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.person import DEADLINE_SECONDS, Person
from tests.scripted_openai import Call, ScriptedOpenAI, scripted_openai
from tests.server_process import ServerProcess

pytestmark = pytest.mark.acceptance


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """A model that speaks on cue."""
    async with scripted_openai() as served:
        yield served


@pytest.fixture
async def server(tmp_path: Path, upstream: ScriptedOpenAI) -> AsyncIterator[ServerProcess]:
    """A server process with a private PostgreSQL and that model."""
    environment = {
        "OPENAI_API_BASE_URL": upstream.base_url,
        "RUSTYGPT__ASSISTANT__LLAMA_CPP__ENABLED": "false",
        "RUSTYGPT__SSE__DRAIN_SECONDS": "1",
    }
    process = ServerProcess(tmp_path / "data", environment=environment)
    await process.start()
    yield process
    await process.stop()


def postmaster(server: ServerProcess) -> int:
    """The process id of the server's PostgreSQL."""
    return int((server.data_dir / "postgres/cluster/postmaster.pid").read_text().split()[0])


def logged(server: ServerProcess, event: str) -> list[dict[str, Any]]:
    """What the server logged under a name."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


async def until_logged(server: ServerProcess, event: str, count: int) -> None:
    """Wait until *event* was logged so many times."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while len(logged(server, event)) < count:  # noqa: ASYNC110  # a file has no event to wait for
            await asyncio.sleep(0.02)


async def until_ready(person: Person) -> None:
    """Wait until the server says that it is ready."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await person.get("/readyz")).status_code != 200:  # noqa: ASYNC110  # it can only be asked
            await asyncio.sleep(0.05)


async def test_killed_private_postgres_comes_back(server: ServerProcess, upstream: ScriptedOpenAI) -> None:
    """Two kills -9 under a running reply: the stream is not cut, the reply is whole, and SIGTERM leaves nothing behind."""
    pids = [postmaster(server)]
    said = ""
    async with Person(server.url) as ada:
        await ada.set_up("Ada")
        conversation = await ada.make_conversation(assistant_mode="always")
        async with ada.stream(f"/api/stream/conversations/{conversation}") as reader:
            await reader.until_type("stream.ready")
            reply = (await ada.say(conversation, "Tell me everything."))["generation"]["message_id"]
            call = await upstream.next_call()
            for number in (1, 2):
                said += await _say(call, f"before kill {number}, ")
                await reader.until(lambda r, text=said: r.text_of(reply) == text)
                os.kill(pids[-1], signal.SIGKILL)
                said += await _say(call, f"after kill {number}, ")
                await until_logged(server, "private_postgres_restarted", number)
                await until_ready(ada)
                pids.append(postmaster(server))
                await reader.until(lambda r, text=said: r.text_of(reply) == text)
            await call.finish()
            await reader.until_type("message.done")
            assert not reader.is_closed
        assert (await ada.get(f"/api/messages/{reply}")).json()["status"] == "complete"
    assert len(set(pids)) == 3
    assert [line["exit_code"] for line in logged(server, "private_postgres_died")] == [-signal.SIGKILL] * 2
    assert await server.stop() == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert not (server.data_dir / "postgres/cluster/postmaster.pid").exists()


async def _say(call: Call, text: str) -> str:
    await call.say(text)
    return text


async def test_private_postgres_beyond_repair_ends_the_process(server: ServerProcess) -> None:
    """When it cannot be started again, the process ends with 1, and says why and what to do."""
    control = server.data_dir / "postgres/cluster/global/pg_control"
    control.rename(control.with_suffix(".away"))
    os.kill(postmaster(server), signal.SIGKILL)
    assert await server.ended() == 1
    assert len(logged(server, "private_postgres_not_restarted")) == 3
    said = server.log.read_text()
    assert "error: The private PostgreSQL died and could not be started again in 3 tries (its log:" in said
    assert "Set DATABASE_URL to use a PostgreSQL of your own." in said
