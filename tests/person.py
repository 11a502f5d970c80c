"""A person with a browser's manners: keeps cookies, sends the CSRF token, and reads event streams with a parser of their own."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2

DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it came: `id` is None where the frame had none."""

    id: str | None
    type: str
    body: dict[str, Any]

    @property
    def payload(self) -> Any:
        return self.body["payload"]

    @property
    def position(self) -> int:
        assert self.id is not None
        return int(self.id.rpartition("-")[2])


class StreamReader:
    """Collects the events of one stream, as they come."""

    examine_event: Callable[[dict[str, Any]], None] | None = None
    """Told of every event, as Person's `examine_answer` of answers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.comments: list[str] = []
        self.retries: list[int] = []
        self.raw = bytearray()
        self.is_closed = False
        self._changed = asyncio.Event()
        self._buffer = b""

    @property
    def last_id(self) -> str | None:
        """The id that a browser would send when it reconnects."""
        return next((event.id for event in reversed(self.events) if event.id), None)

    @property
    def logged(self) -> list[Event]:
        """Events of the log: with an id, and not what the stream says of itself."""
        return [event for event in self.events if event.id and not event.type.startswith("stream.")]

    def text_of(self, message_id: str) -> str:
        """The deltas of a message, joined."""
        return "".join(
            event.payload["choices"][0]["delta"]["content"]
            for event in self.events
            if event.type == "message.delta" and event.payload["message_id"] == message_id
        )

    async def until(self, condition: Callable[[Self], Any], seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until *condition* holds for what was read. Raises TimeoutError, telling what was read, at once where the stream has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    if self.is_closed:
                        raise TimeoutError  # nothing more will be read
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            read = [(event.id, event.type) for event in self.events[-20:]]
            raise TimeoutError(f"not within {seconds} s; closed={self.is_closed}; read {read}") from None

    async def until_type(self, kind: str, seconds: float = DEADLINE_SECONDS) -> Event:
        """Wait for the first event of a type."""
        await self.until(lambda reader: any(event.type == kind for event in reader.events), seconds)
        return next(event for event in self.events if event.type == kind)

    async def until_closed(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until the server has ended the stream."""
        await self.until(lambda reader: reader.is_closed, seconds)

    def feed(self, data: bytes) -> None:
        """Take bytes from the wire."""
        self.raw += data
        *blocks, self._buffer = (self._buffer + data).split(b"\n\n")
        for block in blocks:
            self._take(block.decode())
        self._changed.set()

    def close(self) -> None:
        """The stream has ended."""
        self.is_closed = True
        self._changed.set()

    def _take(self, block: str) -> None:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if not name:
                self.comments.append(value.strip())
            else:
                assert name not in fields, f"field {name} twice in {block!r}"
                fields[name] = value.removeprefix(" ")
        if "retry" in fields:
            self.retries.append(int(fields["retry"]))
        if "data" in fields:
            event = Event(fields.get("id"), fields["event"], json.loads(fields["data"]))
            self.events.append(event)
            if self.examine_event:
                self.examine_event(event.body)


class Person:
    """Somebody with a session, until `close` or the end of the block. `request` and its short forms send the CSRF token of the moment."""

    examine_answer: Callable[[httpx2.Response], Awaitable[None]] | None = None
    """Told of every answer; tests/conftest.py has it compared with the API's description."""

    def __init__(self, url: str) -> None:
        hooks = {"response": [self.examine_answer]} if self.examine_answer else {}
        self.client = httpx2.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS, event_hooks=hooks)
        self.id = ""
        self.email = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def set_up(self, name: str) -> Self:
        """Become the first administrator."""
        return await self._enter("/api/setup", name)

    async def register(self, name: str) -> Self:
        """Make an account where sign-up is open."""
        return await self._enter("/api/auth/register", name)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return await self.request("POST", path, json=body, **options)

    async def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> httpx2.Response:
        token = self.client.cookies.get("CSRF-TOKEN")
        all_headers = {**({"X-CSRF-TOKEN": token} if token else {}), **(headers or {})}
        return await self.client.request(method, path, headers=all_headers, **options)

    async def make_conversation(self, **fields: Any) -> str:
        """Create a conversation and return its id."""
        answer = await self.post("/api/conversations", {"title": "A conversation", **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def add(self, conversation_id: str, other: "Person", role: str = "member") -> None:
        """Bring another person into a conversation."""
        answer = await self.post(f"/api/conversations/{conversation_id}/participants", {"user_id": other.id, "role": role})
        assert answer.status_code == 201, answer.text

    async def say(self, conversation_id: str, content: str, **fields: Any) -> dict[str, Any]:
        """Post a message and return the answer."""
        answer = await self.post(f"/api/conversations/{conversation_id}/messages", {"content": content, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    @asynccontextmanager
    async def stream(self, path: str, **options: Any) -> AsyncIterator[StreamReader]:
        """Read a stream in the background while the block runs."""
        reader = StreamReader()
        opened = asyncio.Event()

        async def read() -> None:
            try:
                async with self.client.stream("GET", path, timeout=None, **options) as response:
                    assert response.status_code == 200, (await response.aread()).decode()
                    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
                    opened.set()
                    async for data in response.aiter_raw():
                        reader.feed(data)
            except (httpx2.RemoteProtocolError, httpx2.ReadError):
                pass  # the server was killed: for a reader that is an end like any other
            finally:
                reader.close()
                opened.set()

        async with asyncio.TaskGroup() as group:
            task = group.create_task(read())
            async with asyncio.timeout(DEADLINE_SECONDS):
                await opened.wait()
            try:
                yield reader
            finally:
                task.cancel()

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def _enter(self, path: str, name: str) -> Self:
        self.email = f"{name.lower().replace(' ', '.')}@example.org"
        body = {"email": self.email, "password": "correct horse battery", "display_name": name}
        answer = await self.post(path, body)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["user"]["id"]
        return self
