"""An HTTP server that says exactly what a test tells it to, byte by byte: the far end of a provider on a bad day.

Each path has a queue of answers; the last one repeats. Every piece of a body is a chunk of its own (RFC 9112, section 7.1), so a test
decides where the stream is cut, in the middle of a code point if it likes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

End = Literal["end", "hang up", "hang", "drop"]
"""After the last piece: end well, close the connection in mid-body, or say nothing more until the client has gone; or close it at once."""
CLIENT_GONE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `pieces` are sent as chunks, one write each."""

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    then: End = "end"


@dataclass(frozen=True, slots=True)
class Received:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(slots=True)
class ScriptedServer:
    """`base_url` has no path. `abandoned` is set once a client has closed a connection that was left hanging."""

    base_url: str = ""
    requests: list[Received] = field(default_factory=list)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    answers: dict[str, list[Answer]] = field(default_factory=dict)

    def answer(self, path: str, *answers: Answer) -> None:
        """Answer requests for *path* by *answers* in turn."""
        self.answers[path] = list(answers)

    def next_answer(self, path: str) -> Answer:
        """Take the answer that is due."""
        queue = self.answers.get(path, [Answer((b'{"error":"not in the script"}',), status=404)])
        return queue.pop(0) if len(queue) > 1 else queue[0]


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Listen on a free port of loopback."""
    script = ScriptedServer()
    server = await asyncio.start_server(_handler(script), "127.0.0.1", 0)
    script.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield script
    finally:
        server.close()
        await server.wait_closed()


def _handler(script: ScriptedServer) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            script.requests.append(await _read_request(reader))
            answer = script.next_answer(script.requests[-1].path)
            if answer.then == "drop":
                return
            await _write_answer(writer, answer)
            if answer.then == "hang":
                async with asyncio.timeout(CLIENT_GONE_SECONDS):
                    await reader.read()
                script.abandoned.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            script.abandoned.set()
        finally:
            writer.close()

    return handle


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.strip().split("\r\n")
    method, path, _ = line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, json.loads(raw) if raw else None)


async def _write_answer(writer: asyncio.StreamWriter, answer: Answer) -> None:
    head = f"HTTP/1.1 {answer.status} Scripted\r\nContent-Type: {answer.content_type}\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode())
    for piece in answer.pieces:
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
    if answer.then == "end":
        writer.write(b"0\r\n\r\n")
    await writer.drain()
