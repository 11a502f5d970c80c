"""A web server for files that behaves as badly as a test wants: ranges (RFC 9110, section 14), redirects, cuts, stalls and lies.

Every request is kept with its headers, so that a test sees which bytes were asked for.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Respond = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]
LONG_SECONDS = 120.0


@dataclass(frozen=True)
class Request:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    reader: asyncio.StreamReader

    @property
    def first_byte(self) -> int:
        """Where the range that was asked for begins."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(match[1]) if match else 0


@dataclass
class FileServer:
    """`files` by path; `responses` by path beat them, each once, in turn. `gate`, when set up, holds bodies back after `gate_bytes`."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    responses: dict[str, list[Respond]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    gate_bytes: int | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    is_held: asyncio.Event = field(default_factory=asyncio.Event)
    etag: str | None = None

    def put(self, path: str, content: bytes) -> str:
        """Serve *content* and return its address."""
        self.files[path] = content
        return f"{self.url}{path}"

    def once(self, path: str, *responses: Respond) -> None:
        """Answer the next requests for *path* by *responses*."""
        self.responses.setdefault(path, []).extend(responses)

    async def until_asked(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(LONG_SECONDS):
            while len(self.requests) < count:  # noqa: ASYNC110 - a test looks seldom
                await asyncio.sleep(0.01)

    async def serve(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Answer one request as a good server would."""
        content = self.files.get(request.path)
        if content is None:
            writer.write(head(404))
            return
        etag = self.etag or f'"{hashlib.md5(content).hexdigest()}"'
        start = request.first_byte if request.headers.get("if-range", etag) == etag else 0
        if start > len(content):
            writer.write(head(416, {"Content-Range": f"bytes */{len(content)}"}))
            return
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        fields = {"ETag": etag, "Content-Length": str(len(content) - start), "Content-Type": "application/octet-stream"}
        writer.write(head(206 if start else 200, {**fields, **part}))
        await self._body(content[start:], writer)

    async def _body(self, content: bytes, writer: asyncio.StreamWriter) -> None:
        if self.gate_bytes is not None and len(content) > self.gate_bytes:
            writer.write(content[: self.gate_bytes])
            await writer.drain()
            self.is_held.set()
            async with asyncio.timeout(LONG_SECONDS):
                await self.gate.wait()
            content = content[self.gate_bytes :]
        writer.write(content)
        await writer.drain()


def head(status: int, fields: dict[str, str] | None = None) -> bytes:
    """The beginning of an answer; the connection is closed after it."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in (fields or {}).items()), "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(status: int, fields: dict[str, str] | None = None, body: bytes = b"") -> Respond:
    """Answer with just this; a Content-Length is the test's own business."""

    async def respond(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, fields) + body)

    return respond


def redirect(location: str, **fields: str) -> Respond:
    """Lead on to *location*."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return answer(302, {"Location": location, "Content-Length": "0", **named})


def cut(server: FileServer, size: int) -> Respond:
    """Serve the first *size* bytes that were asked for, under the whole length, and hang up."""

    async def respond(request: Request, writer: asyncio.StreamWriter) -> None:
        content = server.files[request.path][request.first_byte :]
        start = request.first_byte
        total = len(content) + start
        fields = {"ETag": f'"{hashlib.md5(server.files[request.path]).hexdigest()}"', "Content-Length": str(len(content))}
        if start:
            fields["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        writer.write(head(206 if start else 200, fields) + content[:size])

    return respond


def silence(first: bytes = b"") -> Respond:
    """Send *first* and then nothing until the client has gone."""

    async def respond(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        async with asyncio.timeout(LONG_SECONDS):
            await request.reader.read()

    return respond


@asynccontextmanager
async def file_server(host: str = "127.0.0.1") -> AsyncIterator[FileServer]:
    """Listen on a free port."""
    served = FileServer()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = raw.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
            request = Request(line.split(" ")[1], headers, reader)
            served.requests.append(request)
            queue = served.responses.get(request.path, [])
            await (queue.pop(0) if queue else served.serve)(request, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, host, 0)
    served.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        served.gate.set()
        server.close()
        await server.wait_closed()
