"""Who calls: forwarded headers count only from proxies we trust, and only from the right."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from rustygpt.http.client_address import ClientAddressMiddleware
from rustygpt.observability.metrics import Metrics
from tests.http.sample_app import build_app

PROXIES = ("10.0.0.0/8", "fd00::/8")


async def resolve(peer: str | None, forwarded: list[str], protocols: list[str] = [], kind: str = "http") -> tuple[Any, str]:  # noqa: B006
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    headers += [(b"x-forwarded-proto", value.encode()) for value in protocols]
    scheme = "http" if kind == "http" else "ws"
    scope = {"type": kind, "client": (peer, 1234) if peer else None, "scheme": scheme, "headers": headers}
    await ClientAddressMiddleware(app, PROXIES)(scope, None, None)  # type: ignore[arg-type]
    return (seen["client"][0] if seen["client"] else None), seen["scheme"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["nonsense, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.2.3.4"], "10.2.3.4"),
        ("10.0.0.1", ["198.51.100.1:5555"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        (None, ["198.51.100.1"], None),
        ("testclient", ["198.51.100.1"], "testclient"),
    ],
)
async def test_caller_is_the_first_untrusted_hop_from_the_right(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    """What a client writes into X-Forwarded-For itself never counts."""
    assert (await resolve(peer, forwarded))[0] == client


@pytest.mark.parametrize(
    ("peer", "forwarded", "protocols", "kind", "scheme"),
    [
        ("10.0.0.1", ["198.51.100.1"], ["https"], "http", "https"),
        ("10.0.0.1", ["198.51.100.1"], ["https"], "websocket", "wss"),
        ("203.0.113.9", ["198.51.100.1"], ["https"], "http", "http"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], ["https, http"], "http", "https"),
        ("10.0.0.1", ["198.51.100.1"], ["https, http"], "http", "http"),
        ("10.0.0.1", ["198.51.100.1"], ["gopher"], "http", "http"),
        ("10.0.0.1", [], ["https"], "http", "https"),
    ],
)
async def test_scheme_comes_from_trusted_proxies(
    peer: str, forwarded: list[str], protocols: list[str], kind: str, scheme: str
) -> None:
    """X-Forwarded-Proto counts from a trusted peer; with one value a hop, that of the caller's hop."""
    assert (await resolve(peer, forwarded, protocols, kind))[1] == scheme


def test_handlers_see_the_caller(metrics: Metrics) -> None:
    """Routes find the caller where Starlette puts it."""
    app = build_app(metrics, trusted_proxies=("10.0.0.1",))
    client = TestClient(app, client=("10.0.0.1", 1))
    headers = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
    assert client.get("/who", headers=headers).json() == {"client": "198.51.100.7", "scheme": "https"}
