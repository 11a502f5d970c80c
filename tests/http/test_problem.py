"""Errors as responses: application/problem+json, complete, and silent about what is not the caller's business."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from rustygpt.errors import FieldError, Invalid
from rustygpt.http.problem import CONTENT_TYPE
from rustygpt.observability.metrics import Metrics
from tests.http.sample_app import build_app, running

Lines = Callable[[], list[dict[str, Any]]]


def test_domain_error_has_every_field_of_the_contract(client: TestClient) -> None:
    """A domain error carries type, title, status, code, detail, instance and request_id."""
    response = client.get("/fail/conflict", headers={"X-Request-Id": "abc-1"})
    assert response.status_code == 409
    assert response.headers["content-type"] == CONTENT_TYPE
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "type": "urn:rustygpt:error:RGP.CONFLICT",
        "title": "The request conflicts with the present state.",
        "status": 409,
        "code": "RGP.CONFLICT",
        "detail": "The last owner stays.",
        "instance": "/fail/conflict",
        "request_id": "abc-1",
    }


def test_validation_error_lists_its_fields(client: TestClient) -> None:
    """A validation error has errors, each with field and message."""
    assert client.get("/fail/invalid").json()["errors"] == [{"field": "email", "message": "is required"}]


def test_retry_after_is_a_header(client: TestClient) -> None:
    """An error that says when to try again says it in Retry-After, in seconds."""
    response = client.get("/fail/limited")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


def test_401_names_a_scheme(client: TestClient) -> None:
    """Every 401 has WWW-Authenticate, raw ASGI endpoints included."""
    response = client.get("/raw/refused")
    assert response.status_code == 401
    assert response.json()["code"] == "RGP.AUTH.SESSION_EXPIRED"
    assert response.headers["www-authenticate"] == 'Bearer realm="rustygpt"'
    assert response.headers["x-request-id"] == response.json()["request_id"]


def test_unknown_path_is_404(client: TestClient) -> None:
    """A path without a route is a problem of code RGP.NOT_FOUND, its instance percent-encoded."""
    response = client.get("/nowhere/%E2%82%AC?token=x")
    assert (response.status_code, response.json()["code"]) == (404, "RGP.NOT_FOUND")
    assert response.json()["instance"] == "/nowhere/%E2%82%AC"


def test_wrong_method_keeps_allow(client: TestClient) -> None:
    """A known path with a wrong method is 405 and names the right ones in Allow."""
    response = client.get("/notes")
    assert (response.status_code, response.json()["code"], response.headers["allow"]) == (405, "RGP.METHOD", "POST")


def test_unexpected_exception_tells_nothing_and_is_logged_once(client: TestClient, log_lines: Lines) -> None:
    """An unexpected exception is a bare RGP.INTERNAL with all headers, and one log entry with the traceback."""
    response = client.get("/fail/unexpected", headers={"X-Request-Id": "abc-2"})
    assert (response.status_code, response.json()["code"]) == (500, "RGP.INTERNAL")
    assert "secret plan" not in response.text
    assert response.headers["x-request-id"] == "abc-2"
    assert "content-security-policy" in response.headers
    failed = [line for line in log_lines() if "exception" in line]
    assert [(line["event"], line["request_id"], line["route"]) for line in failed] == [("request_failed", "abc-2", "/fail/{how}")]
    assert "in fail\n" in failed[0]["exception"]


def test_exception_after_the_start_cuts_the_answer_short(metrics: Metrics, log_lines: Lines) -> None:
    """When the answer has begun, an exception is logged once and the connection closed; no second answer is sent."""
    with running(build_app(metrics)) as url, pytest.raises(httpx2.RemoteProtocolError):
        httpx2.get(f"{url}/late")
    events = [line["event"] for line in log_lines() if line.get("logger") is None]
    assert events == ["request_failed", "http_request"]
    assert len([line for line in log_lines() if "exception" in line]) == 1


def test_refusal_of_fields_always_names_one() -> None:
    """A 422 has `errors`, as the description promises, also where it is about the body as a whole."""
    assert Invalid("The body names nothing to change.").errors == (FieldError("", "The body names nothing to change."),)
    assert Invalid().errors == (FieldError("", Invalid.title),)
    assert Invalid(errors=(FieldError("name", "is required"),)).errors == (FieldError("name", "is required"),)
