"""How much a client that does not read can make us hold: without these options 4 MB vanish into kernel and loop buffers before
`send` waits, and no backpressure can ever act; and a cut network is noticed after fifteen minutes.

The options are set on the listening socket, and every accepted connection inherits them.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

UNSENT_BYTES: Final = 16_384
"""TCP_NOTSENT_LOWAT: the kernel takes no more than this beyond what is on its way."""
SEND_BUFFER_BYTES: Final = 65_536
"""SO_SNDBUF, which the kernel doubles: what is on its way to a client that acknowledges nothing more."""
WRITE_BUFFER_BYTES: Final = 16_384
"""The event loop's own buffer: `send` waits while it holds more."""


def bound_buffers(listener: socket.socket, *, unacknowledged_seconds: float) -> None:
    """Bound what connections of *listener* buffer, and how long one may leave data unacknowledged before it is cut.

    An option that the system lacks is left out; the send timeout then does its work, only later.
    """
    options = [
        (socket.SOL_SOCKET, "SO_SNDBUF", SEND_BUFFER_BYTES),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", UNSENT_BYTES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", int(unacknowledged_seconds * 1_000)),
    ]
    for level, name, value in options:
        if (option := getattr(socket, name, None)) is not None:
            listener.setsockopt(level, option, value)


WRITE_CHUNK_KEY: Final = "rustygpt.write_chunk"
"""Where the scope holds a `WriteChunk`, when the server is ours."""

WriteChunk = Callable[[bytes], bool]
"""Writes a framed chunk of a body that has begun; False (and nothing written) when the buffer is full or the client gone: use `send`."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a small write buffer, and a way past `send` for bytes that are the same for thousands of clients."""

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        super().connection_made(transport)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[WRITE_CHUNK_KEY] = self.write_chunk  # type: ignore[typeddict-unknown-key]

    def write_chunk(self, chunk: bytes) -> bool:
        """See `WriteChunk`."""
        cycle = self.cycle
        if cycle.disconnected or not cycle.chunked_encoding or cycle.response_complete or self.flow.write_paused:
            return False
        self.transport.write(chunk)
        return True
