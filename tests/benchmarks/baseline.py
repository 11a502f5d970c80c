"""What one would write without this project: Starlette's StreamingResponse, a queue per subscriber, each event encoded once.

No log, no database, no rights, no middleware, nothing to resume from. The frames are byte for byte as long as ours, and uvicorn runs
with the options of `rustygpt serve`.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rustygpt.cli.listener import BACKLOG
from tests.benchmarks.events import Deltas

HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}


class Broadcast:
    """Sends a frame to every queue, at a steady rate between `begin` and `end`."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self.queues: set[asyncio.Queue[bytes]] = set()
        self._changed = asyncio.Event()
        self._deltas = Deltas()

    async def stream(self, _request: Request) -> Response:
        return StreamingResponse(self._frames(), media_type="text/event-stream", headers=HEADERS)

    async def rate(self, request: Request) -> Response:
        """POST /rate/{per_second}; 0 stops."""
        self.per_second = request.path_params["per_second"]
        self._changed.set()
        return Response(status_code=204)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            self._changed.clear()
            began_at, number = loop.time(), 0
            while self.per_second and not self._changed.is_set():
                await asyncio.sleep(max(0.0, began_at + number / self.per_second - loop.time()))
                number += 1
                frame = self._deltas.frame(number)
                for queue in self.queues:
                    queue.put_nowait(frame)

    async def _frames(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.queues.add(queue)
        try:
            yield b"retry: 2000\n\n: connected\n\n"
            while True:
                yield await queue.get()
        finally:
            self.queues.discard(queue)


def build() -> Starlette:
    broadcast = Broadcast()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(broadcast.run())
            yield
            task.cancel()

    routes = [Route("/stream", broadcast.stream), Route("/rate/{per_second:float}", broadcast.rate, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    config = uvicorn.Config(
        build(),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    # Connections that come before the server has started wait in the backlog.
    sys.stdout.write(f"The baseline is ready on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
