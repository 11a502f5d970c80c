"""Page cursors: where the next page of a list begins, signed, so that a client can neither read meaning into them nor make one up.

A cursor belongs to one kind of list: one of `threads` is refused by `conversations`. It holds keyset values, never an offset.
"""

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from itsdangerous import BadSignature, Signer

from rustygpt.errors import BadRequest

CursorValue = UUID | datetime | int | str | None

MAX_CURSOR_CHARACTERS: Final = 1_024


class PageCursors:
    """Makes and reads the cursors of all lists; *secret* has at least 16 bytes and is the same on all processes."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of page cursors needs at least 16 bytes")
        self._secret = secret

    def encode(self, kind: str, values: list[CursorValue]) -> str:
        """Return a cursor of URL-safe characters for *values*, the keyset of a page's last item."""
        payload = orjson.dumps([_tagged(value) for value in values])
        return self._signer(kind).sign(base64.urlsafe_b64encode(payload).rstrip(b"=")).decode("ascii")

    def decode(self, kind: str, text: str) -> list[CursorValue]:
        """Return the values given to `encode`, in their types. Raises BadRequest when malformed, forged or of another kind."""
        try:
            if len(text) > MAX_CURSOR_CHARACTERS:
                raise ValueError("too long")
            payload = self._signer(kind).unsign(text.encode("ascii"))
            tagged = orjson.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
        except (BadSignature, ValueError, binascii.Error):
            raise BadRequest("The cursor is not one that this server gave out for this list.") from None
        return [_untagged(value) for value in tagged]

    def page(self, text: str | None, kind: str, count: int) -> list[Any]:
        """Return the *count* keyset values of a page's `?cursor=`, all None for the first page. Raises BadRequest."""
        if text is None:
            return [None] * count
        values = self.decode(kind, text)
        if len(values) != count:
            raise BadRequest("The page cursor is malformed.")
        return list(values)

    def _signer(self, kind: str) -> Signer:
        return Signer(self._secret, salt=f"rustygpt.page-cursor.{kind}", digest_method=hashlib.sha256)


def _tagged(value: CursorValue) -> object:
    match value:
        case UUID():
            return {"u": str(value)}  # asyncpg has a subclass of its own, which orjson does not know
        case datetime():
            if value.tzinfo is None:
                raise ValueError("a cursor needs aware times")
            return {"t": value}
        case _:
            return value


def _untagged(value: object) -> CursorValue:
    match value:
        case {"u": str(text)}:
            return UUID(text)
        case {"t": str(text)}:
            return datetime.fromisoformat(text)
        case int() | str() | None:
            return value
        case _:
            raise TypeError("not a cursor value")
