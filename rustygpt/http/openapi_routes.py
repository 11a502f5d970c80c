"""`/openapi.json` and `/openapi.yaml`: the API's description, made once, when somebody first asks, and the same until the process ends."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rustygpt.operation import Answer, operation

YAML: Final = "application/yaml"
"""RFC 9512."""
CACHE_CONTROL: Final = "no-cache"
"""May be kept, and is asked for again each time: another version of the server may answer."""
DOCUMENT_HEADERS: Final = ("ETag", "Cache-Control")

RequireReader = Callable[[Request], object]
"""Raises the error that whoever asks is to get."""


@dataclass(frozen=True, slots=True)
class _Written:
    """The document in one of its two spellings."""

    text: bytes
    etag: str


class OpenApiRoutes:
    """Describes *others* and itself, to whom *require_reader* does not raise for."""

    def __init__(self, others: Sequence[BaseRoute], *, version: str, require_reader: RequireReader | None = None) -> None:
        self.routes: list[Route] = [
            Route("/openapi.json", self.json, methods=["GET"]),
            Route("/openapi.yaml", self.yaml, methods=["GET"]),
        ]
        self._others = others
        self._version = version
        self._reader = require_reader
        self._written: dict[str, _Written] = {}
        self._lock = asyncio.Lock()

    def document(self) -> dict[str, Any]:
        """Build the document, which takes a moment. Raises Undeclared."""
        from rustygpt.http.openapi import build_document

        return build_document([*self._others, *self.routes], version=self._version)

    @operation(
        "read_openapi_json",
        tag="Documents",
        who="reader",
        answers={
            200: Answer(dict[str, Any], "The document.", headers=DOCUMENT_HEADERS),
            304: Answer(None, "It is the same as yours."),
        },
    )
    async def json(self, request: Request) -> Response:
        """Read this description of the API as JSON."""
        return await self._answer(request, "application/json", encode_as_json)

    @operation(
        "read_openapi_yaml",
        tag="Documents",
        who="reader",
        answers={
            200: Answer(dict[str, Any], "The document.", YAML, headers=DOCUMENT_HEADERS),
            304: Answer(None, "It is the same as yours."),
        },
    )
    async def yaml(self, request: Request) -> Response:
        """Read this description of the API as YAML."""
        return await self._answer(request, YAML, encode_as_yaml)

    async def _answer(self, request: Request, media_type: str, encode: Callable[[dict[str, Any]], bytes]) -> Response:
        self._require_reader(request)
        async with self._lock:
            if media_type not in self._written:
                text = await asyncio.to_thread(lambda: encode(self.document()))
                self._written[media_type] = _Written(text, f'"{hashlib.sha256(text).hexdigest()[:32]}"')
        written = self._written[media_type]
        headers = {"ETag": written.etag, "Cache-Control": CACHE_CONTROL}
        if written.etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(written.text, headers=headers, media_type=media_type)

    def _require_reader(self, request: Request) -> None:
        if self._reader is not None:
            self._reader(request)


def encode_as_json(document: dict[str, Any]) -> bytes:
    """Return the document as indented JSON, which compares well line by line."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def encode_as_yaml(document: dict[str, Any]) -> bytes:
    """Return the document as YAML, in the same order."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast, where libyaml came along
    text: str = yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()
