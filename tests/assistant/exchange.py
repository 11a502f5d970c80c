"""Short forms for tests of replies: ask, wait for the last word, read the message."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.person import Person, StreamReader

DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""
END_TYPES = ("message.done", "error")


async def ask(person: Person, conversation: str, text: str, **fields: Any) -> str:
    """Post *text* and return the id of the reply that it queued."""
    posted = await person.say(conversation, text, **fields)
    assert posted["generation"] is not None, "nobody was addressed"
    assert posted["generation"]["state"] == "queued"
    return str(posted["generation"]["message_id"])


async def read(person: Person, message: str) -> dict[str, Any]:
    """Return one message."""
    answer = await person.get(f"/api/messages/{message}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def stop(person: Person, message: str) -> dict[str, Any]:
    """Press Stop and return the answer."""
    answer = await person.post(f"/api/messages/{message}/cancel")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def until_status(person: Person, message: str, *statuses: str) -> dict[str, Any]:
    """Wait until a message has one of *statuses*, and return it."""
    found: dict[str, Any] = {}

    async def has_status() -> bool:
        found.update(await read(person, message))
        return found["status"] in statuses

    await until(has_status)
    return found


async def until(fact: Callable[[], Awaitable[Any]], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until *fact* is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await fact():  # noqa: ASYNC110 - nobody signals what the database holds
            await asyncio.sleep(0.01)


async def until_done(reader: StreamReader, message: str) -> list[tuple[str, dict[str, Any]]]:
    """Wait for a reply's last word on a stream and for what follows it; return (type, payload) of both."""

    def is_told(stream: StreamReader) -> bool:
        kinds = [event.type for event in stream.events]
        ends = [
            n for n, event in enumerate(stream.events) if event.type == "message.done" and event.payload["message_id"] == message
        ]
        return bool(ends) and "thread.activity" in kinds[ends[0] :]

    await reader.until(is_told)
    return [
        (event.type, event.payload)
        for event in reader.events
        if event.type in END_TYPES and event.payload.get("message_id") == message
    ]
