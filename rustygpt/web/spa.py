"""The web page: built files from one folder, and nothing else from anywhere.

Files under `/assets` carry a hash of their content in their names, so browsers keep them for good; everything else is asked for again
each time. Addresses that belong to the server (RESERVED) are never answered with the page, whatever the method, so that a wrong call
of the API gets its 404 or 405 and not a surprising 200.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import anyio
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.staticfiles import StaticFiles
from typing_extensions import override

from rustygpt.errors import NotFound
from rustygpt.operation import Answer, Parameter, operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.types import Scope

RESERVED: Final = frozenset(
    (
        *(".well-known", "api", "assets", "chat", "conversations", "docs"),
        *("healthz", "metrics", "openapi.json", "openapi.yaml", "readyz", "v1", "ws"),
    )
)
"""First segments of paths that are the server's own."""
PAGES: Final = re.compile(r"(?:c/[0-9a-f-]{36}|invite/[\w-]{1,256}|auth/success|administration|login|settings)?/?", re.ASCII)
"""What the page has something to show for (routing/router.svelte.ts); elsewhere it says that there is nothing, and so does the status."""
INDEX: Final = "index.html"
DOCS: Final = "docs.html"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
"""What the build leaves beside a file, best first."""
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Our own list: the system's may call a script something that browsers refuse under `nosniff`."""
MAX_NAME_LENGTH: Final = 200
NOT_BUILT: Final = (
    "RustyGPT is running, but its web page is not built.\n\n"
    "In a checkout: run `just ui` (or `uv sync`, which builds it too) and load this page again.\n"
    "The API is at /api, its health at /readyz.\n"
)
FILE: Final = Answer(bytes, "The file.", "*/*", headers=("Cache-Control",))
NOTHING_THERE: Final = Answer(
    bytes,
    "To who takes HTML, the page, which says that there is nothing at this address; to others, a problem.",
    "*/*",
    headers=("Cache-Control",),
)
NO_PAGE: Final = Answer(str, "The page is not built.", "text/plain", headers=("Retry-After",))


def spa_routes(dist: Path) -> list[BaseRoute]:
    """Return the routes that serve the page built into *dist*; to be mounted at the top, after all others."""
    page = _Page(dist)
    return [Route("/assets/{path:path}", page.asset, methods=["GET"]), _PageRoute("/{path:path}", page.page, methods=["GET"])]


def docs_routes(dist: Path) -> list[BaseRoute]:
    """Return the route of the page that shows the API's description; to be mounted at the top."""
    return [Route("/docs", _Page(dist).docs, methods=["GET"])]


class _PageRoute(Route):
    """Matches what is not RESERVED, so that the routes of the API keep their own 404 and 405."""

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["path"].lstrip("/").split("/", 1)[0] in RESERVED:
            return Match.NONE, {}
        return super().matches(scope)


class _Page:
    """Endpoints over the built files. The folder may appear, change or go while the server runs."""

    def __init__(self, dist: Path) -> None:
        self._dist = dist
        self._files = _BuiltFiles(directory=dist, check_dir=False)

    @operation(
        "load_asset",
        tag="Documents",
        who="anyone",
        path=(Parameter("path", str, "A name that the page knows."),),
        answers={200: FILE},
        errors=(NotFound,),
    )
    async def asset(self, request: Request) -> Response:
        """Load a file of the web page."""
        return await self._file(f"assets/{request.path_params['path']}", request.scope, IMMUTABLE)

    @operation(
        "load_page",
        tag="Documents",
        who="anyone",
        path=(Parameter("path", str, "Any address that is not the server's own."),),
        answers={200: FILE, 404: NOTHING_THERE, 503: NO_PAGE},
        errors=(NotFound,),
    )
    async def page(self, request: Request) -> Response:
        """Load the web page, or a file beside it."""
        path = request.path_params["path"]
        if path and _has_suffix(path):
            return await self._file(path, request.scope, ASK_AGAIN)
        if not _wants_html(request):
            raise NotFound
        response = await self._built(INDEX, request.scope)
        # What is not 200 is not built (503), or not sent again (304).
        if response.status_code == 200 and PAGES.fullmatch(path) is None:
            response.status_code = 404
        return response

    @operation("load_docs", tag="Documents", who="anyone", answers={200: FILE, 503: NO_PAGE})
    async def docs(self, request: Request) -> Response:
        """Load the page that shows this description to people."""
        return await self._built(DOCS, request.scope)

    async def _built(self, name: str, scope: Scope) -> Response:
        if not await anyio.Path(self._dist / name).is_file():
            return PlainTextResponse(NOT_BUILT, 503, {"Cache-Control": "no-store", "Retry-After": "10"})
        return await self._file(name, scope, ASK_AGAIN)

    async def _file(self, path: str, scope: Scope, cache_control: str) -> Response:
        try:
            response = await self._files.get_response(path, scope)
        except HTTPException as error:
            raise NotFound from error
        response.headers["Cache-Control"] = cache_control
        return response


class _BuiltFiles(StaticFiles):
    """Static files, compressed where the client takes what the build has prepared. Links out of the folder are not followed."""

    @override
    async def get_response(self, path: str, scope: Scope) -> Response:
        suffix = PurePosixPath(path).suffix
        # What the build makes has short names of ordinary letters; a NUL or 300 letters would be an error of the system's.
        if suffix not in MEDIA_TYPES or len(path) > MAX_NAME_LENGTH or not path.isascii() or not path.isprintable():
            raise HTTPException(404)
        for encoding, extension in _accepted(scope):
            full_path, stat = await anyio.to_thread.run_sync(self.lookup_path, path + extension)
            if stat is not None:
                response = self.file_response(full_path, stat, scope)
                response.headers["Content-Encoding"] = encoding
                break
        else:
            response = await super().get_response(path, scope)
        if isinstance(response, FileResponse):
            response.headers["Content-Type"] = MEDIA_TYPES[suffix]
        response.headers["Vary"] = "Accept-Encoding"
        return response


def _accepted(scope: Scope) -> Iterator[tuple[str, str]]:
    """The prepared encodings that the request names. A weight of zero is a no; other weights are not compared."""
    header = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding").decode("latin-1").lower()
    named = {}
    for item in header.split(","):
        name, _, weight = item.partition(";")
        named[name.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return ((encoding, extension) for encoding, extension in ENCODINGS if named.get(encoding))


def _has_suffix(path: str) -> bool:
    """Whether the last segment looks like a file: an address of the page never does, a probe for `/.env` or `/x.php` always does."""
    return "." in path.rsplit("/", 1)[-1]


def _wants_html(request: Request) -> bool:
    accept = request.headers.get("accept", "*/*")
    return "text/html" in accept or "*/*" in accept
