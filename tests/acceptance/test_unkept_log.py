"""sse.persistence.enabled = false under kill -9: of the server, which keeps the text, and of PostgreSQL, which says that it lost it."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.person import Person, StreamReader
from tests.server_process import ServerProcess

COUNTED = "count to 100000"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process with embedded PostgreSQL that keeps no events."""
    process = ServerProcess(tmp_path / "data", environment={"RUSTYGPT__SSE__PERSISTENCE__ENABLED": "false"})
    await process.start()
    yield process
    await process.stop()


async def ask_until(person: Person, reader: StreamReader, conversation: str, characters: int) -> str:
    """Ask for a long answer and read some of it; return the reply's id."""
    await reader.until_type("stream.ready")
    reply = str((await person.say(conversation, COUNTED))["generation"]["message_id"])
    await reader.until(lambda r: len(r.text_of(reply)) > characters)
    return reply


async def test_kill_in_the_middle_of_an_answer_keeps_its_text(server: ServerProcess) -> None:
    """The message ends as interrupted with what was shown, old cursors get a gap under another epoch, and the next question is answered."""
    ada = await Person(server.url).set_up("Ada")
    conversation = await ada.make_conversation()
    async with ada.stream("/api/stream") as before:
        reply = await ask_until(ada, before, conversation, 60)
        await server.kill()
        await before.until_closed()
    await server.start()
    async with ada.stream("/api/stream", headers={"Last-Event-ID": before.last_id or ""}) as after:
        gap = await after.until_type("stream.gap")
        assert (gap.payload["reason"], gap.payload["from"]) == ("unknown_cursor", before.last_id)
        shown = (await ada.get(f"/api/messages/{reply}")).json()
        assert (shown["status"], shown["error"]["code"]) == ("interrupted", "generation_interrupted")
        assert shown["content"].startswith(before.text_of(reply))
        short = (await ada.say(conversation, "count to 3"))["generation"]["message_id"]
        await after.until_type("message.done")
        assert after.text_of(short) == "1 2 3"
    await ada.close()


async def test_crash_of_postgresql_is_announced(server: ServerProcess) -> None:
    """A crash empties the log under a running server: readers get a gap, the reply ends without half a text, the next one is whole."""
    ada = await Person(server.url).set_up("Ada")
    conversation = await ada.make_conversation()
    async with ada.stream("/api/stream") as before:
        reply = await ask_until(ada, before, conversation, 60)
        os.kill(_backend(server.data_dir), signal.SIGKILL)  # PostgreSQL then ends all others and recovers
        await before.until_closed()
    async with ada.stream("/api/stream", headers={"Last-Event-ID": before.last_id or ""}) as after:
        gap = await after.until_type("stream.gap")
        assert (gap.payload["reason"], gap.payload["from"]) == ("unknown_cursor", before.last_id)
        done = await after.until_type("message.done")
        assert (done.payload["message_id"], done.payload["finish_reason"], done.payload["chunks"]) == (reply, "error", 0)
        shown = (await ada.get(f"/api/messages/{reply}")).json()
        assert (shown["status"], shown["content"]) == ("interrupted", "")
        short = (await ada.say(conversation, "count to 3"))["generation"]["message_id"]
        await after.until(lambda r: sum(e.type == "message.done" for e in r.events) == 2)
        assert after.text_of(short) == "1 2 3"
    await ada.close()


def _backend(data_dir: Path) -> int:
    """Return the process id of a connection of the server's to its private PostgreSQL."""
    postmaster = int((data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return next(int(pid) for pid in children if b"[local]" in Path(f"/proc/{pid}/cmdline").read_bytes())
