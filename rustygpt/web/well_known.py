"""`/.well-known/…`: what the settings list, read once at the start and compared by its whole address; nothing else of the disk is reachable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from rustygpt.errors import NotFound
from rustygpt.operation import Answer, Parameter, operation
from rustygpt.settings import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from rustygpt.settings_server import WellKnownSettings

MAX_BYTES: Final = 262_144
CACHE_CONTROL: Final = "public, max-age=3600"
"""An hour: what stands here is asked for by machines, and changed with a restart."""


@dataclass(frozen=True, slots=True)
class Document:
    """What one address answers."""

    body: bytes
    content_type: str
    etag: str


def read_documents(listed: Sequence[WellKnownSettings]) -> dict[str, Document]:
    """Return the documents by their paths. Raises SettingsError for a file that cannot be read or is too large, and a path that is listed twice."""
    documents: dict[str, Document] = {}
    for number, each in enumerate(listed):
        if each.path in documents:
            raise SettingsError(f"well_known.{number}.path: {each.path} is listed twice")
        body = each.content.encode() if each.file is None else _read(f"well_known.{number}.file", each.file)
        documents[each.path] = Document(body, each.content_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return documents


def _read(key: str, path: Path) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{key}: {path} cannot be read: {error.strerror}") from None
    if len(body) > MAX_BYTES:
        raise SettingsError(f"{key}: {path} has more than {MAX_BYTES} bytes")
    return body


class WellKnownRoutes:
    """For everybody."""

    def __init__(self, documents: Mapping[str, Document]) -> None:
        self._documents = documents

    @property
    def routes(self) -> list[Route]:
        """The route, to be mounted at the top, before the page's."""
        return [Route("/.well-known/{path:path}", self.read, methods=["GET"])]

    @operation(
        "read_well_known",
        tag="Documents",
        who="anyone",
        path=(Parameter("path", str, "What the setting well_known lists, such as security.txt."),),
        headers=(Parameter("If-None-Match", str, "The ETag of an earlier answer: 304 while it is the same."),),
        answers={
            200: Answer(bytes, "The document.", "*/*", headers=("Cache-Control", "ETag")),
            304: Answer(None, "It is what If-None-Match names.", headers=("Cache-Control", "ETag")),
        },
        errors=(NotFound,),
    )
    async def read(self, request: Request) -> Response:
        """Read a document that others look for at a fixed address."""
        document = self._documents.get(request.path_params["path"])
        if document is None:
            raise NotFound
        headers = {"Cache-Control": CACHE_CONTROL, "ETag": document.etag}
        if _is_known(request.headers.get("if-none-match", ""), document.etag):
            return Response(status_code=304, headers=headers)
        return Response(document.body, headers={**headers, "Content-Type": document.content_type})


def _is_known(if_none_match: str, etag: str) -> bool:
    """Compare weakly, as RFC 9110, section 13.1.2 wants it."""
    given = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return etag in given or "*" in given
