"""Clients that open a stream and never read it: one process, ended by the end of its input.

Its first line of standard input is a `Task` of the readers; the answer names the ports of its connections.
"""

import json
import socket
import sys

from tests.benchmarks.reader import CONNECT_SECONDS, Task, request

RECEIVE_BYTES = 4_096
"""So little do they let their own system keep for them, so that the rest stays with the server."""


def _open(task: Task, path: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    connection.settimeout(CONNECT_SECONDS)
    connection.connect(("127.0.0.1", task.port))
    connection.sendall(request(task, path))
    if not connection.recv(64).startswith(b"HTTP/1.1 200"):
        raise ConnectionError("no stream")
    return connection


def main() -> None:
    task = Task(**json.loads(sys.stdin.readline()))
    connections = [_open(task, path) for path in task.paths]
    sys.stdout.write(json.dumps([connection.getsockname()[1] for connection in connections]) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
