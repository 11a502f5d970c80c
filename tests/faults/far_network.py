"""Another machine, as far as the network is concerned: a namespace with an address of its own behind a cable that can be pulled.

Needs Linux, root and `ip`; whoever asks for it elsewhere is skipped with the reason.
"""

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

CLONE_NEWNET = 0x40000000
HERE, THERE = "10.213.77.1", "10.213.77.2"


class FarNetwork:
    """The namespace. Servers on `here` are reached from sockets that `connect` makes."""

    here = HERE

    def __init__(self, name: str) -> None:
        self._name = name

    def pull_cable(self) -> None:
        """Let nothing through any more; neither side is told."""
        _ip("-n", self._name, "link", "set", "far0", "down")

    def plug_in(self) -> None:
        """Let everything through again."""
        _ip("-n", self._name, "link", "set", "far0", "up")

    async def connect(self, port: int) -> socket.socket:
        """Return a connection from there to a port here. A socket belongs to the namespace in which it was made."""
        made: list[socket.socket] = []

        def make() -> None:
            with Path(f"/var/run/netns/{self._name}").open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0:  # of this thread only
                    made.append(socket.socket())

        thread = Thread(target=make)
        thread.start()
        thread.join()
        assert made, "the namespace could not be entered"
        made[0].setblocking(False)
        await asyncio.get_running_loop().sock_connect(made[0], (HERE, port))
        return made[0]


@contextmanager
def far_network() -> Iterator[FarNetwork]:
    """Make it, and take it away again."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need `ip`: install Debian's package iproute2")
    name, near = f"rustygpt-{os.getpid()}", f"near{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", "far0", "netns", name)
        _ip("address", "add", f"{HERE}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", name, "address", "add", f"{THERE}/30", "dev", "far0")
        _ip("-n", name, "link", "set", "far0", "up")
        yield FarNetwork(name)
    finally:
        _ip("netns", "delete", name)  # the cable goes with it


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)
