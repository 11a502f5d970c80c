"""The routes that the application really has, for tests that must miss none."""

from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from rustygpt.app import Application
from rustygpt.http.openai_error import _CODES

OURS = {theirs: ours for ours, theirs in _CODES.items() if not ours.startswith("RGP.AUTH.")} | {
    "csrf": "RGP.AUTH.CSRF",
    "account_pending": "RGP.AUTH.PENDING",
    "account_disabled": "RGP.AUTH.DISABLED",
    "invalid_api_key": "RGP.AUTH.REQUIRED",
}
READING = {"GET", "HEAD", "OPTIONS"}


def api_routes(application: Application) -> set[str]:
    """Every route under /api and /v1 as `METHOD /path/{parameter}`, but HEAD and OPTIONS."""
    asgi = application.asgi
    assert isinstance(asgi, Starlette)
    return {
        f"{method} {route.path_format}"
        for route in asgi.routes
        if isinstance(route, Route) and route.path.startswith(("/api/", "/v1/"))
        for method in (route.methods or set()) - {"HEAD", "OPTIONS"}
    }


def code_of(body: Any) -> str:
    """Return an error's code in our words, also where it came in OpenAI's shape."""
    return str(body["code"]) if "code" in body else OURS.get(body["error"]["code"], body["error"]["code"])


def changing_routes(application: Application) -> list[tuple[str, str]]:
    """Method and path of those that change something."""
    pairs = (route.split(" ", 1) for route in sorted(api_routes(application)))
    return [(method, path) for method, path in pairs if method not in READING]
