"""A small app with one route of every kind, behind the middleware in its real order."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from pydantic import Field
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from rustygpt.errors import Conflict, DomainError, FieldError, Invalid, RateLimited, SessionExpired
from rustygpt.http.body import CanonicalUUID, RequestModel, read_body
from rustygpt.http.client_address import ClientAddressMiddleware
from rustygpt.http.middleware import ACTOR_KEY, RequestContextMiddleware, SecurityHeadersMiddleware
from rustygpt.http.problem import exception_handlers, send_problem
from rustygpt.http.request import idempotency_key, path_uuid, query_limit, query_uuid, query_value
from rustygpt.http.response import json_response
from rustygpt.observability.health import HealthRoutes
from rustygpt.observability.metrics import Metrics

MAX_BYTES = 1_000


class Note(RequestModel):
    """A body with a field of every kind that the API has."""

    content: str
    count: int = 0
    loud: bool = False
    parent_id: CanonicalUUID | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)


class Options(RequestModel):
    """A body that requires nothing."""

    loud: bool = False


class Actor:
    user_id = "018f3e6e-0000-7000-8000-000000000001"


class RawEndpoint:
    """A raw ASGI endpoint: streams, or refuses, as the path says."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path_params"]["kind"] == "refused":
            await send_problem(scope, receive, send, SessionExpired())
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def post_note(request: Request) -> Response:
    note = await read_body(request, Note, max_bytes=MAX_BYTES)
    return json_response(note)


async def post_options(request: Request) -> Response:
    return json_response(await read_body(request, Options, max_bytes=MAX_BYTES))


async def get_message(request: Request) -> Response:
    return json_response({"id": path_uuid(request, "message_id")})


async def list_things(request: Request) -> Response:
    data = {"limit": query_limit(request), "q": query_value(request, "q"), "around": query_uuid(request, "around")}
    return json_response(data)


async def post_key(request: Request) -> Response:
    return json_response({"key": idempotency_key(request, request.query_params.get("client_id"))})


async def fail(request: Request) -> Response:
    errors: dict[str, DomainError | Exception] = {
        "conflict": Conflict("The last owner stays."),
        "invalid": Invalid(errors=[FieldError("email", "is required")]),
        "limited": RateLimited(retry_after_seconds=7),
        "unexpected": RuntimeError("the secret plan"),
    }
    raise errors[request.path_params["how"]]


async def fail_late(request: Request) -> Response:
    async def body() -> Any:
        yield b"half"
        raise RuntimeError("broke in the middle")

    return StreamingResponse(body(), media_type="text/plain")


async def who(request: Request) -> Response:
    request.scope[ACTOR_KEY] = Actor()
    return json_response({"client": request.client.host if request.client else None, "scheme": request.url.scheme})


def build_app(metrics: Metrics, *, trusted_proxies: tuple[str, ...] = (), hsts_seconds: int = 0) -> Starlette:
    """Return the app of these tests."""
    routes = [
        Route("/notes", post_note, methods=["POST"]),
        Route("/options", post_options, methods=["POST"]),
        Route("/messages/{message_id}", get_message),
        Route("/things", list_things),
        Route("/keys", post_key, methods=["POST"]),
        Route("/fail/{how}", fail),
        Route("/late", fail_late),
        Route("/who", who),
        Route("/raw/{kind}", RawEndpoint(), methods=["GET"]),
        Mount("/assets", app=Response("asset")),
        *HealthRoutes({}, metrics).routes,
    ]
    middleware = [
        Middleware(SecurityHeadersMiddleware, hsts_max_age_seconds=hsts_seconds),
        Middleware(ClientAddressMiddleware, trusted_proxies=trusted_proxies),
        Middleware(RequestContextMiddleware, metrics=metrics),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=exception_handlers())


@contextlib.contextmanager
def running(app: Starlette) -> Iterator[str]:
    """Serve *app* on a real socket, as the product does, and yield its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False, server_header=False, lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listener.close()
