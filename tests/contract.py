"""Every answer and event that a `Person` gets in any test is compared with what the server says of itself, closed to what that does not name."""

import json
import re
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs

from rustygpt.cli.openapi import read_document
from tests.fuzz.closed import closed

EVENT_STREAM = "text/event-stream"
OF_EVERY_ADDRESS = {404, 405, 408, 431}
"""Statuses of addresses and methods that there are not, and of heads that are no good: of no operation."""


@cache
def document() -> dict[str, Any]:
    return closed(dict(read_document()))


@cache
def patterns() -> list[tuple[re.Pattern[str], str]]:
    """The paths, those with fewer parameters first, as a router finds them."""
    paths = sorted(document()["paths"], key=lambda path: (path.count("{"), path))
    return [(re.compile(re.sub(r"\\{(\w+)\\}", lambda name: _part(name[1]), re.escape(path))), path) for path in paths]


def _part(name: str) -> str:
    return "(.+)" if name in ("path", "model") else "([^/]+)"


@cache
def operation(method: str, path: str) -> dict[str, Any] | None:
    """What answers there; None where nothing does, and for what is no part of the API."""
    if not path.startswith(("/api/", "/v1/")):
        return None
    found = next((template for pattern, template in patterns() if pattern.fullmatch(path)), None)
    item = document()["paths"][found] if found else {}
    declared: dict[str, Any] | None = item.get(method.lower())
    return declared


async def examine_answer(response: httpx2.Response) -> None:
    """Raise AssertionError where the answer is not as described."""
    declared = operation(response.request.method, response.request.url.path)
    if declared is None:
        return
    where = f"{response.request.method} {response.request.url.path} → {response.status_code}"
    said = declared["responses"].get(str(response.status_code))
    assert said or response.status_code in OF_EVERY_ADDRESS, f"{where} is not described; see rustygpt/operation.py"
    if said is None:
        return
    if "$ref" in said:
        said = document()["components"]["responses"][said["$ref"].rpartition("/")[2]]
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if media_type == EVENT_STREAM:
        return
    content = await response.aread()
    described = said.get("content", {})
    is_described = (not content and not described) or media_type in described or "*/*" in described
    assert is_described, f"{where} has {media_type!r}, described are {[*described]}"
    if content and media_type in described and media_type.endswith("json"):
        _compare(json.dumps(described[media_type]["schema"]), json.loads(content), where)


def examine_event(body: dict[str, Any]) -> None:
    """Raise AssertionError where an event is none of those described."""
    mapping = document()["components"]["schemas"]["StreamEvent"]["discriminator"]["mapping"]
    if body["type"] in mapping:  # what is not in the log may be told before it is described
        _compare(json.dumps({"$ref": mapping[body["type"]]}), body, f"event {body['type']}")


@cache
def _validator(schema: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator({**json.loads(schema), "components": document()["components"]})


def _compare(schema: str, instance: Any, where: str) -> None:
    error = next(_validator(schema).iter_errors(instance), None)
    assert error is None, f"{where} is not as described: {error.message} at {[*error.instance_path]}"
