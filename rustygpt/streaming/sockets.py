"""How much a client that does not read can make us hold: without these options 4 MB vanish into kernel and loop buffers before
`send` waits, and no backpressure can ever act; and a cut network is noticed after fifteen minutes.

The options are set on the listening socket, and every accepted connection inherits them. The protocol adds a small write buffer, and lets
a stream reach its connection past ASGI: to write what is the same for thousands of clients, and to hear that the client is gone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, cast

from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl

from rustygpt.http.request_head import PatientProtocol

if TYPE_CHECKING:
    from starlette.types import Scope
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

UNSENT_BYTES: Final = 16_384
"""TCP_NOTSENT_LOWAT: the kernel takes no more than this beyond what is on its way."""
SEND_BUFFER_BYTES: Final = 65_536
"""SO_SNDBUF, which the kernel doubles: what is on its way to a client that acknowledges nothing more."""
WRITE_BUFFER_BYTES: Final = 16_384
"""The event loop's own buffer: `send` waits while it holds more."""
FLUSH_SECONDS: Final = 2.0
PIPELINED_REQUESTS: Final = 16
"""Requests that may wait behind the one that is being answered; with more, the connection is closed (one read can bring 14 000)."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_PEER_KEY: Final = "rustygpt.peer"


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


class Peer:
    """The client of one request that has come whole, as long as the answer is under way."""

    __slots__ = ("_cycle", "_on_lost", "_protocol")

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._on_lost: Callable[[], None] | None = None

    def write_chunk(self, chunk: bytes) -> bool:
        """Write a framed chunk of a body that has begun; False (and nothing written) when the buffer is full or the client gone: use `send`."""
        cycle = self._cycle
        if cycle.disconnected or not cycle.chunked_encoding or cycle.response_complete or cycle.flow.write_paused:
            return False
        cycle.transport.write(chunk)
        return True

    def watch(self, on_lost: Callable[[], None]) -> None:
        """Call *on_lost* once when the connection is lost, at once where it is already, unless `unwatch` comes first.

        Instead of a task that waits for http.disconnect, which weighs 2 KiB a stream.
        """
        self._on_lost = on_lost
        if self._protocol.is_lost:
            self.lose()
        else:
            self._protocol.watching = self

    def unwatch(self) -> None:
        """Undo `watch`: the connection may live on."""
        self._on_lost = None
        self._protocol.watching = None

    def cut(self) -> None:
        """End the connection at once, by RST.

        A closed one waits for its last bytes to be taken, and the kernel, when it gives that up, tells the client nothing: it would wait
        for as long as it cares to.
        """
        transport = self._cycle.transport
        if not transport.is_closing():
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            transport.abort()

    def forget_request(self, keep: Collection[str]) -> None:
        """Let go the request's headers, and of its scope all but the keys *keep*: an open stream would hold them for minutes.

        To be called when the answer has begun and nobody is waiting in `receive`.
        """
        scope = cast("dict[str, Any]", self._cycle.scope)
        kept = {key: scope[key] for key in keep if key in scope}
        scope["headers"].clear()
        scope.clear()  # a dict only shrinks when it is emptied
        scope.update(kept)
        self._cycle.message_event = _LeanEvent(is_set=self._cycle.message_event.is_set())

    def lose(self) -> None:
        """The connection is lost."""
        # uvicorn tells only the last request that it has read, which need not be the one it is answering.
        self._cycle.disconnected = True
        if self._on_lost is not None:
            on_lost, self._on_lost = self._on_lost, None
            on_lost()


def find_peer(scope: Scope) -> Peer | None:
    """Return the client behind *scope*; None under a server that is not ours, and while the request's body is still coming."""
    peer: Peer | None = scope.get(_PEER_KEY)
    return peer


class _LeanEvent(asyncio.Event):
    """An event whose waiters are in a list: the deque of asyncio's takes 0.6 KiB for none."""

    def __init__(self, *, is_set: bool) -> None:
        self._waiters = []  # type: ignore[assignment]
        self._value = is_set


class _LeanFlow(FlowControl):
    """uvicorn's, with its event made when first waited for: few connections ever wait, and an event weighs 0.8 KiB."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._writable: asyncio.Event | None = None

    @override
    async def drain(self) -> None:
        if self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            # The stream's send timeout bounds this wait.
            await self._writable.wait()

    @override
    def pause_writing(self) -> None:
        self.write_paused = True

    @override
    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None


class BoundedProtocol(PatientProtocol):
    """uvicorn's HTTP protocol with a small write buffer, and a `Peer` for each request."""

    is_lost = False
    watching: Peer | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        super().connection_made(transport)
        self.flow = _LeanFlow(transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.is_lost = True
        if (peer := self.watching) is not None:
            self.watching = None
            peer.lose()

    @override
    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            # The last bytes are for a client that reads; one that does not must not hold up the process's end.
            self.loop.call_later(FLUSH_SECONDS, self.transport.abort)

    @override
    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= PIPELINED_REQUESTS:
            raise ValueError("too many requests wait on one connection")  # the parser makes an error of its own of it
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        # Not before, and not with a body that stopped the reading: the client's leaving would not be seen behind it.
        if (cycle := self._last_cycle()) is not None and not self.flow.read_paused:
            self.scope[_PEER_KEY] = Peer(self, cycle)  # type: ignore[typeddict-unknown-key]
