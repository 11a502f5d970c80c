"""What one would write without this project: Starlette and httpx2, each piece handed on as it came, nothing read, nobody asked who they are.

`python -m tests.benchmarks.v1_passthrough URL [sse]`: with `sse` the pieces go through sse-starlette's EventSourceResponse.
"""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rustygpt.cli.listener import BACKLOG


def build(url: str, *, is_sse: bool) -> Starlette:
    client = httpx2.AsyncClient(
        timeout=httpx2.Timeout(30, read=None, pool=None), limits=httpx2.Limits(max_connections=None), trust_env=False
    )

    async def proxy(request: Request) -> Response:
        content = await request.body()
        asked = client.build_request("POST", url, content=content, headers={"content-type": "application/json"})
        answer = await client.send(asked, stream=True)
        closing = BackgroundTask(answer.aclose)
        if not is_sse:
            return StreamingResponse(answer.aiter_raw(), media_type="text/event-stream", background=closing)
        from sse_starlette import EventSourceResponse

        return EventSourceResponse(answer.aiter_raw(), send_timeout=30, background=closing)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    return Starlette(routes=[Route("/v1/chat/completions", proxy, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    config = uvicorn.Config(
        build(sys.argv[1], is_sse=sys.argv[2:] == ["sse"]),
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
    sys.stdout.write(f"The pass-through is ready on http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
