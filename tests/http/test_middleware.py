"""Request ids, security headers, the canonical line, the counts."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from rustygpt.http.middleware import CONTENT_SECURITY_POLICY, SECURITY_HEADERS
from rustygpt.observability.metrics import Metrics
from tests.http.sample_app import Actor, build_app
from tests.person import DEADLINE_SECONDS

Lines = Callable[[], list[dict[str, Any]]]


def count(metrics: Metrics, **labels: str) -> float:
    return metrics.registry.get_sample_value("http_requests_total", labels) or 0.0


def timed(metrics: Metrics, **labels: str) -> float:
    return metrics.registry.get_sample_value("http_request_duration_seconds_count", labels) or 0.0


def test_well_formed_request_id_is_kept(client: TestClient) -> None:
    """A request id of up to 64 letters, digits, dots, dashes and underscores is the answer's too."""
    assert client.get("/healthz", headers={"X-Request-Id": "a.B_c-1" * 9}).headers["x-request-id"] == "a.B_c-1" * 9


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\x0b", "é", 'a"b', "a/b"])
def test_malformed_request_id_is_replaced(client: TestClient, given: str) -> None:
    """Anything else is replaced by a fresh one, and never comes back."""
    answered = client.get("/healthz", headers=[(b"X-Request-Id", given.encode("latin-1"))]).headers["x-request-id"]
    assert answered != given
    assert len(answered) == 36


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/fail/unexpected", "/raw/stream", "/raw/refused", "/assets/x"])
def test_every_answer_has_id_and_security_headers(client: TestClient, path: str) -> None:
    """Success, 404, 500, streams and refusals all carry X-Request-Id and the security headers, once."""
    headers = client.get(path).headers
    assert len(headers.get_list("x-request-id")) == 1
    for name, value in SECURITY_HEADERS.items():
        assert headers.get_list(name) == [value]


def test_policy_allows_no_inline_scripts() -> None:
    """The policy is the one of the contract."""
    assert CONTENT_SECURITY_POLICY == (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
    )


def test_hsts_needs_the_setting_and_https(metrics: Metrics) -> None:
    """Strict-Transport-Security is sent over https when configured, and never over http."""
    app = build_app(metrics, hsts_seconds=600)
    assert "strict-transport-security" not in TestClient(app).get("/healthz").headers
    secure = TestClient(app, base_url="https://testserver").get("/healthz").headers
    assert secure["strict-transport-security"] == "max-age=600; includeSubDomains"
    plain = TestClient(build_app(metrics), base_url="https://testserver").get("/healthz").headers
    assert "strict-transport-security" not in plain


def test_one_line_per_request(client: TestClient, log_lines: Lines) -> None:
    """Each request leaves exactly one line, with the route's template, the actor and the request's id."""
    client.get("/who?token=abc", headers={"X-Request-Id": "r1"})
    [line] = log_lines()
    seconds = line.pop("duration_seconds")
    line.pop("at")
    assert 0 < seconds < DEADLINE_SECONDS
    assert line == {
        "event": "http_request",
        "level": "info",
        "method": "GET",
        "route": "/who",
        "status": 200,
        "actor_id": Actor.user_id,
        "request_id": "r1",
    }


def test_probes_are_logged_at_debug_and_failures_at_warning(client: TestClient, log_lines: Lines) -> None:
    """The probes of an orchestrator do not fill the log; a 5xx stands out."""
    client.get("/healthz")
    client.get("/fail/unexpected")
    levels = {(line["event"], line["level"]) for line in log_lines()}
    assert levels == {("http_request", "debug"), ("request_failed", "error"), ("http_request", "warning")}


def test_routes_are_counted_by_template(client: TestClient, metrics: Metrics) -> None:
    """Paths with ids share one series; mounted files share one; unknown paths are "unmatched"."""
    for number in range(3):
        client.get(f"/messages/018f3e6e-0000-7000-8000-00000000000{number}")
        client.get(f"/assets/{number}.js")
        client.get(f"/nowhere/{number}")
    client.post("/things")
    assert count(metrics, method="GET", route="/messages/{message_id}", status="200") == 3
    assert count(metrics, method="GET", route="/assets/{path}", status="200") == 3
    assert count(metrics, method="GET", route="unmatched", status="404") == 3
    assert count(metrics, method="POST", route="/things", status="405") == 1
    assert timed(metrics, method="GET", route="/messages/{message_id}") == 3


def test_streams_are_counted_but_not_timed(client: TestClient, metrics: Metrics, log_lines: Lines) -> None:
    """An event stream counts when it opens, is logged when it ends, and its length is no request duration."""
    assert client.get("/raw/stream").text == ": hello\n\n"
    assert count(metrics, method="GET", route="/raw/{kind}", status="200") == 1
    assert timed(metrics, method="GET", route="/raw/{kind}") == 0
    assert [line.get("is_stream") for line in log_lines()] == [True]


async def test_request_left_by_its_client_is_499(metrics: Metrics, log_lines: Lines) -> None:
    """A client that leaves in the middle of its body is counted as 499, with no answer and no traceback."""
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/notes", "headers": headers, "query_string": b"", "root_path": ""}
    await build_app(metrics)(scope, receive, send)
    assert sent == []
    assert count(metrics, method="POST", route="/notes", status="499") == 1
    assert [(line["event"], line["status"]) for line in log_lines()] == [("http_request", 499)]


def test_series_are_capped_whatever_clients_send(client: TestClient, metrics: Metrics) -> None:
    """A thousand made-up paths, methods, ids and headers add no more than a handful of series."""

    def series() -> int:
        return sum(len(family.samples) for family in metrics.registry.collect())

    for number in range(30):  # each kind of oddity has now been seen
        client.request(f"BREW{number}", f"/p{number}")
    before = series()
    for number in range(300):
        client.request(f"BREW{number}", f"/p{number}", headers={"X-Request-Id": f"id{number}", "User-Agent": f"ua{number}"})
        client.request(f"BREW{number}", f"/messages/{number}")
    assert series() - before <= 2 + 20
    assert series() < 1_000
