"""The promise: two people, one streamed answer, and a `kill -9` in the middle that loses nothing anybody saw."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from rustygpt.database.embedded import EmbeddedPostgres
from tests.person import Event, Person, StreamReader
from tests.server_process import START_SECONDS, ServerProcess
from tests.story_model import SLOW, story_text, story_tokens, write_story_model

TOKENS = story_tokens(1_000)
LAYERS = 4
"""Slow layers cost time and change no word: the model must still be talking when the server is killed."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process with embedded PostgreSQL and a real GGUF model, which tells a known story."""
    data_dir = tmp_path / "data"
    (data_dir / "models").mkdir(parents=True)
    write_story_model(data_dir / "models" / "story.gguf", tokens=TOKENS, layers=LAYERS, feed_forward=SLOW)
    environment = {"RUSTYGPT__ASSISTANT__SHUTDOWN_GRACE_SECONDS": "1", "RUSTYGPT__SSE__DRAIN_SECONDS": "1"}
    process = ServerProcess(data_dir, environment={"CONTEXT_SIZE": "16384", **environment})
    await process.start()
    yield process
    await process.stop()


async def test_kill_in_the_middle_of_an_answer_loses_nothing(server: ServerProcess) -> None:
    """Both readers see the same deltas; after kill -9 and a restart they resume, and the union of what each got equals the log."""
    async with Person(server.url) as ada, Person(server.url) as bob:
        await ada.set_up("Ada")
        await bob.register("Bob")
        await _kill_between(server, ada, bob)


async def _kill_between(server: ServerProcess, ada: Person, bob: Person) -> None:
    conversation = await ada.make_conversation(title="Story", assistant_mode="always")
    await ada.add(conversation, bob)
    path = f"/api/stream/conversations/{conversation}"

    async with ada.stream(path) as of_ada, bob.stream("/api/stream") as of_bob:
        await of_ada.until_type("stream.ready")
        await of_bob.until_type("stream.ready")
        reply = (await ada.say(conversation, "Tell me a story."))["generation"]["message_id"]
        for reader in (of_ada, of_bob):
            await reader.until(lambda r: len(r.text_of(reply)) > 200)
        await server.kill()
        for reader in (of_ada, of_bob):
            await reader.until_closed()
    assert 0 < len(of_ada.text_of(reply)) < len(story_text(TOKENS)), "the model was done before the kill: make it slower"

    await server.start()
    async with (
        ada.stream(path, headers={"Last-Event-ID": of_ada.last_id or ""}) as ada_again,
        bob.stream(f"/api/stream?last_event_id={of_bob.last_id}") as bob_again,
    ):
        for reader in (ada_again, bob_again):
            await reader.until(lambda r: any(e.type == "error" for e in r.events))
            await reader.until(lambda r: r.events[-1].type == "thread.activity")
            assert reader.events[0].payload["resumed"] is True
    await _compare_with_log(server, conversation, of_ada, ada_again)
    await _compare_with_log(server, conversation, of_bob, bob_again)
    told = of_ada.text_of(reply) + ada_again.text_of(reply)
    assert told == of_bob.text_of(reply) + bob_again.text_of(reply)
    await _compare_with_snapshot(bob, reply, told)
    await _ask_again(ada, conversation)


async def _compare_with_snapshot(person: Person, reply: str, told: str) -> None:
    """What REST shows is the partial text that was streamed, closed as interrupted."""
    shown = (await person.get(f"/api/messages/{reply}")).json()
    assert shown["status"] == "interrupted"
    assert shown["finish_reason"] == "error"
    assert shown["error"]["code"] == "generation_interrupted"
    assert shown["content"] == told
    assert story_text(TOKENS).startswith(told)
    assert len(told) > 200


async def _ask_again(person: Person, conversation: str) -> None:
    """The next question is answered whole."""
    async with person.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        reply = (await person.say(conversation, "Again, please."))["generation"]["message_id"]
        await reader.until(lambda r: any(e.type == "message.done" for e in r.events), seconds=300)
        assert reader.text_of(reply) == story_text(TOKENS)


async def test_stop_leaves_no_process_behind(server: ServerProcess) -> None:
    """SIGTERM ends the server with exit code 0, and with it PostgreSQL and the model's engine."""
    async with Person(server.url) as ada:
        await ada.set_up("Ada")
        conversation = await ada.make_conversation()
        async with ada.stream("/api/stream") as reader:
            await ada.say(conversation, "Tell me a story.")
            await reader.until_type("message.delta")
            await ada.post("/api/auth/logout")
    children = psutil.Process(server.pid).children(recursive=True)
    assert len(children) >= 2, "PostgreSQL and the engine run"
    assert await server.stop() == 0
    assert [child for child in children if child.is_running()] == []


async def _compare_with_log(server: ServerProcess, conversation: str, before: StreamReader, after: StreamReader) -> None:
    """Compare what one reader got over two connections with the log itself: nothing lost, nothing twice, no hole in `prev`."""
    got: list[Event] = [*before.logged, *after.logged]
    positions = [event.position for event in got]
    assert positions == sorted(set(positions)), "an event came twice, or out of order"
    postgres = EmbeddedPostgres(server.data_dir, start_seconds=START_SECONDS, is_command=True)
    connection = await asyncpg.connect(postgres.start())
    try:
        rows = await connection.fetch(
            "select position, prev, type from rustygpt.event_log where conversation_id = $1 and position >= $2 order by position",
            conversation,
            positions[0],
        )
    finally:
        await connection.close()
        postgres.stop()
    expected = [(row["position"], row["prev"], row["type"]) for row in rows]
    assert [(e.position, e.body["prev"], e.type) for e in got] == expected
