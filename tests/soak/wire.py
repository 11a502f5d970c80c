"""One event stream on a plain connection: HTTP is undone, blocks are handed on whole and in order, and nothing is retried here.

What arrives is handed on at once, also when it is a part of a chunk: as a browser does, and so that a cut may fall anywhere.
"""

import asyncio
import socket
import time
from collections.abc import Callable

import httptools
from typing_extensions import override

SMALL_BUFFER_BYTES = 4_096
MAX_REFUSAL_BYTES = 500


class StreamConnection(asyncio.Protocol):
    """`status` is answered when the head has come, `ended` (with how) when nothing more will come.

    *bytes_per_second* makes a slow reader, None one that takes everything at once; it may change while the stream runs.
    """

    def __init__(self, on_block: Callable[[bytes], None], bytes_per_second: float | None) -> None:
        loop = asyncio.get_running_loop()
        self.status: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.heard_at = time.monotonic()
        self.bytes_per_second = bytes_per_second
        self.refusal = b""
        self._on_block = on_block
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._is_stream = False
        self._is_complete = False
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        self._parser.feed_data(data)
        if self.bytes_per_second is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / self.bytes_per_second, self._resume)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(exc or ConnectionResetError("closed before the answer"))
            self.status.exception()  # marks it as seen: whoever asked may have gone
        if not self.ended.done():
            self.ended.set_result("ended" if self._is_complete else "cut")

    def close(self) -> None:
        """Leave at once; nothing is handed on any more."""
        self._on_block = _ignore
        if self._transport is not None:
            self._transport.abort()

    # --- called by the parser ----------------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._is_stream = status == 200
        if not self.status.done():  # else whoever asked has just given up
            self.status.set_result(status)

    def on_body(self, body: bytes) -> None:
        if not self._is_stream:
            self.refusal = (self.refusal + body)[:MAX_REFUSAL_BYTES]
            return
        *blocks, self._rest = (self._rest + body).split(b"\n\n")
        for block in blocks:
            self._on_block(block)

    def on_message_complete(self) -> None:
        self._is_complete = True
        if not self.ended.done():
            self.ended.set_result("ended")

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


async def open_stream(connection: StreamConnection, port: int, path: str, headers: dict[str, str]) -> int:
    """Connect, ask for *path*, and return the status of the answer. The caller sets the deadline. Raises OSError."""
    loop = asyncio.get_running_loop()
    wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        wire.setblocking(False)
        if connection.bytes_per_second is not None:
            # Before connecting: the window offered in the handshake follows from it.
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        await loop.sock_connect(wire, ("127.0.0.1", port))
        transport, _ = await loop.create_connection(lambda: connection, sock=wire)
    except BaseException:  # a cancellation too; raised on
        wire.close()
        raise
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in headers.items())]
    transport.write("\r\n".join([*lines, "", ""]).encode())
    return await connection.status


def _ignore(_block: bytes) -> None:
    pass
