"""Pages of other origins may use the API only where a setting names them; without one, no answer says a word about origins."""

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from rustygpt.errors import BadRequest
from rustygpt.http.middleware import request_id_of
from rustygpt.http.problem import REQUEST_ID_KEY, problem_response

if TYPE_CHECKING:
    from rustygpt.settings_server import CorsSettings

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "X-CSRF-TOKEN", "X-Request-Id"),
    *("Last-Event-ID", "Cache-Control", "Idempotency-Key"),
)
"""What a page may send; EventSource sends Cache-Control and Last-Event-ID."""
ANSWER_HEADERS: Final = (
    *("X-Request-Id", "X-Session-Rotated", "Retry-After"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Profile"),
)
"""What a page may read."""


def trusted_origins(settings: "CorsSettings") -> tuple[str, ...]:
    """Return the origins whose pages may act with the session's cookies as ours do."""
    return settings.allow_origins if settings.allow_credentials else ()


def cors_middleware(settings: "CorsSettings") -> list[Middleware]:
    """Return the outermost middleware, so that refusals and errors can be read too; nothing without an allowed origin."""
    if not settings.allow_origins:
        return []
    return [
        Middleware(
            Cors,
            allow_origins=settings.allow_origins,
            allow_credentials=settings.allow_credentials,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            max_age=settings.max_age_seconds,
        )
    ]


class Cors(CORSMiddleware):
    """Answers preflights by itself: with an id as every answer has, and a refusal as the errors of the API are written."""

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        return _Preflight(super().preflight_response(request_headers))


class _Preflight(Response):
    """What Starlette answers, in our form."""

    def __init__(self, answer: Response) -> None:
        super().__init__(status_code=answer.status_code)
        self._answer = answer

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[REQUEST_ID_KEY] = request_id_of(scope)
        answer = self._answer
        said = {name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")}
        said["X-Request-Id"] = scope[REQUEST_ID_KEY]
        if answer.status_code >= 400:
            # Starlette's sentence names what is not allowed: origin, method, headers.
            answer = problem_response(BadRequest(f"{bytes(answer.body).decode()}."), scope, said)
        else:
            answer = Response(headers=said)
        await answer(scope, receive, send)
