"""Writes one answer as server-sent events, past ASGI where the socket takes it.

Nothing is queued: while the client does not read, `take` waits, and with it whoever reads the model. A client that takes nothing for
`send_seconds` is given up; one that waits for long hears a comment from time to time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from starlette.types import Send

from rustygpt.assistant.providers.base import Delta, Finish, Loading, StreamItem, ToolCallDelta
from rustygpt.openai_api.chunks import KEEP_ALIVE, LOADING, Chunks

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class AnswerWriter:
    """`take` the items, then `end`. *write_chunk* puts bytes of a body into the socket at once, or returns False."""

    def __init__(
        self,
        send: Send,
        chunks: Chunks,
        write_chunk: Callable[[bytes], bool] | None,
        *,
        send_seconds: float,
        on_stalled: Callable[[], None],
    ) -> None:
        self.has_begun = False
        self._send = send
        self._chunks = chunks
        self._write_chunk = write_chunk
        self._send_seconds = send_seconds
        self._on_stalled = on_stalled
        self._has_written = False
        self._has_role = False
        self._is_sending = False

    def take(self, item: StreamItem) -> Awaitable[None] | None:
        """Write one item; None when that is done, else what to wait for."""
        if isinstance(item, Delta) and self._has_role:
            data = self._chunks.text(item.content)
            self._has_written = True
            if self._write_chunk is not None and self._write_chunk(b"%x\r\n%s\r\n" % (len(data), data)):
                return None
            return self._send_body(data)
        match item:
            case Delta(content):
                return self._write(self._with_role(self._chunks.text(content)))
            case ToolCallDelta(calls):
                return self._write(self._with_role(self._chunks.calls(calls)))
            case Loading():
                return self._write(LOADING)
            case Finish():
                return None

    async def end(self, data: bytes) -> None:
        """Write what is left, and the end of the body."""
        await self._write(self._with_role(data) if not data.startswith(b'data: {"error"') else data)
        await self._send({"type": "http.response.body", "body": b""})

    async def keep_alive(self, seconds: float) -> None:
        """Write a comment whenever nothing else was written for *seconds*, until cancelled: proxies and clients give up silent answers."""
        while True:
            self._has_written = False
            await asyncio.sleep(seconds)
            if not self._has_written and not self._is_sending:
                await self._write(KEEP_ALIVE)

    def _with_role(self, data: bytes) -> bytes:
        if self._has_role:
            return data
        self._has_role = True
        return self._chunks.role() + data

    async def _write(self, data: bytes) -> None:
        self._has_written = True
        if not self.has_begun:
            self.has_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        await self._send_body(data)

    async def _send_body(self, data: bytes) -> None:
        self._is_sending = True
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            self._on_stalled()
        finally:
            self._is_sending = False


def merge_calls(pieces: list[dict[str, object]]) -> list[dict[str, object]]:
    """Put the pieces of tool calls together, for an answer that is not streamed."""
    calls: dict[object, dict[str, object]] = {}
    for piece in pieces:
        call = calls.setdefault(
            piece.get("index", 0), {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        function, more = call["function"], piece.get("function")
        if piece.get("id"):
            call["id"] = piece["id"]
        if isinstance(function, dict) and isinstance(more, dict):
            function["name"] = more.get("name") or function["name"]
            function["arguments"] += str(more.get("arguments") or "")
    return list(calls.values())


def encode(document: object) -> bytes:
    """Encode a whole answer."""
    return orjson.dumps(document)
