"""A model whose every word is the test's: an OpenAI-compatible server that speaks on cue, hangs, refuses, babbles or dies.

Each chat request becomes a `Call` that the test drives; what a test does not say is not sent, so "before the first token" is a
state, not a race. A call knows whether the client has closed its connection, and how many bytes the client has let it write.
"""

import asyncio
import json
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""
SEND_BUFFER_BYTES = 16_384
"""Small, so that what the client does not read is soon noticed here."""


class Call:
    """One chat completion under way."""

    def __init__(self, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        self.body = body
        self.headers = headers
        self.gone = asyncio.Event()
        self.over = asyncio.Event()
        self.written_bytes = 0
        self._writer = writer
        self._has_begun = False

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt."""
        return list(self.body["messages"])

    @property
    def system(self) -> str:
        """The system prompt, empty without one."""
        return "\n".join(message["content"] for message in self.messages if message["role"] == "system")

    @property
    def turns(self) -> list[tuple[str, str]]:
        """The prompt without its system message, as (role, content)."""
        return [(message["role"], message["content"]) for message in self.messages if message["role"] != "system"]

    @property
    def is_blocked(self) -> bool:
        """Whether there is something to send, and the client's side takes none of it."""
        transport = self._writer.transport
        return (
            transport.get_write_buffer_size() > 0
            and not select.select([], [transport.get_extra_info("socket").fileno()], [], 0)[1]
        )

    async def say(self, *texts: str) -> None:
        """Send one delta for each text."""
        for text in texts:
            await self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})

    async def finish(self, reason: str = "stop", usage: dict[str, Any] | None = None) -> None:
        """End as the protocol wants it."""
        await self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if usage is not None:
            await self.event({"choices": [], "usage": usage})
        await self.raw(b"data: [DONE]\n\n")
        self.hang_up()

    async def answer(self, text: str, usage: dict[str, Any] | None = None) -> None:
        """Say one thing and finish."""
        await self.say(text)
        await self.finish(usage=usage)

    async def event(self, data: object) -> None:
        """Send one server-sent event."""
        await self.raw(b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n")

    async def raw(self, data: bytes) -> None:
        """Send bytes into the body of a 200."""
        if not self._has_begun:
            await self._begin("200 OK", "text/event-stream")
        await self._write(data)

    async def respond(self, status: str, content_type: str, body: bytes) -> None:
        """Answer something else, whole."""
        await self._begin(status, content_type)
        await self._write(body)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection properly; without `finish` that is a reply cut short."""
        self.over.set()

    def die(self) -> None:
        """Reset the connection, as a killed server does."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: close sends RST
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()
        self.over.set()

    async def until_gone(self) -> None:
        """Wait until the client has closed its connection. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.gone.wait()

    async def _begin(self, status: str, content_type: str) -> None:
        self._has_begun = True
        self._writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n".encode())
        await self._writer.drain()

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self.written_bytes += len(data)


Script = Callable[[Call], Awaitable[None]]


class ScriptedOpenAI:
    """The server. *script*, if set, drives each call by itself; else the test takes calls by `next_call`."""

    def __init__(self) -> None:
        self.base_url = ""
        self.models = ["scripted"]
        self.may_list = asyncio.Event()
        self.may_list.set()
        self.listed = asyncio.Event()
        self.script: Script | None = None
        self.calls: list[Call] = []
        self._waiting: list[Call] = []
        self._has_come = asyncio.Event()

    async def next_call(self, about: str = "") -> Call:
        """Wait for the next chat request, or for the one whose last turn is *about* this. Raises TimeoutError.

        Questions that are asked at the same time come in any order: who expects two says which is which.
        """
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                for call in self._waiting:
                    if not about or about in call.turns[-1][1]:
                        self._waiting.remove(call)
                        return call
                self._has_come.clear()
                await self._has_come.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection."""
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        writer.transport.set_write_buffer_limits(SEND_BUFFER_BYTES)
        try:
            method, headers, body = await _read_request(reader)
            if method == "GET":
                self.listed.set()
                await self.may_list.wait()
                await _send_json(writer, {"object": "list", "data": [{"id": model} for model in self.models]})
            else:
                await self._chat(Call(body, headers, writer), reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _chat(self, call: Call, reader: asyncio.StreamReader) -> None:
        async def watch() -> None:
            with suppress(ConnectionError):
                await reader.read()
            call.gone.set()
            call.over.set()

        self.calls.append(call)
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(watch())
            if self.script is None:
                self._waiting.append(call)
                self._has_come.set()
            else:
                await self.script(call)
            await call.over.wait()
            watcher.cancel()


@asynccontextmanager
async def scripted_openai() -> AsyncIterator[ScriptedOpenAI]:
    """Listen on a free port of loopback until the block ends."""
    upstream = ScriptedOpenAI()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await upstream.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over; asyncio would log what its server's own task raises
        finally:
            connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], dict[str, Any]]:
    line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return line.split(" ", 1)[0], headers, json.loads(raw) if raw else {}


async def _send_json(writer: asyncio.StreamWriter, document: object) -> None:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
