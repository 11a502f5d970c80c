"""Bad bodies: refused with the right code, nothing echoed, nothing read beyond the cap."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from rustygpt.errors import BadRequest, DomainError, TooLarge
from rustygpt.http.body import read_body
from rustygpt.observability.metrics import Metrics
from tests.http.sample_app import MAX_BYTES, Note, build_app, running
from tests.person import DEADLINE_SECONDS

JSON = {"Content-Type": "application/json"}
SECRET = "hunter2-do-not-echo"


def post(client: TestClient, body: bytes | str, headers: dict[str, str] = JSON) -> httpx2.Response:
    return client.post("/notes", content=body, headers=headers)


def test_good_body_is_read_whole(client: TestClient) -> None:
    """A correct body arrives with its types, whatever the case and charset of its media type."""
    sent = {
        "content": "héllo 🎉 \u2028",
        "count": 3,
        "loud": True,
        "parent_id": "018f3e6e-0000-7000-8000-000000000001",
        "parameters": {"a": [1, {"b": None}]},
        "tags": ["x"],
    }
    response = post(client, json.dumps(sent), {"Content-Type": 'Application/JSON; charset="UTF-8"'})
    assert (response.status_code, response.json()) == (200, sent)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"null",
        b"12",
        b'{"content":"a"} trailing',
        b'{"content":"a","count":NaN}',
        b'{"content":"a","count":Infinity}',
        b'{"content":"\xff"}',
        b'{"content":"\\ud800"}',
        b'{"content":"a\x00b"}',
        b'\xef\xbb\xbf{"content":"a"}',
        b'{"content":"a","content":"b"}',
        b'{"content":"a","parameters":{"x":1,"x":2}}',
        b'{"content":"a","parameters":' + b'{"a":' * 80 + b"1" + b"}" * 80 + b"}",
        b"[" * 900,
        b'{"a":' * 190,
    ],
)
def test_what_is_not_a_json_object_is_400(client: TestClient, body: bytes) -> None:
    """Unparsable, ambiguous, too deep or not an object: 400 RGP.BAD_REQUEST."""
    response = post(client, body)
    assert (response.status_code, response.json()["code"]) == (400, "RGP.BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "content", "is required"),
        ({"content": "a", "colour": SECRET}, "colour", "there is no such field"),
        ({"content": 5}, "content", "Input should be a valid string"),
        ({"content": None}, "content", "Input should be a valid string"),
        ({"content": "a", "count": SECRET}, "count", "Input should be a valid integer"),
        ({"content": "a", "count": "5"}, "count", "Input should be a valid integer"),
        ({"content": "a", "count": True}, "count", "Input should be a valid integer"),
        ({"content": "a", "count": 1.5}, "count", None),
        ({"content": "a", "loud": 1}, "loud", "Input should be a valid boolean"),
        ({"content": "a", "parent_id": SECRET}, "parent_id", "not a UUID"),
        ({"content": "a", "parent_id": "018f3e6e000070008000000000000001"}, "parent_id", "not a UUID"),
        ({"content": "a", "tags": ["x", {SECRET: 1}]}, "tags.1", "Input should be a valid string"),
        ({"content": f"{SECRET}\0"}, "content", "must not contain the NUL character"),
        ({"content": "a", "parameters": {"x": [{"y": "\0"}]}}, "parameters.x.0.y", "must not contain the NUL character"),
        ({"content": "a", "parameters": {"x\0": 1}}, "parameters.x", "must not contain the NUL character"),
    ],
)
def test_wrong_shape_is_422_with_the_field(client: TestClient, body: dict[str, Any], field: str, message: str | None) -> None:
    """JSON of the wrong shape is 422, names the field, and never repeats the value."""
    response = post(client, json.dumps(body))
    assert (response.status_code, response.json()["code"]) == (422, "RGP.VALIDATION")
    error = response.json()["errors"][0]
    assert error["field"] == field
    assert message is None or error["message"] == message
    assert SECRET not in response.text


def test_errors_are_capped(client: TestClient) -> None:
    """A body with a hundred unknown fields gets twenty errors, not a hundred."""
    response = post(client, json.dumps({f"f{number}": 1 for number in range(90)}))
    assert len(response.json()["errors"]) == 20


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/jsonx"},
        {},
    ],
)
def test_other_media_types_are_415(client: TestClient, headers: dict[str, str]) -> None:
    """A body that is not declared as JSON is 415, so a plain form cannot post."""
    response = post(client, b'{"content":"a"}', headers)
    assert (response.status_code, response.json()["code"]) == (415, "RGP.MEDIA_TYPE")


def test_compressed_body_is_415(client: TestClient) -> None:
    """A compressed body is refused: a small one could hide a large one."""
    response = post(client, gzip.compress(b'{"content":"a"}'), {**JSON, "Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_empty_body_is_an_empty_object_where_nothing_is_required(client: TestClient) -> None:
    """No body at all is `{}` for a model without required fields, and 400 for one that has some."""
    assert client.post("/options").json() == {"loud": False}
    assert client.post("/notes", headers=JSON).status_code == 400


def test_body_at_the_cap_passes_and_one_byte_more_does_not(client: TestClient) -> None:
    """The cap is exact, with and without Content-Length."""
    frame = len(json.dumps({"content": ""}))
    fits = json.dumps({"content": "x" * (MAX_BYTES - frame)}).encode()
    too_much = json.dumps({"content": "x" * (MAX_BYTES - frame + 1)}).encode()

    def chunks(body: bytes) -> Iterator[bytes]:
        yield body[:10]
        yield body[10:]

    assert post(client, fits).status_code == 200
    assert post(client, too_much).json()["code"] == "RGP.TOO_LARGE"
    assert client.post("/notes", content=chunks(fits), headers=JSON).status_code == 200
    assert client.post("/notes", content=chunks(too_much), headers=JSON).status_code == 413


def test_oversize_over_a_real_socket_is_answered(metrics: Metrics) -> None:
    """A chunked body far past the cap gets its 413 while the client is still sending, and the server lives on."""

    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 10_000

    with running(build_app(metrics)) as url, httpx2.Client(timeout=DEADLINE_SECONDS) as http:
        response = http.post(f"{url}/notes", content=chunks(), headers=JSON)
        assert (response.status_code, response.json()["code"]) == (413, "RGP.TOO_LARGE")
        assert http.post(f"{url}/notes", content=b'{"content":"a"}', headers=JSON).status_code == 200


def _request(messages: AsyncIterator[dict[str, Any]], headers: list[tuple[bytes, bytes]]) -> Request:
    async def receive() -> dict[str, Any]:
        return await anext(messages)

    return Request({"type": "http", "method": "POST", "headers": headers, "path": "/"}, receive)


async def test_lying_content_length_does_not_open_the_cap() -> None:
    """Reading stops at the first chunk past the cap, whatever Content-Length claimed."""
    taken = 0

    async def endless() -> AsyncIterator[dict[str, Any]]:
        nonlocal taken
        while True:
            taken += 1
            yield {"type": "http.request", "body": b"x" * 100, "more_body": True}

    request = _request(endless(), [(b"content-length", b"10"), (b"content-type", b"application/json")])
    with pytest.raises(TooLarge):
        await read_body(request, Note, max_bytes=MAX_BYTES)
    assert taken == MAX_BYTES // 100 + 1


async def test_declared_oversize_is_refused_unread() -> None:
    """A Content-Length past the cap is refused before a byte is read, however long the number."""

    reads = 0

    async def unread() -> AsyncIterator[dict[str, Any]]:
        nonlocal reads
        reads += 1
        yield {"type": "http.request", "body": b"", "more_body": False}

    for length in (b"1001", b"9" * 5_000):
        request = _request(unread(), [(b"content-length", length), (b"content-type", b"application/json")])
        with pytest.raises(TooLarge):
            await read_body(request, Note, max_bytes=MAX_BYTES)
    assert reads == 0


async def test_body_that_never_comes_is_given_up() -> None:
    """A client that sends its head and nothing more holds the handler for the deadline, no longer."""

    async def silent() -> AsyncIterator[dict[str, Any]]:
        yield await asyncio.get_running_loop().create_future()

    request = _request(silent(), [(b"content-type", b"application/json")])
    with pytest.raises(BadRequest, match="did not arrive"):
        await read_body(request, Note, max_bytes=MAX_BYTES, deadline_seconds=0.01)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s))
)
async def test_no_body_gets_past_as_another_error(body: object) -> None:
    """Whatever the bytes, the reader answers with a model or a DomainError, never with another exception."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def once() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": raw, "more_body": False}

    request = _request(once(), [(b"content-type", b"application/json")])
    try:
        outcome: object = await read_body(request, Note, max_bytes=10_000)
    except DomainError as error:
        outcome = error.status
    assert isinstance(outcome, Note) or outcome in (400, 422)
