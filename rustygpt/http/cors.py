"""Pages of other origins may use the API only where a setting names them; without one, no answer says a word about origins."""

from typing import TYPE_CHECKING, Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

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
            CORSMiddleware,
            allow_origins=settings.allow_origins,
            allow_credentials=settings.allow_credentials,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            max_age=settings.max_age_seconds,
        )
    ]
