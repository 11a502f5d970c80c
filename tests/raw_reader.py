"""A reader without manners: a raw socket with a small receive buffer that sends what it is told to and reads when it is told to."""

import asyncio
import re
import socket

from tests.person import DEADLINE_SECONDS, Person, StreamReader

RECEIVE_BYTES = 4_096


class RawReader:
    """One connection to a person's server; `reader` holds the stream that was read."""

    def __init__(self, person: Person, path: str, connection: socket.socket | None = None, *, extra: str = "") -> None:
        """*connection* is connected already; *extra*: more lines of the request's head, each with its CRLF."""
        self.socket = connection or socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.socket.setblocking(False)
        self._is_connected = connection is not None
        url = person.client.base_url
        cookies = "; ".join(f"{name}={value}" for name, value in person.client.cookies.items())
        self.request = f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\nCookie: {cookies}\r\n{extra}\r\n".encode()
        self._address = (url.host, url.port)
        self.reader = StreamReader()
        self.head = b""
        self._rest = b""

    async def open(self) -> None:
        """Connect and ask; read nothing."""
        await self.connect()
        await self.send(self.request)

    async def connect(self) -> None:
        """Connect and say nothing."""
        if not self._is_connected:
            await asyncio.get_running_loop().sock_connect(self.socket, self._address)

    async def send(self, data: bytes) -> None:
        """Send whatever it is."""
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, at_most: int = 1 << 20) -> int:
        """Read once; 0 at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, at_most)
        except OSError:  # reset, or given up by the kernel
            data = b""
        if not data:
            self.reader.close()
        self._feed(data)
        return len(data)

    async def read_until(self, text: bytes) -> None:
        """Read until *text* was read, or to the end."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while text not in self.reader.raw and await self.read():
                pass

    async def read_to_end(self) -> None:
        """Read until the server closes."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await self.read():
                pass

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _feed(self, data: bytes) -> None:
        """Strip the response's head and the chunked framing."""
        self._rest += data
        if not self.head:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return
            self.head, self._rest = head, rest
        while (match := re.match(rb"([0-9a-f]+)\r\n", self._rest)) and len(self._rest) >= match.end() + int(match[1], 16) + 2:
            size = int(match[1], 16)
            self.reader.feed(self._rest[match.end() : match.end() + size])
            self._rest = self._rest[match.end() + size + 2 :]
