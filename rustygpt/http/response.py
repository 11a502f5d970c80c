"""JSON out: every answer is encoded here, times as RFC 3339 in UTC with Z, ids as UUIDs, and is never cached."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from pydantic import BaseModel
from starlette.responses import Response

# orjson keeps a time's own offset, so times come to _encode_other.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME


def encode_json(data: object) -> bytes:
    """Encode dataclasses, pydantic models, UUIDs, aware datetimes, enums and plain JSON values as compact UTF-8."""
    return orjson.dumps(data, default=_encode_other, option=_OPTIONS)


def json_response(data: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with *data*; private by default (`Cache-Control: no-store`), which *headers* may override."""
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(encode_json(data), status_code=status, headers=all_headers, media_type="application/json")


def _encode_other(value: object) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a time without a zone has no JSON form")
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, UUID):  # asyncpg's own subclass, which orjson does not know
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
