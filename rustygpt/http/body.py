"""JSON in: what a handler receives is a checked model, or the request was refused and nothing happened.

What is not JSON at all is 400; JSON of the wrong shape is 422 with the fields named; neither ever repeats a value back. Nothing is
read beyond the size cap, whatever Content-Length says.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from starlette.requests import Request

from rustygpt.errors import BadRequest, FieldError, Invalid, TooLarge, UnsupportedMedia
from rustygpt.ids import parse_uuid

MAX_ERRORS: Final = 20
MAX_DEPTH: Final = 64
"""Levels of nesting a body may have; no model of ours has ten."""
READ_DEADLINE_SECONDS: Final = 30.0

_REWORDED: Final = {
    "extra_forbidden": "there is no such field",
    "missing": "is required",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
}
_PARSERS: Final = ("date", "time", "url", "int_parsing", "float_parsing", "bool_parsing", "decimal")
"""Kinds of pydantic errors whose messages may quote a part of the input."""

Model = TypeVar("Model", bound="RequestModel")
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class RequestModel(BaseModel):
    """Base of every request body: unknown fields are refused and types are not converted ("5" is no number, 1 is no boolean)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _canonical_uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        return parse_uuid(value)
    raise ValueError("must be a UUID")


CanonicalUUID = Annotated[UUID, BeforeValidator(_canonical_uuid)]
"""A UUID in its 36-character form, the only one that paths and answers use."""


async def read_body(
    request: Request,
    model: type[Model],
    *,
    max_bytes: int,
    deadline_seconds: float = READ_DEADLINE_SECONDS,
) -> Model:
    """Read the request's JSON object into *model*; an empty body counts as `{}` where the model requires nothing.

    Raises UnsupportedMedia, TooLarge, BadRequest (not JSON, not an object, duplicate keys, too deep, too slow) and Invalid.
    """
    raw = await read_bytes(request, max_bytes=max_bytes, deadline_seconds=deadline_seconds)
    if not raw and not any(field.is_required() for field in model.model_fields.values()):
        raw = b"{}"
    else:
        _require_json(request)
    document = _parse(raw)
    _refuse_nul(raw, document)
    return _validated(model, raw)


async def read_lenient(request: Request, model: type[AnyModel], *, max_bytes: int) -> AnyModel:
    """Read the request's JSON object into a model that lets unknown fields pass. Raises as `read_body`."""
    raw = await read_bytes(request, max_bytes=max_bytes)
    _require_json(request)
    _refuse_nul(raw, _parse(raw))
    return _validated(model, raw)


def _validated(model: type[AnyModel], raw: bytes) -> AnyModel:
    """Check JSON against *model*. Raises Invalid, with the fields."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise Invalid(errors=tuple(_field_errors(error))) from None


async def read_bytes(request: Request, *, max_bytes: int, deadline_seconds: float = READ_DEADLINE_SECONDS) -> bytes:
    """Read the body whatever it is. Raises TooLarge, and BadRequest when it is too slow."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 12 or int(declared) > max_bytes):
        raise TooLarge(f"The body may have at most {max_bytes} bytes.")
    body = bytearray()
    try:
        async with asyncio.timeout(deadline_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > max_bytes:
                    raise TooLarge(f"The body may have at most {max_bytes} bytes.")
                body += chunk
    except TimeoutError:
        raise BadRequest(f"The body did not arrive within {deadline_seconds:g} s.") from None
    return bytes(body)


def _require_json(request: Request) -> None:
    types = request.headers.getlist("content-type")
    media_type, _, parameters = (types[0] if len(types) == 1 else "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8", "charset=utf8"):
        raise UnsupportedMedia
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.")


def _parse(raw: bytes) -> dict[str, Any]:
    """Parse strictly: orjson refuses NaN, lone surrogates, a BOM and bad UTF-8; the second pass finds duplicate keys."""
    try:
        document = orjson.loads(raw)
        # Numbers are not needed here, and int() takes quadratic time on long ones.
        json.loads(raw, object_pairs_hook=_refuse_duplicates, parse_int=len, parse_float=len)
    except (ValueError, RecursionError) as error:
        if isinstance(error, _DuplicateKeys):
            raise BadRequest("The body has an object with a duplicate key.") from None
        raise BadRequest("The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise BadRequest("The body must be a JSON object.")
    return document


class _DuplicateKeys(ValueError):
    pass


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DuplicateKeys


def _refuse_nul(raw: bytes, document: dict[str, Any]) -> None:
    """Refuse too deep bodies, and strings that PostgreSQL's text cannot hold."""
    has_nul = b"\\u0000" in raw
    for path, value in _walk(document):
        if len(path) > MAX_DEPTH:
            raise BadRequest(f"The body is nested more than {MAX_DEPTH} levels deep.")
        if has_nul and ("\0" in path[-1] or (isinstance(value, str) and "\0" in value)):
            field = ".".join(path).replace("\0", "")[:200]
            raise Invalid(errors=(FieldError(field, "must not contain the NUL character"),))


def _walk(document: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (path, value) of everything in *document*, without recursion."""
    pending: list[tuple[tuple[str, ...], Any]] = [((key,), value) for key, value in document.items()]
    while pending:
        path, value = pending.pop()
        yield path, value
        if isinstance(value, dict):
            pending += [((*path, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [((*path, str(number)), item) for number, item in enumerate(value) if isinstance(item, str | dict | list)]


def _field_errors(error: ValidationError) -> Iterator[FieldError]:
    for problem in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_ERRORS]:
        field = ".".join(str(part) for part in problem["loc"])[:200]
        kind = problem["type"]
        message = _REWORDED.get(kind) or problem["msg"].removeprefix("Value error, ")
        if kind.startswith(_PARSERS):
            message = f"is not a valid {kind.partition('_')[0]}"
        yield FieldError(field, message)
