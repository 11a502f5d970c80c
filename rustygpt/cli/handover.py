"""Every connection goes to the worker that has the fewest: the parent accepts, and passes each on whole (SCM_RIGHTS).

So one socket listens, none waits in the queue of a worker that died or hangs, and a worker that has just begun gets its share at once.
A worker says what it has taken; one that leaves IN_FLIGHT connections lying gets no more, and with all like that the kernel's queue
holds them. docs/decisions/0009 has the alternatives. Both ends of the channel are here, so that they cannot differ.
"""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final

IN_FLIGHT: Final = 16
_RECEIVE_BYTES: Final = 65_536
_TELL_SECONDS: Final = 5.0
_CLOSE_ON_EXEC: Final[int] = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_ONE: Final = b"c"
"""A message to the worker: a byte, and with it a connection."""


class Outlet:
    """The parent's end: where connections go to one worker, and what it says of itself."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self.channel = channel
        self.is_ready = False
        """It answers connections."""
        self.is_ending = False
        """It takes no more of them."""
        self.is_draining = False
        """It takes them, but sends readers away: for when there is no other."""
        self.error: dict[str, Any] | None = None
        """Why it ended, if it said so."""
        self.last_handed_at = 0
        """A reading of the monotonic clock, in ns: of two with the same load the one that waited longer is next."""
        self._handed = 0
        self._taken = 0
        self._open = 0
        self._unread = b""

    @property
    def load(self) -> int:
        """Connections that it has, as far as is known."""
        return self._open + self._handed - self._taken

    @property
    def can_take(self) -> bool:
        """Whether it may get one more."""
        return self.is_ready and not self.is_ending and self._handed - self._taken < IN_FLIGHT

    def hand(self, connection: socket.socket) -> bool:
        """Pass a connection on; False when it does not take it. The caller closes its own copy."""
        try:
            socket.send_fds(self.channel, [_ONE], [connection.fileno()])
        except BlockingIOError:
            return False
        except OSError:  # it ends, or is dead already
            self.is_ending = True
            return False
        self._handed += 1
        self.last_handed_at = time.monotonic_ns()
        return True

    def read(self) -> bool:
        """Take in all that it has said; False when it has gone."""
        while True:
            try:
                data = self.channel.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))
            if not data:
                return False

    def _hear(self, said: dict[str, Any]) -> None:
        self._taken, self._open = said.get("taken", self._taken), said.get("open", self._open)
        self.is_ready = said.get("is_ready", self.is_ready)
        self.is_draining = said.get("is_draining", self.is_draining)
        self.is_ending = said.get("is_ending", self.is_ending)
        self.error = said.get("error", self.error)


class Intake:
    """The worker's end. `run` takes connections until `stop`; *count_open* says how many are open now."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._taken = 0
        self._told = (0, 0)
        self._readable = asyncio.Event()
        self._stopped = asyncio.Event()
        self.count_open: Callable[[], int] = lambda: 0

    async def run(self, connect: Callable[[socket.socket], Awaitable[object]]) -> None:
        """Give every connection to *connect*, one after the other. Without a parent there is nothing left to do."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel, self._readable.set)
        try:
            while not self._stopped.is_set():
                await self._readable.wait()
                self._readable.clear()
                for connection in self._receive():
                    try:
                        await connect(connection)
                    except OSError:  # its client has gone already
                        connection.close()
                    if self._stopped.is_set():
                        break
                self.tell_load()
        finally:
            loop.remove_reader(self._channel)

    def stop(self) -> None:
        """Take no further connection; the one that is being taken is. A cancellation would leave it half made, and never closed."""
        self._stopped.set()
        self._readable.set()

    def tell_load(self) -> None:
        """Say how many connections were taken and how many are open, if that has changed. Never waits: the numbers are absolute."""
        load = (self._taken, self.count_open())
        if load != self._told:
            with suppress(OSError):
                self._channel.send(_line({"taken": load[0], "open": load[1]}))
                self._told = load

    def tell_ready(self) -> None:
        """Say that connections are answered."""
        self._tell({"is_ready": True})

    def tell_draining(self) -> None:
        """Say that others should rather get the connections."""
        self._tell({"is_draining": True})

    def tell_error(self, error: dict[str, Any]) -> None:
        """Say why this worker ends."""
        self._tell({"error": error})

    def end(self) -> None:
        """Take no more. What is on its way is closed, as what waits in the queue of a socket that stops to listen."""
        self._tell({"is_ending": True})
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RD)
        for connection in self._receive(is_last=True):
            connection.close()

    def _receive(self, *, is_last: bool = False) -> Iterator[socket.socket]:
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self._channel, len(_ONE), 1, _CLOSE_ON_EXEC)
            except BlockingIOError:
                return
            except OSError:
                message, descriptors = b"", []
            if not message:
                if not is_last:  # the parent is dead, and so is what it kept for us
                    os.kill(os.getpid(), signal.SIGKILL)
                return
            self._taken += 1
            for descriptor in descriptors:  # none when there are too many open files; the client sees its connection closed
                yield _adopt(descriptor)

    def _tell(self, said: dict[str, Any]) -> None:
        with suppress(OSError):  # the parent is dead or stopped: nobody to tell
            self._channel.settimeout(_TELL_SECONDS)
            self._channel.sendall(_line(said))
        self._channel.setblocking(False)


def _adopt(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(False)
    # Not all event loops do it for a connection that they did not accept; each answer of two writes would wait 40 ms for an ACK.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
