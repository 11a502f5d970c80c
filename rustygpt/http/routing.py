"""One route a path, whatever its methods: so that 405 and OPTIONS name every method that the path takes (RFC 9110, section 15.5.6).

Starlette takes the first route whose path fits, and its 405 knows only that one's methods.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send


def merge_methods(routes: Iterable[BaseRoute]) -> list[BaseRoute]:
    """Join routes of the same path into one, at the place of the first; everything else stays as it is."""
    merged: dict[str, list[Route]] = {}
    order: list[BaseRoute | str] = []
    for route in routes:
        if type(route) is not Route:  # a subclass matches in its own way
            order.append(route)
            continue
        if route.path not in merged:
            order.append(route.path)
        merged.setdefault(route.path, []).append(route)
    return [_joined(merged[entry]) if isinstance(entry, str) else entry for entry in order]


def _joined(routes: list[Route]) -> Route:
    first = routes[0]
    by_method = {method: route.app for route in reversed(routes) for method in route.methods or ()}
    endpoints = {method: endpoint for route in reversed(routes) for method, endpoint in endpoints_of(route).items()}
    return Route(first.path, _ByMethod(by_method, endpoints), methods=[*by_method, "OPTIONS"], name=first.name)


def endpoints_of(route: Route) -> Mapping[str, Callable[..., Any]]:
    """Return the handlers of a route, joined or not, by method; HEAD and OPTIONS are nobody's own."""
    if isinstance(route.endpoint, _ByMethod):
        return route.endpoint.endpoints
    return dict.fromkeys(sorted((route.methods or set()) - {"HEAD", "OPTIONS"}), route.endpoint)


class _ByMethod:
    """Hands a request to the application of its method, and answers OPTIONS with what there is."""

    def __init__(self, by_method: dict[str, ASGIApp], endpoints: Mapping[str, Callable[..., Any]]) -> None:
        self.endpoints = endpoints
        self._by_method = by_method
        self._allowed = ", ".join(sorted({*by_method, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._by_method.get(scope["method"])
        await (app or Response(status_code=204, headers={"Allow": self._allowed}))(scope, receive, send)
