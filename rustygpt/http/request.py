"""What a request carries beside its body: ids in the path, query parameters, the idempotency key.

Each is read once, checked, and refused with 400 when malformed; an id that is no UUID never reaches the database.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field
from starlette.requests import Request

from rustygpt.errors import BadRequest, FieldError, Invalid
from rustygpt.ids import parse_uuid
from rustygpt.operation import Parameter

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_KEY_CHARACTERS: Final = 128

LIMIT: Final = Parameter(
    "limit", Annotated[int, Field(ge=1, le=MAX_LIMIT)], f"At most so many items; {DEFAULT_LIMIT} unless said."
)
CURSOR: Final = Parameter("cursor", str, "`next_cursor` of the page before.")
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARACTERS, pattern=r"^[\x21-\x7e]+$")],
    "The same key again gives the same answer, and never a second row; with another body it is a 409.",
)

_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]+")


def path_uuid(request: Request, name: str) -> UUID:
    """Return the path parameter *name*. Raises BadRequest."""
    try:
        return parse_uuid(request.path_params[name])
    except ValueError:
        raise BadRequest(f"The {name} in the address is not a UUID.") from None


def query_value(request: Request, name: str) -> str | None:
    """Return the query parameter *name*, None when absent. Raises BadRequest when it is given twice or holds a NUL."""
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"The query parameter {name} is given more than once.")
    if values and "\0" in values[0]:
        raise BadRequest(f"The query parameter {name} must not contain the NUL character.")
    return values[0] if values else None


def query_uuid(request: Request, name: str) -> UUID | None:
    """Return the query parameter *name* as an id, None when absent. Raises BadRequest."""
    text = query_value(request, name)
    try:
        return parse_uuid(text) if text is not None else None
    except ValueError:
        raise BadRequest(f"The query parameter {name} is not a UUID.") from None


def query_limit(request: Request, default: int = DEFAULT_LIMIT) -> int:
    """Return `?limit=`, 1 to 200. Raises BadRequest."""
    text = query_value(request, "limit")
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise BadRequest(f"The limit must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


RequireModel = Callable[[str | None], Awaitable[None]]
"""Raises Invalid, naming the field `model`, when there is no such model; None is always fine."""


def idempotency_key(request: Request, client_id: str | None = None) -> str | None:
    """Return the key under which a repeated POST must answer the same: the header Idempotency-Key, or *client_id* of the body.

    Raises BadRequest for a malformed header or two different keys, and Invalid for a malformed client_id.
    """
    headers = request.headers.getlist("idempotency-key")
    if client_id is not None and not _is_key(client_id):
        message = f"must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters"
        raise Invalid(errors=(FieldError("client_id", message),))
    if not headers:
        return client_id
    if len(headers) > 1 or not _is_key(headers[0]):
        raise BadRequest(f"Idempotency-Key must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters, given once.")
    if client_id is not None and client_id != headers[0]:
        raise BadRequest("Idempotency-Key and client_id differ.")
    return headers[0]


def _is_key(text: str) -> bool:
    return len(text) <= MAX_KEY_CHARACTERS and _VISIBLE_ASCII.fullmatch(text) is not None
