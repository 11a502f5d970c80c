"""An uploaded model: a form whose file goes to the folder as it comes, never through memory or a temporary file.

What was begun and does not end well leaves nothing behind: not after a hang-up, a full disk, a lie about the size, or kill -9 (then the
next sweep removes it, for nobody holds it any more).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from rustygpt.errors import BadRequest, FieldError, Invalid, TooLarge, Unavailable, UnsupportedMedia
from rustygpt.http.body import RequestModel
from rustygpt.ids import UserId, new_uuid
from rustygpt.models.failure import ModelFailure
from rustygpt.models.folder import Folder
from rustygpt.models.library import domain_error
from rustygpt.models.naming import require_free
from rustygpt.models.notes import file_note
from rustygpt.models.part_file import PartFile, in_thread
from rustygpt.models.procedures import add_model_file
from rustygpt.models.source import model_name, parse_sha256

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.models.shelf import Shelf
    from rustygpt.settings_models import ModelSettings

FORM_BYTES: Final = 65_536
"""What a form may have beside its file."""
MAX_PARTS: Final = 8
MAX_FIELD_BYTES: Final = 1_024
SPACE_BYTES: Final = 67_108_864
"""The disk is looked at after so many bytes."""
LEAST_BYTES_PER_SECOND: Final = 1_024


class Uploads:
    """Takes uploads, at most `max_concurrent_jobs` at once in this process."""

    def __init__(self, database: Caller, shelf: Shelf, folder: Folder, settings: ModelSettings) -> None:
        self._database = database
        self._shelf = shelf
        self._folder = folder
        self._settings = settings
        self._running = 0

    async def receive(self, request: Request, form: type[RequestModel], actor: UserId) -> str:
        """Take the file of a form with the fields of *form* into the folder, and return the model's name.

        Raises UnsupportedMedia, TooLarge, BadRequest, Invalid, Conflict, Forbidden, Unavailable; ClientDisconnect.
        """
        boundary = _require_form(request, self._settings.max_bytes + FORM_BYTES)
        if self._running >= self._settings.max_concurrent_jobs:
            raise Unavailable("Too many uploads are under way. Try again when one is done.", retry_after_seconds=30)
        self._running += 1
        try:
            return await self._receive(request, boundary, frozenset(form.model_fields), actor)
        except ModelFailure as failure:
            raise domain_error(failure) from None
        except FormParserError:
            raise BadRequest("The form cannot be read.") from None
        finally:
            self._running -= 1

    async def _receive(self, request: Request, boundary: bytes, fields: frozenset[str], actor: UserId) -> str:
        declared = request.headers.get("content-length", "")
        await in_thread(self._folder.require_space, int(declared) if declared.isdecimal() else 0)
        part = await PartFile.open(self._folder.upload_part(new_uuid()))
        try:
            form = _Form(boundary, fields, part, self._folder, self._shelf, self._settings.max_bytes)
            async for chunk in _chunks(request, self._settings.stall_seconds):
                await form.take(chunk)
            form.end()
            await require_free(self._shelf, self._folder, form.model_name())
            return await self._keep(part, form, actor)
        finally:
            try:
                await part.remove()
            finally:
                await part.close()

    async def _keep(self, part: PartFile, form: _Form, actor: UserId) -> str:
        name = form.model_name()
        target = self._folder.target(name)
        digest, header = await part.settle(target, sha256=parse_sha256(form.fields.get("sha256")))
        note = file_note(part.size, digest, header)
        is_noted = False
        try:
            await add_model_file(self._database, actor=actor, name=name, file=note)
            is_noted = True
        finally:
            if not is_noted:  # who is told that it failed finds nothing, and may try again
                await in_thread(target.unlink, missing_ok=True)
        return name


class _Form:
    """Reads the form as it comes: `file` goes to the part, the others are kept."""

    def __init__(
        self, boundary: bytes, known: frozenset[str], part: PartFile, folder: Folder, shelf: Shelf, max_bytes: int
    ) -> None:
        self.fields: dict[str, str] = {}
        self._known = known
        self._part = part
        self._folder = folder
        self._shelf = shelf
        self._max_bytes = max_bytes
        self._events: list[tuple[str, bytes]] = []
        self._header = b""
        self._disposition = b""
        self._field: str | None = None
        self._text = b""
        self._parts = 0
        self._size = 0
        self._filename: str | None = None
        self._is_over = False
        self._space_at = SPACE_BYTES
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": lambda: self._events.append(("begin", b"")),
                "on_header_field": lambda data, start, end: self._events.append(("header", data[start:end])),
                "on_header_value": lambda data, start, end: self._events.append(("value", data[start:end])),
                "on_header_end": lambda: self._events.append(("header end", b"")),
                "on_headers_finished": lambda: self._events.append(("headers end", b"")),
                "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
                "on_part_end": lambda: self._events.append(("end", b"")),
                "on_end": lambda: self._events.append(("over", b"")),
            },
        )

    async def take(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        self._parser.write(chunk)
        events, self._events = self._events, []
        for kind, data in events:
            await self._on(kind, data)

    def end(self) -> None:
        """The body is over. Raises BadRequest when the form is not."""
        if not self._is_over:
            raise BadRequest("The form ends before its last boundary.")

    def model_name(self) -> str:
        """Return what the model is to be called. Raises Invalid."""
        if self._filename is None:
            raise Invalid(errors=(FieldError("file", "is required"),))
        return model_name(self.fields["name"]) if "name" in self.fields else model_name(self._filename, field="file")

    async def _on(self, kind: str, data: bytes) -> None:
        match kind:
            case "begin":
                self._begin()
            case "header":
                self._header += data
            case "value" if self._header.lower() == b"content-disposition":
                self._disposition += data
            case "header end":
                self._header = b""
            case "headers end":
                await self._name_field()
            case "data" if self._field == "file":
                await self._write(data)
            case "data":
                self._text += data
                if len(self._text) > MAX_FIELD_BYTES:
                    raise Invalid(errors=(FieldError(self._field or "", f"has more than {MAX_FIELD_BYTES} bytes"),))
            case "end":
                self._end_part()
            case "over":
                self._is_over = True

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadRequest(f"The form has more than {MAX_PARTS} parts.")
        self._header = self._disposition = self._text = b""

    async def _name_field(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field not in self._known or field in self.fields or (field == "file" and self._filename is not None):
            message = "stands there twice" if field in self._known else "there is no such field"
            raise Invalid(errors=(FieldError(field[:200].replace("\0", ""), message),))
        self._field = field
        if field == "file":
            self._filename = options.get(b"filename", b"").decode("utf-8", "replace")
            name = self.model_name()
            if (
                "name" in self.fields
            ):  # else another one may yet come, and a file of gigabytes under its own name is looked at last
                await require_free(self._shelf, self._folder, name)

    async def _write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            raise TooLarge(f"A model may have at most {self._max_bytes} bytes (models.max_bytes).")
        await self._part.write(data, None)
        if self._size >= self._space_at:
            self._space_at = self._size + SPACE_BYTES
            await in_thread(self._folder.require_space, 0)

    def _end_part(self) -> None:
        if self._field is not None and self._field != "file":
            try:
                self.fields[self._field] = self._text.decode("utf-8")
            except UnicodeDecodeError:
                raise Invalid(errors=(FieldError(self._field, "is not UTF-8"),)) from None


def _require_form(request: Request, max_bytes: int) -> bytes:
    """Return the form's boundary. Raises UnsupportedMedia and TooLarge."""
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    if media_type != b"multipart/form-data" or not options.get(b"boundary"):
        raise UnsupportedMedia("The body must be multipart/form-data with a boundary.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise TooLarge(f"A model may have at most {max_bytes - FORM_BYTES} bytes (models.max_bytes).")
    return options[b"boundary"]


async def _chunks(request: Request, stall_seconds: float) -> AsyncIterator[bytes]:
    """Yield the body as it comes. Raises BadRequest when too little does, and ClientDisconnect."""
    clock = asyncio.get_running_loop().time
    started_at, received = clock(), 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(stall_seconds):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise BadRequest(f"The upload stopped for {stall_seconds:g} s.") from None
        if chunk is None:
            return
        yield chunk
        received += len(chunk)
        if clock() - started_at >= stall_seconds:
            if received < stall_seconds * LEAST_BYTES_PER_SECOND:
                raise BadRequest("The upload brings less than a kilobyte a second.")
            started_at, received = clock(), 0
