"""The socket that the server listens on: ours from the first moment, so that a taken port is known before anything else starts."""

import errno
import socket

from rustygpt.cli.failure import CommandError

BACKLOG = 2_048
"""Connections that wait to be accepted; a reconnect storm of as many readers is not refused (the kernel's somaxconn may cap it)."""


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Port 0 takes a free one. Raises CommandError with the remedy."""
    family, address = _resolve(host, port)
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; without, each answer of two writes waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A restart must not wait for connections of the former process in TIME_WAIT; a listening one still refuses us.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _explained(error, host, port) from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address to open in a browser on this machine; an unspecified address is shown as loopback."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    """Take the first address of a name, IPv4 before IPv6: `localhost` is 127.0.0.1 for most clients."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise CommandError(f"the host name {host!r} has no address", "Check server.host (HOST, --host).") from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address  # type: ignore[return-value]  # four items for IPv6


def _explained(error: OSError, host: str, port: int) -> CommandError:
    match error.errno:
        case errno.EADDRINUSE:
            return CommandError(f"port {port} on {host} is taken", "Stop what listens there, or choose another port with --port.")
        case errno.EACCES:
            return CommandError(f"port {port} may not be used by this user", "Choose one above 1023 with --port.")
        case errno.EADDRNOTAVAIL:
            return CommandError(f"{host} is no address of this machine", "Use 127.0.0.1 or 0.0.0.0 with --host.")
        case _:
            return CommandError(f"cannot listen on {host} port {port}: {error.strerror}")
