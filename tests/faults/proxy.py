"""A TCP proxy that fails as networks do: it goes silent, resets, crawls, closes one half, or swallows what it is given.

What it does not forward it does not invent: bytes arrive in order or not at all.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

READ_BYTES = 4_096
SEEN_BYTES = 65_536
STEP_SECONDS = 0.05

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One connection through the proxy. `seen` is the beginning of what its client said."""

    def __init__(self, client: Streams, server: Streams) -> None:
        self.client = client
        self.server = server
        self.seen = bytearray()
        self.is_deaf = False
        """Whether what the server says to this client is swallowed."""

    def reset(self) -> None:
        """Cut both sides with RST."""
        for _, writer in (self.client, self.server):
            with suppress(OSError):
                # On, 0 s: close sends RST.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def half_close(self) -> None:
        """Tell the server that the client will say no more, and go on reading."""
        self.server[1].write_eof()


class CuttingProxy:
    """Stands before one server. `hold` goes silent without a word to either side; `forward` goes on where it stopped."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.port = 0
        self.url = ""
        self.links: set[Link] = set()
        self.bytes_per_second: float | None = None
        self._connect = connect
        self._may_pass = asyncio.Event()
        self._may_pass.set()

    def forward(self) -> None:
        """Let everything pass."""
        self.bytes_per_second = None
        self._may_pass.set()

    def hold(self) -> None:
        """Forward nothing more in either direction and read nothing more, but keep every socket open: a cut without RST."""
        self._may_pass.clear()

    def throttle(self, bytes_per_second: float) -> None:
        """Let so much pass to each client."""
        self.bytes_per_second = bytes_per_second

    def reset(self) -> None:
        """Cut every connection with RST; new ones are taken."""
        for link in list(self.links):
            link.reset()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both of its halves are closed."""
        link = Link((reader, writer), await self._connect())
        self.links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._upward(link))
                group.create_task(self._downward(link))
        finally:
            self.links.discard(link)
            for _, each in (link.client, link.server):
                each.close()

    async def _upward(self, link: Link) -> None:
        with suppress(OSError):
            while data := await link.client[0].read(READ_BYTES):
                link.seen += data[: SEEN_BYTES - len(link.seen)]
                await self._may_pass.wait()
                link.server[1].write(data)
                await link.server[1].drain()
            link.server[1].write_eof()

    async def _downward(self, link: Link) -> None:
        try:
            while data := await link.server[0].read(READ_BYTES):
                await self._may_pass.wait()
                if not link.is_deaf:
                    await self._write_slowly(link.client[1], data)
            link.client[1].write_eof()
        except OSError:
            link.reset()  # whatever cut one side cuts the other

    async def _write_slowly(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            size = len(data) if self.bytes_per_second is None else max(1, int(self.bytes_per_second * STEP_SECONDS))
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if data:
                await asyncio.sleep(STEP_SECONDS)


def to_port(port: int) -> Callable[[], Awaitable[Streams]]:
    """Connect to a port of this machine, with little room in between: what is not forwarded is soon felt by the server."""

    async def connect() -> Streams:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        return await asyncio.open_connection(sock=connection, limit=READ_BYTES)

    return connect


def to_unix_socket(path: str) -> Callable[[], Awaitable[Streams]]:
    """Connect to a socket file."""

    async def connect() -> Streams:
        return await asyncio.open_unix_connection(path)

    return connect


@asynccontextmanager
async def cutting_proxy(connect: Callable[[], Awaitable[Streams]]) -> AsyncIterator[CuttingProxy]:
    """Listen on a free port of loopback until the block ends."""
    proxy = CuttingProxy(connect)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await proxy.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over; asyncio would log what its server's own task raises
        except OSError:
            writer.transport.abort()  # nobody listens behind us
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=READ_BYTES)
    proxy.port = server.sockets[0].getsockname()[1]
    proxy.url = f"http://127.0.0.1:{proxy.port}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await server.wait_closed()
