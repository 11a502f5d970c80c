"""Forms in: the fields that a page of another site posted (application/x-www-form-urlencoded), bounded in size and number.

A field that stands there twice counts as not there: no two readers of the request may see different values.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from rustygpt.errors import BadRequest, UnsupportedMedia
from rustygpt.http.body import read_bytes

MEDIA_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 32


async def read_form(request: Request, *, max_bytes: int) -> Mapping[str, str]:
    """Read the fields of a posted form. Raises UnsupportedMedia, TooLarge and BadRequest."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UnsupportedMedia(f"The body must be {MEDIA_TYPE}.")
    raw = await read_bytes(request, max_bytes=max_bytes)
    return _fields(raw.decode("latin-1"))


def query_fields(request: Request) -> Mapping[str, str]:
    """Read the query in the same way as a form. Raises BadRequest."""
    return _fields(request.url.query)


def _fields(text: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BadRequest(f"The form has more than {MAX_FIELDS} fields.") from None
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}
