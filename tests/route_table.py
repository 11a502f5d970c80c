"""The routes that the application really has, for tests that must miss none."""

from starlette.applications import Starlette
from starlette.routing import Route

from rustygpt.app import Application

READING = {"GET", "HEAD", "OPTIONS"}


def api_routes(application: Application) -> set[str]:
    """Every route under /api and /v1 as `METHOD /path/{parameter}`, but HEAD and OPTIONS."""
    asgi = application.asgi
    assert isinstance(asgi, Starlette)
    return {
        f"{method} {route.path}"
        for route in asgi.routes
        if isinstance(route, Route) and route.path.startswith(("/api/", "/v1/"))
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }


def changing_routes(application: Application) -> list[tuple[str, str]]:
    """Method and path of those that change something."""
    pairs = (route.split(" ", 1) for route in sorted(api_routes(application)))
    return [(method, path) for method, path in pairs if method not in READING]
